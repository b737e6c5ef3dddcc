//! Executes the machine's actions, and reads the log as readers do.

use std::sync::Arc;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, TopicIdPartition};

use super::driver::{AskedMove, Driver, Preparing, ROUNDS_MAX};
use super::host::{Event, Reply, TestHost};
use super::memory::Readable;
use super::requests::id;
use crate::shard::request::ColdRead;
use crate::shard::{
    Action, NewView, NoPlan, PartitionKey, Publication, PublishedRun, ReadPlan, ReadableLog, plan_read,
};
use crate::wal::LocationMap;

impl Driver {
    pub(super) fn execute(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let Some(action) = self.shard.poll_action() else { return };
            self.execute_one(action);
        }
        panic!("the machine requests actions without end");
    }

    fn execute_one(&mut self, action: Action<TestHost>) {
        match action {
            Action::Poison { .. } => self.events.push(Event::Poison),
            Action::CreateView(view) => self.create(*view),
            Action::List { key } => {
                self.events.push(Event::List(key));
                let id = self.view(key).id;
                self.listed.insert(id, key);
            }
            Action::Unlist { id } => self.unlist(id),
            Action::Publish(publication) => self.publish(publication),
            Action::PublishFrontiers { key, frontiers, size_bytes, aborted } => {
                self.events.push(Event::LogStart(key, frontiers.log_start));
                let view = self.view(key);
                (view.frontiers, view.size_bytes) = (frontiers, size_bytes);
                view.aborted.extend(aborted);
                view.aborted.trim(frontiers.log_start);
                self.readable(key).log.trim(frontiers.log_start);
            }
            Action::PublishMoves { key, moved } => {
                let unindexed = self.shard.table().shared().unindexed();
                self.readable(key).log.relocate(&moved, &unindexed);
            }
            Action::PublishLeadership { key, leadership } => {
                self.events.push(Event::Leadership(key, leadership.epoch));
                self.view(key).leadership = leadership;
            }
            Action::PublishEpoch { key, epoch } => {
                self.events.push(Event::Leadership(key, epoch));
                self.view(key).leadership.epoch = epoch;
            }
            Action::PublishCut { key, frontiers, leadership, size_bytes, .. } => {
                self.events.push(Event::Cut(key, frontiers.durable_end));
                let view = self.view(key);
                (view.frontiers, view.leadership, view.size_bytes) = (frontiers, leadership, size_bytes);
                view.aborted.truncate(frontiers.durable_end);
                view.aborted.trim(frontiers.log_start);
                self.readable(key).log.cut(frontiers.log_start..frontiers.durable_end);
            }
            Action::CloseView { key } => {
                self.events.push(Event::Closed(key));
                self.view(key);
                self.views.remove(&key);
                self.shard.memory_mut().readable.remove(&key);
            }
            Action::AnswerOpen { reply, results } => {
                for key in results.iter().flatten() {
                    self.view(*key);
                }
                self.answer(&reply, results);
            }
            Action::AnswerConfigure { reply } => self.answer(&reply, ()),
            Action::AnswerAppend { reply, results } => self.answer(&reply, results),
            Action::AnswerVerify { reply, results } => self.answer(&reply, results),
            Action::AnswerProducers { reply, producers } => self.answer(&reply, producers),
            Action::AnswerTrim { reply, result } => self.answer(&reply, result),
            Action::AnswerDelete { reply, results } => self.answer(&reply, results),
            Action::AnswerCut { reply, result } => self.answer(&reply, result),
            Action::PrepareSlot { slot, preparation } => {
                self.preparations_asked += 1;
                match self.setting.preparing {
                    Preparing::Soon | Preparing::ByTest => self.preparations.push((slot, preparation)),
                    Preparing::Refused => self.shard.on_slot_failed(self.now, slot),
                }
            }
            Action::PaceSlots(urgency) => self.urgency = urgency,
            Action::ReadToMove { number, read, plan } => self.moves.push(AskedMove { number, read, plan: *plan }),
            Action::Rebuild { number, rebuild } => self.rebuilds.push((number, *rebuild)),
            Action::ForgetRepair => self.forgets_repair = true,
            Action::Note(fact) => self.facts.push(*fact),
        }
    }

    fn unlist(&mut self, id: TopicIdPartition) {
        self.events.push(Event::Unlist(id));
        self.listed.remove(&id);
    }

    pub(super) fn answer<T>(&mut self, reply: &Reply<T>, answer: T) {
        self.events.push(Event::Answer(reply.number));
        reply.set(answer);
    }

    fn create(&mut self, view: NewView) {
        let key = view.key;
        self.events.push(Event::View(key));
        let is_taken = self.views.keys().any(|other| other.slot() == key.slot());
        assert!(!is_taken, "a view is closed before another one takes its slot");
        let log = ReadableLog::on_disk(view.locations.clone(), view.frontiers.durable_end);
        self.shard.memory_mut().readable.insert(key, Readable::of(log));
        self.views.insert(key, view);
    }

    fn readable(&mut self, key: PartitionKey) -> &mut Readable {
        self.shard.memory_mut().readable.get_mut(&key).expect("the log was created with the view")
    }

    fn publish(&mut self, Publication { runs, batches }: Publication) {
        assert_eq!(runs.iter().map(|run| run.count).sum::<usize>(), batches.len());
        let mut batches = batches.into_iter();
        for PublishedRun { key, frontiers, size_bytes, aborted, count } in runs {
            self.events.push(Event::Batches(key, frontiers.durable_end));
            let view = self.view(key);
            let mut end = view.frontiers.durable_end;
            (view.frontiers, view.size_bytes) = (frontiers, size_bytes);
            view.aborted.extend(aborted);
            let readable = self.readable(key);
            for batch in batches.by_ref().take(count) {
                assert_eq!(batch.base, end, "batches follow each other");
                end = batch.next;
                readable.show(batch);
            }
            assert_eq!(frontiers.durable_end, end);
        }
    }

    /// The readers' view of a partition. The machine names only partitions with a view.
    pub fn view(&mut self, key: PartitionKey) -> &mut NewView {
        self.views.get_mut(&key).expect("actions name a view only between its creation and its close")
    }

    pub fn key(&self, number: i32) -> PartitionKey {
        self.listed[&id(number)]
    }

    /// The view of the partition that readers find.
    pub fn shown(&self, number: i32) -> &NewView {
        &self.views[&self.key(number)]
    }

    /// The base offsets of the batches that readers find in memory.
    pub fn in_memory(&mut self, number: i32) -> Vec<i64> {
        let key = self.key(number);
        self.readable(key).in_memory().map(|batch| batch.base.0).collect()
    }

    /// Plans a read by the current map of the readers.
    pub fn plan_read(&mut self, number: i32, from: Offset, until: Offset) -> Result<(ColdRead, ReadPlan), NoPlan> {
        let key = self.key(number);
        let map = self.readable(key).log.locations();
        self.plan_by(&map, number, from, until)
    }

    pub fn plan_by(
        &self,
        map: &LocationMap,
        number: i32,
        from: Offset,
        until: Offset,
    ) -> Result<(ColdRead, ReadPlan), NoPlan> {
        let read = ColdRead { id: id(number), from, until, max_bytes: 1 << 20, at_least_one: true };
        plan_read(&read, map, self.shard.table().shared()).map(|plan| (read, plan))
    }

    /// The map that readers would have if all visible batches were evicted.
    pub fn map_of_all(&mut self, number: i32) -> Arc<LocationMap> {
        let key = self.key(number);
        let mut log = self.readable(key).log.clone();
        log.evict_through(Offset(i64::MAX), &self.shard.table().shared().unindexed());
        log.locations()
    }

    /// The sizes of the batches that readers would find from the log start on if all of them were
    /// evicted.
    pub fn on_disk(&mut self, number: i32) -> Vec<usize> {
        let (frontiers, map) = (self.shown(number).frontiers, self.map_of_all(number));
        let (mut from, until) = (frontiers.log_start, frontiers.durable_end);
        let mut sizes = Vec::new();
        while from < until {
            let (read, plan) = self.plan_by(&map, number, from, until).unwrap();
            for batch in self.slots.read(&read, &plan.location).unwrap() {
                let header = BatchHeader::parse(&batch).unwrap();
                assert!(header.base_offset <= from, "no offset is skipped");
                sizes.push(header.size);
                from = header.next_offset();
            }
        }
        sizes
    }
}
