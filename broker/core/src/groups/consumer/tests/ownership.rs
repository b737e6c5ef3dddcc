//! A partition has one owner, whatever happens: clients that follow the protocol, lose answers and
//! fall silent; a log that loses appends and is shortened; coordinators that load again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::coordinator::AppendFailure;

const CLIENTS: usize = 4;
const STEPS: usize = 250;
const SEEDS: u64 = 120;

/// A generator of numbers that looks random (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A consumer. It drops partitions as soon as an answer takes them away.
#[derive(Default)]
struct Client {
    epoch: i32,
    owned: BTreeSet<(TopicId, PartitionId)>,
    waits_for: Option<ReplyToken>,
}

struct World {
    scenario: Scenario,
    numbers: Numbers,
    clients: Vec<Client>,
    partition_count: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        Self { scenario: scenario(), numbers: Numbers(seed), clients, partition_count: 4 }
    }

    fn name(index: usize) -> String {
        format!("m{index}")
    }

    fn step(&mut self) {
        match self.numbers.below(16) {
            0 => self.reload(),
            1 => self.shorten(),
            2 => self.grow(),
            3 => self.scenario.is_log_fast = self.numbers.one_in(2),
            4 => self.scenario.advance(Duration::from_secs(20)),
            5 | 6 if !self.scenario.appends.is_empty() => self.finish_append(),
            _ => self.heartbeat(),
        }
        if self.scenario.is_log_fast {
            self.scenario.settle();
        }
        self.deliver();
        self.check();
    }

    fn finish_append(&mut self) {
        if self.numbers.one_in(3) {
            self.scenario.lose(AppendFailure::Unavailable);
        } else {
            self.scenario.store();
        }
    }

    fn heartbeat(&mut self) {
        let index = self.numbers.below(CLIENTS);
        let leaves = self.numbers.one_in(12);
        let is_silent = self.numbers.one_in(4);
        let client = &mut self.clients[index];
        if client.waits_for.is_some() {
            return;
        }
        let name = Self::name(index);
        let request = match client.epoch {
            0 => join(&name),
            _ if leaves => keepalive(&name, -1),
            epoch if is_silent => keepalive(&name, epoch),
            epoch => {
                ConsumerHeartbeat { owned: Some(client.owned.iter().copied().collect()), ..keepalive(&name, epoch) }
            }
        };
        if request.epoch <= 0 {
            client.owned.clear();
        }
        client.waits_for = Some(self.scenario.send(request));
    }

    /// Hands answers to their clients. One in eight is lost on the way.
    fn deliver(&mut self) {
        for client in &mut self.clients {
            let Some(token) = client.waits_for.filter(|token| !self.scenario.is_waiting(*token)) else { continue };
            client.waits_for = None;
            let outcome = self.scenario.answered(token);
            if self.numbers.one_in(8) {
                continue;
            }
            match outcome {
                Ok(answer) => {
                    client.epoch = answer.epoch.max(0);
                    if let Some(assignment) = answer.assignment {
                        client.owned = assignment.iter().collect();
                    }
                }
                Err(GroupError::FencedMemberEpoch | GroupError::UnknownMemberId | GroupError::GroupIdNotFound) => {
                    *client = Client::default();
                }
                Err(_) => {}
            }
        }
    }

    /// A new coordinator loads the log. Requests without an answer are lost.
    fn reload(&mut self) {
        let log = self.scenario.log.clone();
        self.load(&log);
    }

    fn load(&mut self, log: &[crate::coordinator::CoordinatorRecord]) {
        let topics = catalogue(&[("t", T, self.partition_count)]);
        let mut groups = Groups::with_topics(GroupConfig::default(), topics);
        replay(&mut groups, log);
        self.scenario = Scenario::of(groups, self.scenario.now);
        self.scenario.log = log.to_vec();
        self.clients.iter_mut().for_each(|client| client.waits_for = None);
    }

    /// The log begins anew with the live records, and a coordinator loads it.
    fn shorten(&mut self) {
        match self.scenario.groups().live_records(&"g".into(), RewritePoint::END) {
            LiveRecords::Records(records) => self.load(&records),
            LiveRecords::Nothing => self.load(&[]),
            LiveRecords::Pending => {}
        }
    }

    fn grow(&mut self) {
        if self.partition_count < 9 && self.numbers.one_in(3) {
            self.partition_count += 1;
            self.scenario.change_topics(&[("t", T, self.partition_count)], "t");
        }
    }

    fn check(&self) {
        self.scenario.coordinator.check_invariants();
        let members = self.scenario.groups().describe_consumer_group(&"g".into());
        let members: BTreeSet<String> = members
            .map(|group| group.members.iter().map(|member| member.member.as_str().to_owned()).collect())
            .unwrap_or_default();
        let mut owners: BTreeMap<(TopicId, PartitionId), usize> = BTreeMap::new();
        for (index, client) in
            self.clients.iter().enumerate().filter(|(index, _)| members.contains(&Self::name(*index)))
        {
            for partition in &client.owned {
                let other = owners.insert(*partition, index);
                assert_eq!(other, None, "{partition:?} has two owners, of which one is m{index}");
            }
        }
    }

    /// Without faults, every partition finds its owner.
    fn calm_down(&mut self) {
        self.scenario.is_log_fast = true;
        self.scenario.settle();
        self.clients.iter_mut().for_each(|client| *client = Client::default());
        self.scenario.advance(Duration::from_secs(50));
        for _ in 0..12 {
            for index in 0..CLIENTS {
                let name = Self::name(index);
                let client = &self.clients[index];
                let request = match client.epoch {
                    0 => join(&name),
                    epoch => ConsumerHeartbeat {
                        owned: Some(client.owned.iter().copied().collect()),
                        ..keepalive(&name, epoch)
                    },
                };
                let answer = self.scenario.beat(request);
                let client = &mut self.clients[index];
                let (epoch, assignment) = answer.expect("nothing fails any more");
                client.epoch = epoch;
                if let Some(assignment) = assignment {
                    client.owned = assignment.iter().collect();
                }
            }
        }
        let all: usize = self.clients.iter().map(|client| client.owned.len()).sum();
        assert_eq!(all, self.partition_count, "every partition has an owner");
        assert_eq!(self.scenario.consumer_state(), ConsumerState::Stable);
    }
}

#[test]
fn a_partition_has_one_owner_whatever_is_lost() {
    for seed in 1..=SEEDS {
        let mut world = World::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..STEPS {
            world.step();
        }
        world.calm_down();
    }
}
