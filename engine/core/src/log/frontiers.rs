//! The frontiers of a partition's log: the offsets that reads, waits and refusals depend on, and
//! the order between them. [`super::partition`] says what moves each of them. An append moves the
//! log end at once, and a cut lowers the frontiers above it at once; other decisions (a trim, a
//! leadership) move none before they are durable.
//!
//! ```text
//!  log start    local start                     high watermark      durable end      log end
//!      |  in the tier  |    synced by the whole ISR    |   synced here    |  not yet synced  |
//!      |---- last stable offset: somewhere here -------|
//! ```

use rustmq_model::Offset;

/// The frontier that must pass a batch before its append is answered. Never the last stable offset:
/// the batch itself may hold that back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFrontier {
    /// For acks=1.
    DurableEnd,
    /// For acks=all.
    HighWatermark,
}

impl AppendFrontier {
    /// In the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::DurableEnd, Self::HighWatermark];

    #[must_use]
    pub const fn of(self, frontiers: &Frontiers) -> Offset {
        match self {
            Self::DurableEnd => frontiers.durable_end,
            Self::HighWatermark => frontiers.high_watermark,
        }
    }
}

/// The frontier where readers stop, and for which they wait.
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
    /// The first offset that a reader may request. The trim that set it is synced.
    pub log_start: Offset,
    /// The first offset that is still in the write-ahead log.
    pub local_start: Offset,
    /// Where a read_committed reader stops. It may lie below the local start: an open transaction
    /// does not hold back the tier.
    pub last_stable: Offset,
    /// One past the last record that every replica of the ISR has synced.
    pub high_watermark: Offset,
    /// One past the last record that is synced here.
    pub durable_end: Offset,
    /// One past the last record appended, synced or not.
    pub log_end: Offset,
}

impl Frontiers {
    /// The frontiers of an empty log: all of them are at its start.
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

    /// A trim is synced. Records below the log start exist nowhere, so the local start and the last
    /// stable offset are not below it.
    pub(crate) fn raise_log_start(&mut self, to: Offset) {
        self.log_start = to;
        self.local_start = self.local_start.max(to);
        self.last_stable = self.last_stable.max(to);
    }

    /// Moves the log end in a restore or a replay, where everything below it is synced.
    pub(super) fn move_end(&mut self, to: Offset) {
        self.log_end = to;
        self.durable_end = to;
    }

    /// The log was cut back: nothing at `to` or above is left.
    pub(super) fn cut(&mut self, to: Offset) {
        self.log_end = to;
        self.durable_end = self.durable_end.min(to);
        self.high_watermark = self.high_watermark.min(to);
        self.last_stable = self.last_stable.min(to);
    }

    /// The order between the frontiers, which always holds. It is stated only here.
    pub(super) fn soundness(&self) -> Result<(), &'static str> {
        let Self { log_start, local_start, last_stable, high_watermark, durable_end, log_end } = *self;
        let rules = [
            (log_start.0 >= 0, "the log starts below 0"),
            (log_start <= local_start, "the log start is above the local start"),
            (local_start <= high_watermark, "the local start is above the high watermark"),
            (log_start <= last_stable, "the last stable offset is below the log start"),
            (last_stable <= high_watermark, "the last stable offset is above the high watermark"),
            (high_watermark <= durable_end, "the high watermark is above the durable end"),
            (durable_end <= log_end, "the durable end is above the log end"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
    }
}

/// Whether other brokers have a replica of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// No other broker has one.
    Sole,
    /// Others have one: their acknowledgements commit records.
    Several,
}

impl Replicas {
    /// The rule of a log that is committed up to this offset, until an acknowledgement moves it.
    #[must_use]
    pub const fn first_rule(self, high_watermark: Offset) -> WatermarkRule {
        match self {
            Self::Sole => WatermarkRule::Sole,
            Self::Several => WatermarkRule::Acknowledged(high_watermark),
        }
    }
}

/// The rule that determines the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatermarkRule {
    /// The durable end: there is no other replica.
    Sole,
    /// The least durable end in the ISR. This is the least of the other replicas' durable ends.
    Acknowledged(Offset),
}

impl WatermarkRule {
    /// The rule after a cut. Acknowledgements above the high watermark were for other bytes, so
    /// they no longer count.
    pub(super) const fn after_cut(self, high_watermark: Offset) -> Self {
        match self {
            Self::Sole => Self::Sole,
            Self::Acknowledged(_) => Self::Acknowledged(high_watermark),
        }
    }

    /// The high watermark that follows from these frontiers.
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
        check(Frontiers { local_start: Offset(0), ..sound }, "the log start is above the local start");
        check(Frontiers { local_start: Offset(5), ..sound }, "the local start is above the high watermark");
        check(Frontiers { last_stable: Offset(0), ..sound }, "the last stable offset is below the log start");
        check(Frontiers { last_stable: Offset(5), ..sound }, "the last stable offset is above the high watermark");
        check(Frontiers { durable_end: Offset(3), ..sound }, "the high watermark is above the durable end");
        check(Frontiers { log_end: Offset(4), ..sound }, "the durable end is above the log end");
    }
}
