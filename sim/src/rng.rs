//! The random numbers, chances and durations of a run, drawn from one seed.

use std::time::Duration;

/// A random number generator (xorshift64*, Marsaglia 2003 and Vigna 2016). Its numbers are part of
/// the meaning of a seed: they must not change.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

/// A probability, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u32);

impl Chance {
    const WHOLE: u32 = 1_000_000;
    pub const NEVER: Self = Self(0);
    pub const ALWAYS: Self = Self(Self::WHOLE);

    #[must_use]
    pub const fn per_million(millionths: u32) -> Self {
        assert!(millionths <= Self::WHOLE, "a probability is at most one");
        Self(millionths)
    }

    #[must_use]
    pub const fn percent(hundredths: u32) -> Self {
        Self::per_million(hundredths * (Self::WHOLE / 100))
    }
}

/// The bounds of a drawn duration, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    pub least: Duration,
    pub most: Duration,
}

impl Delay {
    #[must_use]
    pub const fn micros(least: u64, most: u64) -> Self {
        Self { least: Duration::from_micros(least), most: Duration::from_micros(most) }
    }
}

impl Rng {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // Mixing sets neighbouring seeds far apart. The generator never leaves the state zero.
        let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = mixed ^ (mixed >> 31);
        Self { state: if mixed == 0 { 1 } else { mixed } }
    }

    /// Creates a generator for one part of the run, so that its draws do not depend on how often
    /// another part draws.
    #[must_use]
    pub const fn fork(&mut self) -> Self {
        Self::new(self.roll())
    }

    /// Draws any number.
    pub const fn roll(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Draws a number from `least` to `most`, both inclusive.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        assert!(least <= most, "the bounds are in order: {least}, {most}");
        let count = u128::from(most - least) + 1;
        // The high bits decide: the generator's low bits are weaker.
        let drawn = (u128::from(self.roll()) * count) >> 64;
        least + u64::try_from(drawn).expect("it is below the count, which is at most one above a u64")
    }

    /// Draws a number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "the bound is above zero");
        let bound = u64::try_from(bound).expect("a usize fits a u64");
        usize::try_from(self.between(0, bound - 1)).expect("it is below a usize")
    }

    pub fn coin(&mut self) -> bool {
        self.roll() >> 63 == 1
    }

    /// Draws whether an event of this probability happens. [`Chance::NEVER`] draws nothing.
    pub fn happens(&mut self, chance: Chance) -> bool {
        chance != Chance::NEVER && self.between(0, u64::from(Chance::WHOLE) - 1) < u64::from(chance.0)
    }

    pub fn delay(&mut self, delay: Delay) -> Duration {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.between(nanos(delay.least), nanos(delay.most)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::{Chance, Delay, Rng};

    #[test]
    fn a_seed_gives_the_same_numbers_in_every_build() {
        let drawn = |seed| {
            let mut rng = Rng::new(seed);
            [rng.roll(), rng.roll(), rng.between(0, 999)]
        };
        assert_eq!(drawn(0), [0xe45c_24c7_740f_6fbf, 0x29e0_5eda_15f5_d258, 512]);
        assert_eq!(drawn(1), [0x2421_9948_2e2a_2419, 0x5698_29e5_3c66_fbb3, 606]);
    }

    #[test]
    fn neighbouring_seeds_and_forks_draw_different_numbers() {
        let first = (0..10_000).map(|seed| Rng::new(seed).roll()).collect::<BTreeSet<_>>();
        assert_eq!(first.len(), 10_000);
        let mut rng = Rng::new(7);
        let mut fork = rng.fork();
        assert_ne!(rng.roll(), fork.roll());
    }

    #[test]
    fn every_number_below_a_bound_is_drawn_equally_often() {
        let mut rng = Rng::new(3);
        let mut counts = [0; 7];
        (0..70_000).for_each(|_| counts[rng.below(7)] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!((0..100).map(|_| rng.between(u64::MAX - 1, u64::MAX)).min(), Some(u64::MAX - 1));
        assert_eq!(rng.between(5, 5), 5);
    }

    #[test]
    fn events_happen_as_often_as_their_probability_says() {
        let mut rng = Rng::new(4);
        let mut of_thousands = |chance| (0..100_000).filter(|_| rng.happens(chance)).count() / 1_000;
        assert_eq!([of_thousands(Chance::NEVER), of_thousands(Chance::ALWAYS)], [0, 100]);
        assert!((24..=26).contains(&of_thousands(Chance::percent(25))));
    }

    #[test]
    fn a_delay_includes_both_of_its_bounds() {
        let mut rng = Rng::new(5);
        let delay = Delay { least: Duration::from_nanos(10), most: Duration::from_nanos(12) };
        let drawn = (0..100).map(|_| rng.delay(delay).as_nanos()).collect::<BTreeSet<_>>();
        assert_eq!(drawn, BTreeSet::from([10, 11, 12]));
    }
}
