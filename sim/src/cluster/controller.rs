//! A model of the controller: one linearizable log of commands, each decided by the state at its
//! turn. It does not fail; only the network loses or delays its messages.
//!
//! A broker has a lease while its heartbeats arrive. The controller waits a tenth longer than the
//! lease, which covers the drift of two clocks. A fenced broker leaves the ISR, unless it is the
//! last member: then the partition waits for it, and the controller elects nobody else.

use std::time::Duration;

use rustmq_engine_core::replication::{
    Assignment, BrokerEpoch, Change, InSyncChange, Member, PartitionEpoch, Proposal, ProposalRefusal, Starts,
};
use rustmq_model::{BrokerId, Instant, LeaderEpoch};

use super::events::{Events, Named};
use crate::Rng;

/// The newest registration of a broker.
#[derive(Clone, Copy, Debug)]
struct Registration {
    broker_epoch: BrokerEpoch,
    /// The broker's own count. A repeated request, sent because the answer was lost, gets the same
    /// broker epoch.
    number: u32,
    heard_at: Instant,
    is_fenced: bool,
    /// The broker epoch is over for good: the controller ignores its late messages.
    is_retired: bool,
}

#[derive(Debug)]
pub struct Controller {
    lease: Duration,
    broker_epochs: u64,
    brokers: Vec<Option<Registration>>,
    partition: Assignment,
    /// The leader of the last epoch that had one.
    led_before: Option<BrokerId>,
    /// Epochs that the controller ended before their leader's lease had expired.
    moved: Vec<LeaderEpoch>,
    rng: Rng,
}

impl Controller {
    pub fn new(brokers: usize, in_sync_min: usize, lease: Duration, rng: Rng) -> Self {
        let replicas: Vec<_> = (0..brokers).map(broker_id).collect();
        let partition = Assignment {
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            leader: None,
            in_sync: replicas.clone(),
            replicas,
            in_sync_min,
            starts: Starts::default(),
        };
        let (led_before, moved) = (None, Vec::new());
        Self { lease, broker_epochs: 0, brokers: vec![None; brokers], partition, led_before, moved, rng }
    }

    pub const fn partition(&self) -> &Assignment {
        &self.partition
    }

    pub fn was_moved(&self, epoch: LeaderEpoch) -> bool {
        self.moved.contains(&epoch)
    }

    pub fn is_fenced(&self, broker: usize) -> bool {
        self.brokers[broker].is_none_or(|known| known.is_fenced)
    }

    /// Whether the broker may get another disk: it is fenced and not in the ISR.
    pub fn may_lose_its_disk(&self, broker: usize) -> bool {
        self.is_fenced(broker) && !self.partition.in_sync.contains(&broker_id(broker))
    }

    /// The operator gives a stopped broker another disk. The broker must register again before it
    /// can rejoin the ISR: a late heartbeat or a late join of its last broker epoch has no effect.
    pub fn retire(&mut self, broker: usize) {
        assert!(self.may_lose_its_disk(broker));
        if let Some(known) = &mut self.brokers[broker] {
            known.is_retired = true;
        }
    }

    /// Registers a process that has started, or a fenced broker that begins anew. A
    /// leader epoch belongs to one broker epoch: a partition that this broker led moves to a new
    /// leader epoch, whoever leads it.
    pub fn register(&mut self, now: Instant, broker: usize, number: u32, events: &mut Events) -> Option<BrokerEpoch> {
        match self.brokers[broker] {
            Some(known) if known.number == number => return Some(known.broker_epoch),
            // A late copy of an earlier request.
            Some(known) if known.number > number => return None,
            _ => {}
        }
        self.broker_epochs += 1;
        let broker_epoch = BrokerEpoch(self.broker_epochs);
        self.brokers[broker] =
            Some(Registration { broker_epoch, number, heard_at: now, is_fenced: false, is_retired: false });
        let led = self.partition.leader.is_some_and(|leader| leader.broker == broker_id(broker));
        if led || self.partition.leader.is_none() {
            self.elect(events);
        }
        Some(broker_epoch)
    }

    /// Renews the lease of a broker epoch. Returns whether it has one.
    pub fn heartbeat(&mut self, now: Instant, broker: usize, broker_epoch: BrokerEpoch, events: &mut Events) -> bool {
        let is_meant = |known: &&mut Registration| known.broker_epoch == broker_epoch && !known.is_retired;
        let Some(known) = self.brokers[broker].as_mut().filter(is_meant) else { return false };
        (known.heard_at, known.is_fenced) = (now, false);
        if self.partition.leader.is_none() {
            self.elect(events);
        }
        true
    }

