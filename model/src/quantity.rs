//! Sizes and time. Two kinds of time are kept apart: an [`Instant`] measures durations, a
//! [`Timestamp`] dates records.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point on a monotonic clock, in nanoseconds since an origin that only the clock's owner knows.
/// Drivers read the clock, cores only compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `duration` later. Saturates at the end of the clock's range, after about 580
    /// years.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A wall-clock time in milliseconds since the Unix epoch, as records carry it. -1 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const NONE: Self = Self(-1);

    /// Whether at least `span` has passed from `since` to this time: never, if `since` is later, as
    /// it is after the clock was set back.
    #[must_use]
    pub fn is_past(self, since: Self, span: Duration) -> bool {
        let age = self.0.saturating_sub(since.0);
        u128::try_from(age).is_ok_and(|age| age >= span.as_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before 1970 counts as 0.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A number of bytes. Its text form is a number with a unit (`64MiB`, `1GiB`, `512KiB`, `100B`) or
/// a plain number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a size: write a number of bytes, or a number with B, KiB, MiB, GiB or TiB, such as \"64MiB\"")]
pub struct ByteSizeError {
    text: String,
}

impl ByteSize {
    const UNITS: [(&'static str, u64); 5] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    #[must_use]
    pub const fn tib(count: u64) -> Self {
        Self(count << 40)
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let fail = || ByteSizeError { text: text.to_owned() };
        let (digits, factor) = Self::UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
            .unwrap_or((text, 1));
        let count: u64 = digits.trim().parse().map_err(|_| fail())?;
        count.checked_mul(factor).map(Self).ok_or_else(fail)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = Self::UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{ByteSize, Timestamp};

    #[test]
    fn a_span_is_past_at_its_end_and_never_from_the_future() {
        let is_past = |now, since, millis| Timestamp(now).is_past(Timestamp(since), Duration::from_millis(millis));
        assert_eq!([199, 200, 201].map(|now| is_past(now, 100, 100)), [false, true, true]);
        assert!(is_past(100, 100, 0) && !is_past(99, 100, 0));
        assert!(!is_past(100, i64::MAX, 1) && is_past(i64::MAX, i64::MIN, 1));
        assert!(!Timestamp(i64::MAX).is_past(Timestamp(0), Duration::MAX));
    }

    #[test]
    fn a_wall_clock_counts_milliseconds_from_1970_on() {
        let after = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_999);
        assert_eq!(Timestamp::from(after), Timestamp(1_700_000_000_123));
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp(0));
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let check = |text: &str, bytes: Option<u64>| assert_eq!(text.parse().ok(), bytes.map(ByteSize), "{text:?}");
        check("64MiB", Some(64 << 20));
        check("10737418240", Some(10_737_418_240));
        check("1 KiB", Some(1024));
        check("7B", Some(7));
        check("64MB", None);
        check("-1", None);
        check("99999999999TiB", None);
        check("", None);
    }

    #[test]
    fn sizes_print_in_the_largest_unit_that_divides_them() {
        assert_eq!(ByteSize(64 << 20).to_string(), "64MiB");
        assert_eq!(ByteSize(1025).to_string(), "1025B");
        assert_eq!(ByteSize(0).to_string(), "0B");
    }
}
