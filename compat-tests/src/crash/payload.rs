//! The value of a record that identifies itself: its producer, its number, and random bytes under a
//! checksum.

use super::audit::Entry;
use rand::{Rng, RngExt};

const HEAD: usize = 4 + 8 + 8;

/// Creates a record's value with `length` random bytes, and its entry. Half of the bytes repeat, so
/// that codecs can compress.
pub fn make(random: &mut impl Rng, producer: u32, sequence: u64, length: usize) -> (Vec<u8>, Entry) {
    let mut value = vec![0; HEAD + length];
    value[..4].copy_from_slice(&producer.to_be_bytes());
    value[4..12].copy_from_slice(&sequence.to_be_bytes());
    let filled = HEAD + length / 2;
    random.fill(&mut value[HEAD..filled]);
    let hash = hash_of(&value);
    value[12..HEAD].copy_from_slice(&hash.to_be_bytes());
    (value, Entry { producer, sequence, hash })
}

/// The entry of a value that was read; `None` if the value is not an original one.
pub fn parse(value: &[u8]) -> Option<Entry> {
    let producer = u32::from_be_bytes(value.get(..4)?.try_into().ok()?);
    let sequence = u64::from_be_bytes(value.get(4..12)?.try_into().ok()?);
    let hash = u64::from_be_bytes(value.get(12..HEAD)?.try_into().ok()?);
    (hash == hash_of(value)).then_some(Entry { producer, sequence, hash })
}

/// FNV-1a over everything except the hash itself.
fn hash_of(value: &[u8]) -> u64 {
    let bytes = value[..12].iter().chain(&value[HEAD..]);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_value_proves_itself_and_any_changed_byte_shows() {
        let mut random = StdRng::seed_from_u64(1);
        for length in [0, 1, 100] {
            let (value, entry) = make(&mut random, 7, 9, length);
            assert_eq!(parse(&value).unwrap(), entry);
            for at in 0..value.len() {
                let mut changed = value.clone();
                changed[at] ^= 0x10;
                assert_eq!(parse(&changed), None, "byte {at} of {length}");
            }
            assert_eq!(parse(&value[..value.len() - 1]), None);
        }
    }
}
