//! Draws which sectors of an interrupted or unsynced write reach the disk.

use std::collections::BTreeMap;

use super::operation::OperationId;
use crate::rng::{Chance, Rng};

/// Which sectors of one write reach the disk; the caller asks for them in order. Each kind is
/// equally likely: if every sector were drawn by itself, a long write would never arrive whole, and
/// never end in the middle.
#[derive(Clone, Copy, Debug)]
pub(super) enum SectorPattern {
    All,
    Nothing,
    Each,
    /// Long runs of reached and missed sectors, as in a write that ends in the middle or lacks its
    /// beginning.
    Runs {
        is_reached: bool,
    },
}

const RUN_ENDS: Chance = Chance::percent(15);

impl SectorPattern {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::All,
            1 => Self::Nothing,
            2 => Self::Each,
            _ => Self::Runs { is_reached: rng.coin() },
        }
    }

    /// Whether the next sector is reached.
    pub(super) fn reaches(&mut self, rng: &mut Rng) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Each => rng.coin(),
            Self::Runs { is_reached } => {
                *is_reached ^= rng.happens(RUN_ENDS);
                *is_reached
            }
        }
    }
}

/// Draws, for a power cut, which of the writes that no sync covers reach the disk.
#[derive(Debug)]
pub(super) struct PowerCut<'a> {
    rng: &'a mut Rng,
    /// The same outcome for all writes, if one was drawn.
    all: Option<bool>,
    writes: BTreeMap<OperationId, SectorPattern>,
}

const ALL_ALIKE: Chance = Chance::percent(25);

impl<'a> PowerCut<'a> {
    pub(super) fn draw(rng: &'a mut Rng) -> Self {
        let all = rng.happens(ALL_ALIKE).then(|| rng.coin());
        Self { rng, all, writes: BTreeMap::new() }
    }

    pub(super) fn reaches(&mut self, write: OperationId) -> bool {
        let rng = &mut *self.rng;
        self.all.unwrap_or_else(|| self.writes.entry(write).or_insert_with(|| SectorPattern::draw(rng)).reaches(rng))
    }

    pub(super) fn happens(&mut self, chance: Chance) -> bool {
        self.rng.happens(chance)
    }
}
