//! The acknowledgement levels: each says how many disks hold a batch when its append is answered.
//! Only [`AckLevel::All`] promises that the batch survives a failover; the others promise that many
//! syncs at the time of the answer.

use rustmq_model::Offset;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AckLevel {
    /// The producer waits for no answer.
    None,
    Leader,
    /// More than half of the assigned replicas.
    Majority,
    /// Every replica of the ISR, and no fewer than `min.insync.replicas`.
    All,
    /// This many of the assigned replicas; 0 counts as 1.
    Custom(usize),
}

impl AckLevel {
    /// How many replicas must have synced, whichever they are. `None` for a level that names
    /// replicas.
    pub(super) fn sync_count(self, replicas: usize) -> Option<usize> {
        match self {
            Self::None => Some(0),
            Self::Leader | Self::All => None,
            Self::Majority => Some(replicas / 2 + 1),
            Self::Custom(count) => Some(count.max(1)),
        }
    }
}

/// The end below which `count` replicas have synced everything: the `count`th largest of their
/// ends. `count` is not zero.
pub(super) fn synced_by(count: usize, ends: &(impl Iterator<Item = Offset> + Clone)) -> Option<Offset> {
    // The replicas are few, and counting needs no memory, as sorting would.
    let is_reached = |end: &Offset| ends.clone().filter(|other| other >= end).count() >= count;
    ends.clone().filter(is_reached).max()
}

/// Why an append is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceRefusal {
    #[error("this replica is not the leader")]
    NotLeader,
    #[error("the lease has expired: another replica may lead")]
    LeaseExpired,
    #[error("{requested} replicas must sync the append, and the partition has {replicas}")]
    TooFewReplicas { requested: usize, replicas: usize },
    #[error("{in_sync} replicas are in sync, and {required} must be")]
    NotEnoughReplicas { in_sync: usize, required: usize },
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::{AckLevel, synced_by};

    #[test]
    fn an_end_is_synced_by_a_number_of_replicas() {
        let check = |count, ends: &[i64], expected: Option<i64>| {
            let ends = ends.iter().map(|end| Offset(*end));
            assert_eq!(synced_by(count, &ends), expected.map(Offset), "{count}");
        };
        check(1, &[5, 9, 7], Some(9));
        check(2, &[5, 9, 7], Some(7));
        check(3, &[5, 9, 7], Some(5));
        check(4, &[5, 9, 7], None);
        check(2, &[7, 7, 1], Some(7));
        check(1, &[], None);
    }

    #[test]
    fn levels_count_syncs_of_the_assigned_replicas() {
        let counts = |level: AckLevel| [1, 2, 3, 5].map(|replicas| level.sync_count(replicas).unwrap_or(99));
        assert_eq!(counts(AckLevel::Majority), [1, 2, 2, 3]);
        assert_eq!(counts(AckLevel::Custom(2)), [2; 4]);
        assert_eq!(counts(AckLevel::Custom(0)), [1; 4]);
        assert_eq!(counts(AckLevel::All), [99; 4]);
    }
}
