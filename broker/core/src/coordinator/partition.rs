//! Which partition of a coordinator's topic owns a key: the same one that Apache Kafka would
//! choose.

use rustmq_model::PartitionId;

/// The partition that owns a key, such as a group id or a transactional id: the absolute value of
/// Java's `String.hashCode`, modulo the count.
///
/// # Panics
/// If `partition_count` is not positive: a topic has at least one partition.
#[must_use]
pub fn coordinator_partition(key: &str, partition_count: i32) -> PartitionId {
    assert!(partition_count > 0, "a topic has at least one partition");
    // Java hashes UTF-16 units with wrapping 32-bit arithmetic. Kafka counts the one hash without
    // an absolute value as 0.
    let hash = key.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionId(hash.checked_abs().unwrap_or(0) % partition_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_the_partition_that_java_computes() {
        for (key, partition) in [
            ("", 0),
            ("a", 97 % 50),
            // The smallest 32-bit number is the hash of this word.
            ("polygenelubricants", 0),
            ("gr\u{fc}\u{df}e", 98_768_023 % 50),
            ("\u{1F600}", 1_772_899 % 50),
            ("console-consumer-12345", 158_455_506 % 50),
            ("my-group", 1_906_497_762 % 50),
            // Apache Kafka 4.3.1 put these two groups there: see the fixture of the record codec.
            ("golden", 43),
            ("golden-dynamic", 25),
        ] {
            assert_eq!(coordinator_partition(key, 50), PartitionId(partition), "{key}");
        }
    }
}
