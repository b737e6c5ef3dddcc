//! Patterns of clients, in the syntax of RE2, that match whole names: topics that a consumer
//! subscribes to, transactional ids that a list shows.

use regex::bytes::{Regex, RegexBuilder};

/// The memory that one compiled pattern may take, and as much again for its match.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a pattern.
const PATTERN_LENGTH_MAX: usize = 4096;
/// Parentheses in parentheses.
const PATTERN_DEPTH_MAX: u32 = 100;

/// A pattern that clients have sent, compiled.
#[derive(Debug)]
pub struct Pattern(Regex);

/// The pattern is malformed, or too costly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidPattern {
    pub reason: String,
}

impl Pattern {
    /// Compiles a pattern. The engine matches in linear time, and the limits bound its memory, so
    /// that no pattern explodes.
    ///
    /// # Errors
    /// [`InvalidPattern`]
    pub fn compile(pattern: &str) -> Result<Self, InvalidPattern> {
        if pattern.len() > PATTERN_LENGTH_MAX {
            let reason = format!("it has {} bytes, over the limit of {PATTERN_LENGTH_MAX}", pattern.len());
            return Err(InvalidPattern { reason });
        }
        let build = |pattern: &str, is_unicode| {
            RegexBuilder::new(pattern)
                .unicode(is_unicode)
                .size_limit(PATTERN_BYTES_MAX)
                .dfa_size_limit(PATTERN_BYTES_MAX)
                .nest_limit(PATTERN_DEPTH_MAX)
                .build()
        };
        // Names of topics are ASCII, so that the small ASCII classes of RE2 suffice. Only classes
        // such as \p{L} need Unicode.
        let is_unicode = build(pattern, false).is_err();
        // The pattern must be one by itself: the group around it would hide that `a)|(b` is none.
        let checked = build(pattern, is_unicode);
        let anchored = checked.and_then(|_| build(&format!(r"\A(?:{pattern})\z"), is_unicode));
        anchored.map(Self).map_err(|error| InvalidPattern { reason: error.to_string() })
    }

    /// Whether the pattern matches the whole name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_and_explosive_patterns_are_refused() {
        let long = "a".repeat(PATTERN_LENGTH_MAX + 1);
        let deep = "(".repeat(200) + &")".repeat(200);
        for pattern in ["(", "a)|(b", "*", r"(a)\1", "(?=a)", "((a{1000}){1000}){1000}", &long, &deep] {
            assert!(Pattern::compile(pattern).is_err(), "{pattern}");
        }
    }
}
