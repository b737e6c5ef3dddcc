//! How what was cut off spreads over its sectors: which of them it reached.

use std::collections::BTreeMap;

use super::operation::OperationId;
use crate::dice::{Chance, Dice};

/// Which sectors of one write are reached, when they are asked for in their order. Each kind is drawn as often: were every sector drawn
/// by itself, a long write would never be whole, and never end in the middle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spread {
    All,
    Nothing,
    Each,
    /// Long stretches of both: as a write that ends in the middle, or lacks its beginning.
    Runs {
        is_reached: bool,
    },
}

const RUN_ENDS: Chance = Chance::percent(15);

impl Spread {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 => Self::All,
            1 => Self::Nothing,
            2 => Self::Each,
            _ => Self::Runs { is_reached: dice.coin() },
        }
    }

    /// Whether the next sector is.
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

/// What reaches the disk before the power is gone, of all that no sync covers.
#[derive(Debug)]
pub(super) struct LastMoment<'a> {
    dice: &'a mut Dice,
    /// Where it is the same for all writes.
    all: Option<bool>,
    writes: BTreeMap<OperationId, Spread>,
}

const ALL_ALIKE: Chance = Chance::percent(25);

impl<'a> LastMoment<'a> {
    pub(super) fn draw(dice: &'a mut Dice) -> Self {
        let all = dice.happens(ALL_ALIKE).then(|| dice.coin());
        Self { dice, all, writes: BTreeMap::new() }
    }

    pub(super) fn reaches(&mut self, write: OperationId) -> bool {
        let dice = &mut *self.dice;
        self.all.unwrap_or_else(|| self.writes.entry(write).or_insert_with(|| Spread::draw(dice)).reaches(dice))
    }

    pub(super) fn happens(&mut self, chance: Chance) -> bool {
        self.dice.happens(chance)
    }
}
