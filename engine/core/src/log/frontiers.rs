//! How far a partition's log has come: the offsets that readers, waits and refusals go by, and what holds between them. What moves each of them is
//! said in [`super::partition`]. An append moves the log's end at once, and a cut takes what it cuts off; what else is decided (a trim, a leadership)
//! moves none before it is durable.
//!
//! ```text
//!  log start    local start                     high watermark      durable end      log end
//!      |  in the tier  |  every replica has synced it  |  not everywhere  |  not yet synced  |
//!      |---- last stable offset: somewhere here -------|
//! ```

use rustmq_model::Offset;

/// What must pass a batch before its append is answered. Not the last stable offset: a batch may itself be what holds that up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFrontier {
    /// For acks=1.
    DurableEnd,
    /// For acks=all.
    HighWatermark,
}

impl AppendFrontier {
    /// In the order of their numbers.
    pub const ALL: [Self; 2] = [Self::DurableEnd, Self::HighWatermark];

    #[must_use]
    pub const fn of(self, frontiers: &Frontiers) -> Offset {
        match self {
            Self::DurableEnd => frontiers.durable_end,
            Self::HighWatermark => frontiers.high_watermark,
        }
    }
}

/// What readers stop at, and wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrontier {
    HighWatermark,
    /// For read_committed.
    LastStable,
}

impl ReadFrontier {
    #[must_use]
    pub const fn of(self, frontiers: &Frontiers) -> Offset {
        match self {
            Self::HighWatermark => frontiers.high_watermark,
            Self::LastStable => frontiers.last_stable,
        }
    }
}

/// The frontiers of one partition at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontiers {
    /// The first offset that a reader may ask for. The trim that put it there is synced.
    pub log_start: Offset,
    /// The first offset that is in the write-ahead log still.
    pub local_start: Offset,
    /// What a read_committed reader stops at. It may lie below the local start: a transaction that stays open does not hold up the tier.
    pub last_stable: Offset,
    /// One past the last record that every replica of the ISR has synced.
    pub high_watermark: Offset,
    /// One past the last record that is synced here.
    pub durable_end: Offset,
    /// One past the last record appended, synced or not.
    pub log_end: Offset,
}

impl Frontiers {
    /// Of an empty log that starts here: all of them coincide.
    #[must_use]
    pub const fn at(start: Offset) -> Self {
        Self {
            log_start: start,
            local_start: start,
            last_stable: start,
            high_watermark: start,
            durable_end: start,
            log_end: start,
        }
    }

    /// A trim is synced. Nothing below the log start is kept anywhere.
    pub(crate) fn raise_log_start(&mut self, to: Offset) {
        self.log_start = to;
        self.local_start = self.local_start.max(to);
        self.last_stable = self.last_stable.max(to);
    }

    /// A log that has lost its end, or found that it ends further on: all of what is left is synced.
    pub(super) fn move_end(&mut self, to: Offset) {
        self.log_end = to;
        self.durable_end = to;
    }

    /// The log was cut back: nothing from `to` on is left.
    pub(super) fn cut(&mut self, to: Offset) {
        self.log_end = to;
        self.durable_end = self.durable_end.min(to);
        self.high_watermark = self.high_watermark.min(to);
        self.last_stable = self.last_stable.min(to);
    }

    /// What always holds between them; the only place that says so.
    pub(super) fn soundness(&self) -> Result<(), &'static str> {
        let Self { log_start, local_start, last_stable, high_watermark, durable_end, log_end } = *self;
        let rules = [
            (log_start.0 >= 0, "the log starts below 0"),
            (log_start <= local_start, "the log starts above what is local"),
            (local_start <= high_watermark, "the log starts above the high watermark"),
            (log_start <= last_stable, "the last stable offset is below the log start"),
            (last_stable <= high_watermark, "the last stable offset is above the high watermark"),
            (high_watermark <= durable_end, "the high watermark is above the durable end"),
            (durable_end <= log_end, "the durable end is above the end"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
    }
}

/// Who else has a copy of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// Nobody.
    Sole,
    /// Others, whose acknowledgements are to be waited for.
    Several,
}

impl Replicas {
    /// The rule until more is told, for a log that is committed up to an offset.
    #[must_use]
    pub const fn first_rule(self, high_watermark: Offset) -> WatermarkRule {
        match self {
            Self::Sole => WatermarkRule::Sole,
            Self::Several => WatermarkRule::Acknowledged(high_watermark),
        }
    }
}

/// What the high watermark follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatermarkRule {
    /// What is durable here is durable on every replica: there is no other.
    Sole,
    /// The others' acknowledgements decide: the watermark is the least durable end over the ISR, and theirs is this.
    Acknowledged(Offset),
}

impl WatermarkRule {
    /// Of a log that was cut back: what was acknowledged beyond its watermark was acknowledged of other bytes.
    pub(super) const fn after_cut(self, high_watermark: Offset) -> Self {
        match self {
            Self::Sole => Self::Sole,
            Self::Acknowledged(_) => Self::Acknowledged(high_watermark),
        }
    }

    /// Of a log with these frontiers.
    #[must_use]
    pub fn high_watermark(self, frontiers: &Frontiers) -> Offset {
        match self {
            Self::Sole => frontiers.durable_end,
            Self::Acknowledged(end) => frontiers.durable_end.min(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::Frontiers;

    #[test]
    fn each_rule_is_broken_by_one_frontier() {
        let sound = Frontiers {
            log_start: Offset(1),
            local_start: Offset(3),
            last_stable: Offset(2),
            high_watermark: Offset(4),
            durable_end: Offset(5),
            log_end: Offset(6),
        };
        assert_eq!(sound.soundness(), Ok(()));
        assert_eq!(Frontiers::at(Offset(7)).soundness(), Ok(()));
        let check = |broken: Frontiers, expected| assert_eq!(broken.soundness(), Err(expected), "{broken:?}");
        check(Frontiers { log_start: Offset(-1), ..sound }, "the log starts below 0");
        check(Frontiers { local_start: Offset(0), ..sound }, "the log starts above what is local");
        check(Frontiers { local_start: Offset(5), ..sound }, "the log starts above the high watermark");
        check(Frontiers { last_stable: Offset(0), ..sound }, "the last stable offset is below the log start");
        check(Frontiers { last_stable: Offset(5), ..sound }, "the last stable offset is above the high watermark");
        check(Frontiers { durable_end: Offset(3), ..sound }, "the high watermark is above the durable end");
        check(Frontiers { log_end: Offset(4), ..sound }, "the durable end is above the end");
    }
}
