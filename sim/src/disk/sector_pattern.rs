//! Draws which sectors of an interrupted or unsynced write reach the disk.

use std::collections::BTreeMap;

use super::operation::OperationId;
use crate::dice::{Chance, Dice};

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
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 => Self::All,
            1 => Self::Nothing,
            2 => Self::Each,
            _ => Self::Runs { is_reached: dice.coin() },
        }
    }

    /// Whether the next sector is reached.
    pub(super) fn reaches(&mut self, dice: &mut Dice) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Each => dice.coin(),
            Self::Runs { is_reached } => {
                *is_reached ^= dice.happens(RUN_ENDS);
                *is_reached
            }
        }
    }
}

/// Draws, for a power cut, which of the writes that no sync covers reach the disk.
#[derive(Debug)]
pub(super) struct PowerCut<'a> {
    dice: &'a mut Dice,
    /// The same outcome for all writes, if one was drawn.
    all: Option<bool>,
    writes: BTreeMap<OperationId, SectorPattern>,
}

const ALL_ALIKE: Chance = Chance::percent(25);

impl<'a> PowerCut<'a> {
    pub(super) fn draw(dice: &'a mut Dice) -> Self {
        let all = dice.happens(ALL_ALIKE).then(|| dice.coin());
        Self { dice, all, writes: BTreeMap::new() }
    }

    pub(super) fn reaches(&mut self, write: OperationId) -> bool {
        let dice = &mut *self.dice;
        self.all.unwrap_or_else(|| self.writes.entry(write).or_insert_with(|| SectorPattern::draw(dice)).reaches(dice))
    }

    pub(super) fn happens(&mut self, chance: Chance) -> bool {
        self.dice.happens(chance)
    }
}
