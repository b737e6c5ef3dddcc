//! Checks random lives of one slot against a model that knows only the rules: for each sector, the
//! writes that may be on the disk. The model does not know the order in which reads came to show
//! writes, and shares no code with the disk.

use std::collections::BTreeMap;

use super::bench::{Bench, SECTORS, SLOT, write, write_synced};
use crate::disk::{Crash, Faults, Operation, OperationId};
use crate::rng::{Chance, Rng};

/// A write that may be on the disk, identified by its value.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    value: u8,
    begun: usize,
    /// The step at which the write was done. It precedes every operation that began later.
    done: Option<usize>,
    /// No sync that covered the write has failed.
    is_sound: bool,
}

#[derive(Clone, Debug)]
struct Begun {
    at: usize,
    is_sync: bool,
    sectors: std::ops::Range<u32>,
    value: Option<u8>,
}

struct Model {
    step: usize,
    sectors: Vec<Vec<Candidate>>,
    begun: BTreeMap<OperationId, Begun>,
}

impl Model {
    fn new() -> Self {
        let durable = Candidate { value: 1, begun: 0, done: Some(0), is_sound: true };
        Self { step: 0, sectors: vec![vec![durable]; SECTORS as usize], begun: BTreeMap::new() }
    }

    fn on_started(&mut self, id: OperationId, sectors: std::ops::Range<u32>, value: Option<u8>, is_sync: bool) {
        self.step += 1;
        for sector in sectors.clone() {
            if let Some(value) = value {
                let candidate = Candidate { value, begun: self.step, done: None, is_sound: true };
                self.sectors[sector as usize].push(candidate);
            }
        }
        self.begun.insert(id, Begun { at: self.step, is_sync, sectors, value });
    }

    fn on_done(&mut self, id: OperationId, succeeds: bool) {
        self.step += 1;
        let step = self.step;
        let Some(Begun { at, is_sync, sectors, value }) = self.begun.remove(&id) else { return };
        for sector in sectors {
            let candidates = &mut self.sectors[sector as usize];
            // A sync covers the writes that were done when it began; a write with its own sync
            // covers itself.
            let is_covered = |candidate: &Candidate| match value {
                Some(value) => candidate.value == value,
                None => candidate.done.is_some_and(|done| done < at),
            };
            if let Some(own) = candidates.iter_mut().find(|candidate| Some(candidate.value) == value) {
                own.done = Some(step);
                // A failed write may be there or not: it proves nothing about what was there
                // before.
                own.is_sound &= succeeds;
            }
            if !is_sync {
                continue;
            }
            if !succeeds {
                candidates.iter_mut().filter(|candidate| is_covered(candidate)).for_each(|one| one.is_sound = false);
                continue;
            }
            let proven: Vec<_> = candidates.iter().copied().filter(|one| is_covered(one) && one.is_sound).collect();
            // A write that was done before a proven one began is overwritten for good.
            candidates.retain(|one| !proven.iter().any(|over| one.done.is_some_and(|done| done < over.begun)));
        }
    }

    /// Ends all unfinished operations: none begins before this step any more.
    fn on_crash(&mut self) {
        self.step += 1;
        let step = self.step;
        // An interrupted sync may have failed.
        for (_, Begun { at, .. }) in std::mem::take(&mut self.begun).into_iter().filter(|(_, begun)| begun.is_sync) {
            let covered = self.sectors.iter_mut().flatten().filter(|one| one.done.is_some_and(|done| done < at));
            covered.for_each(|one| one.is_sound = false);
        }
        for candidate in self.sectors.iter_mut().flatten().filter(|candidate| candidate.done.is_none()) {
            candidate.done = Some(step);
            candidate.is_sound = false;
        }
    }

    fn check(&self, values: &[u8], seed: u64) {
        for (sector, value) in values.iter().enumerate() {
            let is_allowed = self.sectors[sector].iter().any(|candidate| candidate.value == *value);
            assert!(is_allowed, "seed {seed}: sector {sector} holds {value}, and may hold {:?}", self.sectors[sector]);
        }
    }

    /// After a power cut each sector has one candidate left.
    fn settle(&mut self, values: &[u8]) {
        for (candidates, value) in self.sectors.iter_mut().zip(values) {
            candidates.retain(|candidate| candidate.value == *value);
            candidates.iter_mut().for_each(|candidate| candidate.is_sound = true);
        }
    }
}

fn run_life(seed: u64) -> usize {
    let mut rng = Rng::new(seed);
    let mut bench = Bench::new(seed);
    let mut model = Model::new();
    let mut value = 1;
    let often = |rng: &mut Rng| if rng.coin() { Chance::NEVER } else { Chance::percent(15) };
    let faults = Faults { write: often(&mut rng), sync: often(&mut rng), ..Faults::NONE };
    bench.disk.faults = faults;
    let mut crashes = 0;
    // Each write has a value of its own, which identifies it.
    while value < 250 {
        match rng.below(16) {
            0..5 => {
                let first = u32::try_from(rng.below(SECTORS as usize)).unwrap();
                let sectors = first..first + 1 + u32::try_from(rng.below((SECTORS - first) as usize)).unwrap();
                value += 1;
                let is_sync = rng.below(4) == 0;
                let operation = if is_sync { write_synced } else { write };
                let id = bench.start(operation(sectors.clone(), value));
                model.on_started(id, sectors, Some(value), is_sync);
            }
            5..7 => {
                let id = bench.start(Operation::Sync { slot: SLOT });
                model.on_started(id, 0..SECTORS, None, true);
            }
            7 => {
                let crash = if rng.coin() { Crash::Power } else { Crash::Process };
                bench.crash(crash);
                model.on_crash();
                let values = bench.values();
                model.check(&values, seed);
                if crash == Crash::Power {
                    model.settle(&values);
                }
                crashes += 1;
            }
            _ => {
                if let Some((id, result)) = bench.next() {
                    model.on_done(id, result.is_ok());
                }
            }
        }
    }
    crashes
}

#[test]
fn after_any_crash_each_sector_holds_an_allowed_value() {
    let crashes: usize = (0..2_000).map(run_life).sum();
    assert!(crashes > 50_000, "{crashes}");
}

/// The model rejects something: it would fail a disk that forgets synced writes.
#[test]
fn the_model_rules_out_sectors_that_a_sync_has_replaced() {
    let mut model = Model::new();
    model.on_started(OperationId(1), 0..1, Some(2), false);
    model.on_done(OperationId(1), true);
    model.on_started(OperationId(2), 0..SECTORS, None, true);
    assert_eq!(model.sectors[0].len(), 2);
    model.on_done(OperationId(2), true);
    assert_eq!(model.sectors[0].iter().map(|candidate| candidate.value).collect::<Vec<_>>(), [2]);
}
