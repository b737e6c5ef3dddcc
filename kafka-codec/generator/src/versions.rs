//! Ranges of versions, as schemas write them: `3`, `0-7`, `4+`, `none`.

use std::fmt;

/// Versions from `first` to `last`, both included. An open range ends at [`Versions::LAST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Versions {
    pub const LAST: i16 = i16::MAX;
    pub const NONE: Self = Self { first: Self::LAST, last: -1 };

    /// `None` for text that is no range.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::NONE);
        }
        let number = |digits: &str| digits.parse::<i16>().ok().filter(|version| *version >= 0);
        let (first, last) = if let Some(first) = text.strip_suffix('+') {
            (number(first)?, Self::LAST)
        } else if let Some((first, last)) = text.split_once('-') {
            (number(first)?, number(last)?)
        } else {
            (number(text)?, number(text)?)
        };
        (first <= last).then_some(Self { first, last })
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.first > self.last
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Self::NONE } else { both }
    }

    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    /// Whether each of `other` is in this range.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.intersection(other) == other
    }

    /// The smallest range that has both.
    pub(crate) fn hull(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            versions if versions.is_empty() => f.write_str("none"),
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last: Self::LAST } => write!(f, "{first}+"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Versions;

    fn versions(first: i16, last: i16) -> Versions {
        Versions { first, last }
    }

    #[test]
    fn ranges_are_read_and_written_as_schemas_have_them() {
        for (text, expected) in [
            ("3", versions(3, 3)),
            ("0-7", versions(0, 7)),
            ("4+", versions(4, Versions::LAST)),
            ("none", Versions::NONE),
        ] {
            assert_eq!(Versions::parse(text), Some(expected), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        for text in ["", "+", "-1", "7-0", "1-", "a", "1+2", "40000"] {
            assert_eq!(Versions::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_meet() {
        assert_eq!(versions(0, 7).intersection(versions(4, Versions::LAST)), versions(4, 7));
        assert_eq!(versions(0, 3).intersection(versions(4, 5)), Versions::NONE);
        assert!(versions(0, 7).covers(versions(2, 7)) && versions(0, 7).covers(Versions::NONE));
        assert!(!versions(1, 7).covers(versions(0, 2)));
        assert_eq!(versions(5, 5).hull(Versions::NONE).hull(versions(1, 2)), versions(1, 5));
    }
}
