//! A model of the controller's promise: one linearizable log of commands, each decided by the state
//! at its turn. It does not fail; that its clients lose its answers, or wait for them, is the
//! network's doing.
//!
//! A broker has a lease while its heartbeats come; the controller waits a tenth longer than it
//! granted, which covers the drift of two clocks. A fenced broker leaves the ISR, unless it is the
//! last there: the partition then waits for it, and nobody else is elected.

use std::time::Duration;

use rustmq_engine_core::replication::{
    Assignment, Change, InSyncChange, Member, PartitionEpoch, Proposal, Refusal, Run, Starts,
};
use rustmq_model::{BrokerId, Instant, LeaderEpoch};

use super::events::{Events, Named};
use crate::Dice;

/// The newest registration of a broker.
#[derive(Clone, Copy, Debug)]
struct Registration {
    run: Run,
    /// The broker's own count: one that asks again, because the answer was lost, is the same run.
    number: u32,
    heard_at: Instant,
    is_fenced: bool,
    /// It is over for good: nothing that is still on its way from it counts.
    is_retired: bool,
}

#[derive(Debug)]
pub struct Controller {
    lease: Duration,
    runs: u64,
    brokers: Vec<Option<Registration>>,
    partition: Assignment,
    /// Of the last epoch that had one.
    led_before: Option<BrokerId>,
    /// Epochs that were ended while their leader had a lease: nobody waited for that.
    moved: Vec<LeaderEpoch>,
    dice: Dice,
}

impl Controller {
    pub fn new(brokers: usize, in_sync_min: usize, lease: Duration, dice: Dice) -> Self {
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
        Self { lease, runs: 0, brokers: vec![None; brokers], partition, led_before, moved, dice }
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

    /// Whether the broker may be given another disk: it is in no ISR.
    pub fn may_lose_its_disk(&self, broker: usize) -> bool {
        self.is_fenced(broker) && !self.partition.in_sync.contains(&broker_id(broker))
    }

    /// The operator gives a broker that is down another disk. Before it is in an ISR again it has
    /// registered anew: a late heartbeat of its last run, and a join of that run, change nothing.
    pub fn retire(&mut self, broker: usize) {
        assert!(self.may_lose_its_disk(broker));
        if let Some(known) = &mut self.brokers[broker] {
            known.is_retired = true;
        }
    }

    /// A process has started, or a broker that was fenced begins anew. An epoch belongs to one run:
    /// what this broker led goes on in another epoch, whoever leads it.
    pub fn register(&mut self, now: Instant, broker: usize, number: u32, events: &mut Events) -> Option<Run> {
        match self.brokers[broker] {
            Some(known) if known.number == number => return Some(known.run),
            // A late copy of an earlier request.
            Some(known) if known.number > number => return None,
            _ => {}
        }
        self.runs += 1;
        let run = Run(self.runs);
        self.brokers[broker] = Some(Registration { run, number, heard_at: now, is_fenced: false, is_retired: false });
        let led = self.partition.leader.is_some_and(|leader| leader.broker == broker_id(broker));
        if led || self.partition.leader.is_none() {
            self.elect(events);
        }
        Some(run)
    }

    /// Answers whether the run has a lease.
    pub fn heartbeat(&mut self, now: Instant, broker: usize, run: Run, events: &mut Events) -> bool {
        let is_meant = |known: &&mut Registration| known.run == run && !known.is_retired;
        let Some(known) = self.brokers[broker].as_mut().filter(is_meant) else { return false };
        (known.heard_at, known.is_fenced) = (now, false);
        if self.partition.leader.is_none() {
            self.elect(events);
        }
        true
    }

    /// Fences whose lease has run out.
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

    /// Moves the leadership to another member of the ISR, though nothing is wrong with the one that
    /// leads.
    pub fn move_leader(&mut self, events: &mut Events) {
        let Some(leader) = self.partition.leader else { return };
        if self.candidates().any(|member| member.broker != leader.broker) {
            self.moved.push(self.partition.leader_epoch);
            let others: Vec<_> = self.candidates().filter(|member| member.broker != leader.broker).collect();
            let next = others[self.dice.below(others.len())];
            self.begin_epoch(Some(next), events);
        }
    }

    pub fn propose(&mut self, proposal: &Proposal, events: &mut Events) -> Result<(), Refusal> {
        let Proposal { leader_epoch, partition_epoch, change } = *proposal;
        let partition = &mut self.partition;
        if leader_epoch != partition.leader_epoch {
            return Err(Refusal::FencedLeaderEpoch);
        }
        match change {
            Change::InSync(_) if partition_epoch != partition.partition_epoch => {
                return Err(Refusal::StalePartitionEpoch);
            }
            Change::InSync(InSyncChange::Join(member)) => {
                let known = self.brokers[usize::try_from(member.broker.0).expect("a broker's number")];
                if known.is_none_or(|known| known.run != member.run || known.is_fenced) {
                    events.note(Named::JoinRefused);
                    return Err(Refusal::Ineligible);
                }
                partition.in_sync.push(member.broker);
                events.note(Named::InSyncExpand);
            }
            Change::InSync(InSyncChange::Leave(broker)) => {
                let leads = partition.leader.is_some_and(|leader| leader.broker == broker);
                assert!(!leads, "a leader takes itself out of the ISR");
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
            Change::LogStart(_) | Change::TierEnd { .. } => return Err(Refusal::StalePartitionEpoch),
        }
        partition.partition_epoch.0 += 1;
        Ok(())
    }

    fn candidates(&self) -> impl Iterator<Item = Member> {
        let of = |id: &BrokerId| {
            let known = self.brokers[usize::try_from(id.0).expect("a broker's number")]?;
            (!known.is_fenced).then_some(Member { broker: *id, run: known.run })
        };
        self.partition.in_sync.iter().filter_map(of)
    }

    fn elect(&mut self, events: &mut Events) {
        let candidates: Vec<_> = self.candidates().collect();
        let elected = (!candidates.is_empty()).then(|| candidates[self.dice.below(candidates.len())]);
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
