//! The network between the brokers and the controller. It loses and duplicates messages, and
//! delivers them late and in any order. A link may be cut, in one direction or in both. In some
//! runs a link is a stream: messages arrive in the order in which they were sent, except late ones.
//! The network never changes a message: the transport promises that.

use std::time::Duration;

use rustmq_model::Instant;

use super::setting::{BROKERS, Setting};
use crate::Rng;

/// The controller's index among the nodes.
pub const CONTROLLER: usize = BROKERS;

/// The link from one node to another, in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    is_cut: bool,
    /// When the newest of its messages arrives.
    newest_at: Instant,
}

#[derive(Debug)]
pub struct Network {
    links: [[Link; BROKERS + 1]; BROKERS + 1],
    is_calm: bool,
    rng: Rng,
}

impl Network {
    pub fn new(rng: Rng) -> Self {
        Self { links: <[[Link; BROKERS + 1]; BROKERS + 1]>::default(), is_calm: false, rng }
    }

    /// When each copy of a message arrives. A lost message has no copy.
    pub fn deliveries(
        &mut self,
        now: Instant,
        setting: &Setting,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = Instant> + use<> {
        let (rng, link) = (&mut self.rng, &mut self.links[from][to]);
        let has_faults = !self.is_calm;
        let is_lost = link.is_cut || (has_faults && rng.happens(setting.lost));
        let is_late = has_faults && rng.happens(setting.late);
        let usual = now.plus(rng.delay(setting.delay));
        let first = if is_late {
            now.plus(rng.delay(setting.late_delay))
        } else if has_faults && !setting.has_streams {
            usual
        } else {
            usual.max(link.newest_at.plus(Duration::from_nanos(1)))
        };
        if !is_lost && !is_late {
            link.newest_at = first;
        }
        let is_doubled = has_faults && rng.happens(setting.doubled);
        let apart = if rng.coin() { setting.delay } else { setting.late_delay };
        let second = now.plus(rng.delay(apart));
        let copies = [(!is_lost).then_some(first), (!is_lost && is_doubled).then_some(second)];
        copies.into_iter().flatten()
    }

    pub const fn is_calm(&self) -> bool {
        self.is_calm
    }

    pub fn cut(&mut self, from: usize, to: usize) {
        self.links[from][to].is_cut = true;
    }

    pub fn heal(&mut self, from: usize, to: usize) {
        self.links[from][to].is_cut = false;
    }

    /// Stops all faults: links lose, duplicate and delay nothing, and only [`Self::cut`] cuts one.
    pub fn calm(&mut self) {
        self.links.iter_mut().flatten().for_each(|link| link.is_cut = false);
        self.is_calm = true;
    }
}
