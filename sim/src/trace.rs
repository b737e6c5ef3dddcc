//! The steps of a run. A hash over them compares two runs of one seed; a readable log of them is
//! written on request. A trace does not know whether a step is right.

use std::fmt::Write as _;

use rustmq_model::Instant;

const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A 64-bit hash (FNV-1a) whose values are the same in every build and on every platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        let mut hash = Self::default();
        hash.fold(bytes);
        hash.0
    }

    pub fn fold(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// Hashes content, which is long: eight bytes at a time.
    #[must_use]
    pub fn of_content(bytes: &[u8]) -> u64 {
        let mut hash = Self::default();
        let words = bytes.chunks_exact(8);
        let rest = words.remainder();
        for word in words {
            let word = u64::from_le_bytes(word.try_into().expect("the chunks have eight bytes"));
            hash.0 = (hash.0 ^ word).wrapping_mul(PRIME);
        }
        hash.fold(rest);
        hash.0
    }

    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

/// The steps of one run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hash: Fnv,
    steps: u64,
    log: Option<String>,
    sink: Option<fn(&str)>,
}

impl Trace {
    /// Creates a trace whose log can be read after the run.
    #[must_use]
    pub fn readable() -> Self {
        Self { log: Some(String::new()), ..Self::default() }
    }

    /// Creates a trace that passes each line to `sink` at once: a run that panics leaves no log to
    /// read.
    #[must_use]
    pub fn streaming(sink: fn(&str)) -> Self {
        Self { sink: Some(sink), ..Self::readable() }
    }

    /// Records a step, with its numbers.
    pub fn step(&mut self, at: Instant, what: &str, fields: &[(&str, u64)]) {
        self.steps += 1;
        self.hash.fold(&at.as_nanos().to_le_bytes());
        // Lengths come first, so that different steps never give the same bytes.
        self.fold_text(what);
        self.hash.fold(&[u8::try_from(fields.len()).expect("a step has a few fields")]);
        for (name, value) in fields {
            self.fold_text(name);
            self.hash.fold(&value.to_le_bytes());
        }
        if let Some(log) = &mut self.log {
            let at = at.as_nanos();
            let _ = write!(log, "{}.{:09} {what}", at / 1_000_000_000, at % 1_000_000_000);
            for (name, value) in fields {
                let _ = write!(log, " {name}={value}");
            }
            log.push('\n');
            if let Some(sink) = self.sink {
                sink(log);
                log.clear();
            }
        }
    }

    fn fold_text(&mut self, text: &str) {
        self.hash.fold(&[u8::try_from(text.len()).expect("names of steps and fields are short")]);
        self.hash.fold(text.as_bytes());
    }

    /// Two runs with the same hash went the same way.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash.value()
    }

    /// The number of steps.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// One line for each step, if the trace is readable.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::Instant;

    use super::{Fnv, Trace};

    const AT: Instant = Instant::from_nanos(1_000_000_005);

    fn hash(steps: &[(&str, &[(&str, u64)])]) -> u64 {
        let mut trace = Trace::default();
        steps.iter().for_each(|(what, fields)| trace.step(AT, what, fields));
        trace.hash()
    }

    #[test]
    fn the_hash_matches_published_test_vectors() {
        // Test vectors that the authors of FNV published.
        for (text, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(Fnv::of(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn any_byte_of_content_changes_its_hash() {
        let content = [7; 21];
        for at in 0..content.len() {
            let mut other = content;
            other[at] ^= 0x80;
            assert_ne!(Fnv::of_content(&other), Fnv::of_content(&content), "byte {at}");
        }
        assert_ne!(Fnv::of_content(&content[..20]), Fnv::of_content(&content));
    }

    #[test]
    fn any_difference_between_two_runs_changes_the_hash() {
        let one = hash(&[("write", &[("slot", 1)]), ("sync", &[])]);
        assert_eq!(one, hash(&[("write", &[("slot", 1)]), ("sync", &[])]));
        let others = [
            hash(&[("sync", &[]), ("write", &[("slot", 1)])]),
            hash(&[("write", &[("slot", 2)]), ("sync", &[])]),
            hash(&[("write", &[("clot", 1)]), ("sync", &[])]),
            hash(&[("write", &[]), ("sync", &[("slot", 1)])]),
            hash(&[("write", &[("slot", 1)])]),
        ];
        assert!(others.iter().all(|other| *other != one));
        let mut later = Trace::default();
        later.step(Instant::from_nanos(9), "write", &[("slot", 1)]);
        assert_ne!(later.hash(), hash(&[("write", &[("slot", 1)])]));
    }

    #[test]
    fn a_readable_trace_has_a_line_for_each_step_and_the_same_hash() {
        let mut trace = Trace::readable();
        trace.step(AT, "write", &[("slot", 1), ("offset", 512)]);
        trace.step(AT, "sync", &[]);
        assert_eq!(trace.log(), Some("1.000000005 write slot=1 offset=512\n1.000000005 sync\n"));
        assert_eq!(
            (trace.steps(), trace.hash()),
            (2, hash(&[("write", &[("slot", 1), ("offset", 512)]), ("sync", &[])]))
        );
        assert_eq!(Trace::default().log(), None);
    }
}
