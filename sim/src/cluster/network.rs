//! The network between the brokers and the controller. It loses messages, doubles them, and
//! delivers them late and in any order; a link may be cut, in one direction or in both. In some
//! runs a link is a stream: messages come in the order in which they were sent, but for those that
//! are late. It never changes a message: that is the transport's promise.

use std::time::Duration;

use rustmq_model::Instant;

use super::setting::{BROKERS, Setting};
use crate::Dice;

/// The controller's place among the nodes.
pub const CONTROLLER: usize = BROKERS;

/// From one node to another.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    is_cut: bool,
    /// When the newest of its messages comes.
    newest_at: Instant,
}

#[derive(Debug)]
pub struct Network {
    links: [[Link; BROKERS + 1]; BROKERS + 1],
    is_calm: bool,
    dice: Dice,
}

impl Network {
    pub fn new(dice: Dice) -> Self {
        Self { links: <[[Link; BROKERS + 1]; BROKERS + 1]>::default(), is_calm: false, dice }
    }

    /// When each copy of a message comes. There may be none.
    pub fn fates(
        &mut self,
        now: Instant,
        setting: &Setting,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = Instant> + use<> {
        let (dice, link) = (&mut self.dice, &mut self.links[from][to]);
        let is_troubled = !self.is_calm;
        let is_lost = link.is_cut || (is_troubled && dice.happens(setting.lost));
        let is_late = is_troubled && dice.happens(setting.late);
        let usual = now.plus(dice.delay(setting.delay));
        let first = if is_late {
            now.plus(dice.delay(setting.late_delay))
        } else if is_troubled && !setting.has_streams {
            usual
        } else {
            usual.max(link.newest_at.plus(Duration::from_nanos(1)))
        };
        if !is_lost && !is_late {
            link.newest_at = first;
        }
        let is_doubled = is_troubled && dice.happens(setting.doubled);
        let apart = if dice.coin() { setting.delay } else { setting.late_delay };
        let second = now.plus(dice.delay(apart));
        let copies = [(!is_lost).then_some(first), (!is_lost && is_doubled).then_some(second)];
        copies.into_iter().flatten()
    }

    pub const fn is_calm(&self) -> bool {
        self.is_calm
    }

    pub fn cut(&mut self, from: usize, to: usize) {
        self.links[from][to].is_cut = true;
    }

    pub fn mend(&mut self, from: usize, to: usize) {
        self.links[from][to].is_cut = false;
    }

    /// From now on links lose, double and delay nothing, and none is cut but by [`Self::cut`].
    pub fn calm(&mut self) {
        self.links.iter_mut().flatten().for_each(|link| link.is_cut = false);
        self.is_calm = true;
    }
}
