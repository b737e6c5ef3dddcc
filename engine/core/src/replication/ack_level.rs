//! The acknowledgement levels: each says on how many disks a batch is. Only [`AckLevel::All`]
//! promises that a failover keeps it; the others promise that many syncs at the moment of the
//! answer.

use rustmq_model::Offset;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AckLevel {
    /// No answer is waited for.
    None,
    Leader,
    /// More than half of the assigned replicas.
    Majority,
    /// Every replica of the ISR, and no fewer than `min.insync.replicas`.
    All,
    /// So many of the assigned replicas; none counts as one.
    Custom(usize),
}

impl AckLevel {
    /// How many syncs of any replicas it takes, where that says it all.
    pub(super) fn syncs(self, replicas: usize) -> Option<usize> {
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
    // A few replicas: counting needs no memory, as sorting would.
    let is_reached = |end: &Offset| ends.clone().filter(|other| other >= end).count() >= count;
    ends.clone().filter(is_reached).max()
}

/// Why an append is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceRefusal {
    #[error("this replica does not lead")]
    NotLeader,
    #[error("the lease has run out: another replica may lead")]
    LeaseExpired,
    #[error("{asked} replicas are to sync it, and there are {replicas}")]
    NotSoManyReplicas { asked: usize, replicas: usize },
    #[error("{in_sync} replicas are in sync, and {least} have to be")]
    NotEnoughReplicas { in_sync: usize, least: usize },
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::{AckLevel, synced_by};

    #[test]
    fn an_end_is_synced_by_so_many_replicas() {
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
    fn levels_count_syncs_among_the_assigned() {
        let of = |level: AckLevel| [1, 2, 3, 5].map(|replicas| level.syncs(replicas).unwrap_or(99));
        assert_eq!(of(AckLevel::Majority), [1, 2, 2, 3]);
        assert_eq!(of(AckLevel::Custom(2)), [2; 4]);
        assert_eq!(of(AckLevel::Custom(0)), [1; 4]);
        assert_eq!(of(AckLevel::All), [99; 4]);
    }
}
