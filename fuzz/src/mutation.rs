//! A small seeded mutator: the stable tests explore inputs near the corpus, and a failing seed
//! replays exactly.

/// Draws numbers from a seed (xorshift64*), and mutates inputs with them.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
}

/// Values at which decoders break: the edges of lengths and counts.
const EDGES: [u32; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

impl Mutator {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // The generator never leaves the state zero.
        Self { state: seed ^ 0x9e37_79b9_7f4a_7c15 | 1 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Draws a number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a usize fits a u64");
        usize::try_from(self.next() % bound).expect("a remainder is below the bound")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// Mutates `input` in one to eight places, and keeps it within 64 KiB.
    pub fn spoil(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            match self.below(7) {
                0 => input.truncate(at),
                1 => input.insert(at, self.byte()),
                2 => self.overwrite_edge(input, at),
                3 if at < input.len() => input[at] ^= 1 << self.below(8),
                4 if at < input.len() => input[at] = self.byte(),
                5 if at < input.len() => drop(input.remove(at)),
                _ => {
                    let from = self.below(other.len() + 1);
                    let length = self.below(other.len() - from + 1);
                    input.splice(at..at, other[from..from + length].iter().copied());
                }
            }
            input.truncate(1 << 16);
        }
    }

    fn overwrite_edge(&mut self, input: &mut [u8], at: usize) {
        let edge = EDGES[self.below(EDGES.len())];
        let bytes = if self.below(2) == 0 { edge.to_be_bytes() } else { edge.to_le_bytes() };
        for (slot, byte) in input.iter_mut().skip(at).zip(bytes) {
            *slot = byte;
        }
    }
}
