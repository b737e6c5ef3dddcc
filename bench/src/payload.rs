//! The values of the records: text that resembles JSON events. The bytes are the same in every run,
//! and no value equals its neighbour.

/// The number of distinct values, so that compression does not meet one value over and over.
const DISTINCT: usize = 1024;

#[derive(Debug)]
pub struct Payloads(Vec<Vec<u8>>);

impl Payloads {
    pub fn of_size(bytes: usize) -> Payloads {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        Payloads((0..DISTINCT).map(|_| value(bytes, &mut state)).collect())
    }

    pub fn pick(&self, index: usize) -> &[u8] {
        &self.0[index % DISTINCT]
    }
}

fn value(bytes: usize, state: &mut u64) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 128);
    while text.len() < bytes {
        let (id, amount) = (next(state), next(state) % 100_000);
        text.push_str(&format!(
            "{{\"order\":\"{id:016x}\",\"state\":\"paid\",\"amount\":{amount},\"currency\":\"EUR\"}},"
        ));
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// Marsaglia's xorshift, with a fixed seed: runs must not differ in their data.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_size_and_differ() {
        let payloads = Payloads::of_size(100);
        assert!((0..DISTINCT).all(|index| payloads.pick(index).len() == 100));
        assert_ne!(payloads.pick(0), payloads.pick(1));
        assert_eq!(payloads.pick(3), Payloads::of_size(100).pick(3 + DISTINCT));
    }
}