    /// Fences the brokers whose lease has expired.
    pub fn tick(&mut self, now: Instant, events: &mut Events) {
        for broker in 0..self.brokers.len() {
            let Some(known) = &mut self.brokers[broker] else { continue };
            if known.is_fenced || now.since(known.heard_at) <= self.lease + self.lease / 10 {
                continue;
            }
            known.is_fenced = true;
            events.note(Named::Fenced);
            let id = broker_id(broker);
            if self.partition.in_sync.contains(&id) && self.partition.in_sync.len() > 1 {
                self.partition.in_sync.retain(|member| *member != id);
                self.partition.partition_epoch.0 += 1;
            }
            if self.partition.leader.is_some_and(|leader| leader.broker == id) {
                self.elect(events);
            }
        }
    }

    /// Moves the leadership from a healthy leader to another member of the ISR.
    pub fn move_leader(&mut self, events: &mut Events) {
        let Some(leader) = self.partition.leader else { return };
        if self.candidates().any(|member| member.broker != leader.broker) {
            self.moved.push(self.partition.leader_epoch);
            let others: Vec<_> = self.candidates().filter(|member| member.broker != leader.broker).collect();
            let next = others[self.rng.below(others.len())];
            self.begin_epoch(Some(next), events);
        }
    }

    /// Decides a proposal of a leader.
    ///
    /// # Errors
    /// If the leader's epoch or its view of the partition is stale, or if the joining replica is
    /// not eligible.
    pub fn propose(&mut self, proposal: &Proposal, events: &mut Events) -> Result<(), ProposalRefusal> {
        let Proposal { leader_epoch, partition_epoch, change } = *proposal;
        let partition = &mut self.partition;
        if leader_epoch != partition.leader_epoch {
            return Err(ProposalRefusal::FencedLeaderEpoch);
        }
        match change {
            Change::InSync(_) if partition_epoch != partition.partition_epoch => {
                return Err(ProposalRefusal::StalePartitionEpoch);
            }
            Change::InSync(InSyncChange::Join(member)) => {
                let known = self.brokers[usize::try_from(member.broker.0).expect("a broker's number")];
                if known.is_none_or(|known| known.broker_epoch != member.broker_epoch || known.is_fenced) {
                    events.note(Named::JoinRefused);
                    return Err(ProposalRefusal::Ineligible);
                }
                partition.in_sync.push(member.broker);
                events.note(Named::InSyncExpand);
            }
            Change::InSync(InSyncChange::Leave(broker)) => {
                let leads = partition.leader.is_some_and(|leader| leader.broker == broker);
                assert!(!leads, "a leader removes itself from the ISR");
                if partition.in_sync.contains(&broker) {
                    events.note(Named::InSyncShrink);
                }
                partition.in_sync.retain(|member| *member != broker);
            }
            Change::LogStart(start) if start > partition.starts.log_start => {
                partition.starts.log_start = start;
                events.note(Named::Trim);
            }
            Change::TierEnd { from, to } if from == partition.starts.local() && to > from => {
                partition.starts.tier_end = to;
                events.note(Named::TierMoved);
            }
            Change::LogStart(_) | Change::TierEnd { .. } => return Err(ProposalRefusal::StalePartitionEpoch),
        }
        partition.partition_epoch.0 += 1;
        Ok(())
    }

    fn candidates(&self) -> impl Iterator<Item = Member> {
        let of = |id: &BrokerId| {
            let known = self.brokers[usize::try_from(id.0).expect("a broker's number")]?;
            (!known.is_fenced).then_some(Member { broker: *id, broker_epoch: known.broker_epoch })
        };
        self.partition.in_sync.iter().filter_map(of)
    }

    fn elect(&mut self, events: &mut Events) {
        let candidates: Vec<_> = self.candidates().collect();
        let elected = (!candidates.is_empty()).then(|| candidates[self.rng.below(candidates.len())]);
        if elected.is_none() && self.partition.leader.is_none() {
            return;
        }
        self.begin_epoch(elected, events);
    }

    fn begin_epoch(&mut self, leader: Option<Member>, events: &mut Events) {
        self.partition.leader_epoch.0 += 1;
        self.partition.partition_epoch.0 += 1;
        self.partition.leader = leader;
        match leader {
            None => events.note(Named::Offline),
            Some(member) if self.led_before == Some(member.broker) => events.note(Named::LeaderReturned),
            Some(_) => events.note(Named::Election),
        }
        self.led_before = leader.map(|member| member.broker).or(self.led_before);
    }
}

pub fn broker_id(broker: usize) -> BrokerId {
    BrokerId(i32::try_from(broker).expect("a few brokers"))
}
