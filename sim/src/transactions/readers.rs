//! The readers: one with read_committed for each partition, and one of the group's offsets.

use rustmq_broker_core::groups::Groups;
use rustmq_broker_core::groups::request::OffsetSelection;
use rustmq_model::{Offset, TransactionVersion};

use super::environment::{Event, OFFSETS};
use super::events::Named;
use super::hosting::route;
use super::world::{World, group, id_of, input_of};

/// The time between two reads, in the paces of a producer.
const PACES: u32 = 8;
/// The most batches in one answer.
const BATCHES_MAX: usize = 20;

/// A read_committed reader of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    position: Offset,
    incarnation: u32,
}

impl World {
    pub(super) fn read(&mut self, index: usize) {
        let pace = self.env.rng.delay(self.env.setting.pace) * PACES;
        self.env.schedule.after(pace, Event::Reader(index));
        self.read_some(index);
    }

    /// Reads on. Returns whether there was something to read.
    pub(super) fn read_some(&mut self, index: usize) -> bool {
        let env = &mut self.env;
        let partition = &env.partitions[index];
        let Some(leader) = partition.leader() else { return false };
        let reader = &mut self.readers[index];
        if reader.incarnation != partition.incarnation() {
            *reader = Reader { position: Offset::ZERO, incarnation: partition.incarnation() };
        }
        let frontiers = leader.core().frontiers();
        let (from, until) = (reader.position.max(frontiers.log_start), frontiers.last_stable);
        assert!(from <= until, "the last stable offset of {:?} went back from {from} to {until}", partition.name);
        // A log start inside a batch can raise the last stable offset into that batch.
        let whole = leader.between(from, until).take_while(|batch| batch.end() <= until);
        for batch in whole.take(BATCHES_MAX) {
            let mut aborted = leader.aborted().overlapping(batch.first()..batch.end());
            let is_aborted = aborted.any(|aborted| aborted.producer_id == batch.header.producer_id);
            if batch.marker.is_none() {
                env.oracle.on_read(batch, is_aborted);
                if is_aborted {
                    env.events.note(Named::AbortedFiltered);
                }
            }
            reader.position = batch.end();
        }
        reader.position > from
    }

    pub(super) fn read_offsets(&mut self) {
        let pace = self.env.rng.delay(self.env.setting.pace) * PACES;
        self.env.schedule.after(pace, Event::OffsetReader);
        let Some(host) = route(&mut self.env, &mut self.groups, OFFSETS, TransactionVersion::V2) else { return };
        let Some(groups) = host.machine() else { return };
        let mut ids = (0..self.env.setting.ids).map(id_of);
        if ids.any(|id| groups.is_unstable(&group(), &input_of(&id))) {
            self.env.events.note(Named::OffsetUnstable);
        }
        for offset in visible(groups) {
            self.env.oracle.on_offset_read(offset);
            self.env.events.note(Named::OffsetRead);
        }
    }
}

/// The offsets that the group's coordinator shows.
fn visible(groups: &Groups) -> Vec<Offset> {
    let offsets = groups.fetch_offsets(&group(), &OffsetSelection::All).expect("a legal name");
    offsets.into_iter().filter_map(|(_, offset)| Some(offset?.offset)).collect()
}
