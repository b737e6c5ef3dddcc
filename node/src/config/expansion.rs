//! Expands `${NAME}` in the text values of the file.
//!
//! ```text
//! ${NAME}         the variable; an error if it is unset
//! ${NAME:-text}   the variable; `text` if it is unset or empty. No `${` and no `}` may be in it
//! $$              a dollar sign
//! ```
//! Any other dollar sign stays. Inserted text is not expanded again. A value of more than 64 KiB is
//! refused. The caller decides which values are expanded.

use std::borrow::Cow;

use super::environment::Environment;

/// No setting takes a longer value, in bytes. A reference of five bytes may stand for 128 KiB, so
/// that a file within its own bound could expand to gigabytes.
const EXPANDED_BYTES_MAX: usize = 64 << 10;

/// Why a value cannot be expanded. Names variables, and shows no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpansionError {
    #[error(
        "the environment variable {variable} is not set; set it, write ${{{variable}:-text}} to continue without it, or $${{ for the characters themselves"
    )]
    Unset { variable: String },
    #[error("the environment variable {variable} is not UTF-8")]
    NotText { variable: String },
    #[error(
        "a ${{ has no end, no name of letters, digits and underscores after it, or another ${{ in its fallback text; write $${{ for the characters themselves, which a fallback cannot contain"
    )]
    Malformed,
    #[error("the value is longer than 64 KiB with its variables put in")]
    TooLong,
}

/// Inserts the values of variables into a value.
///
/// # Errors
/// If a reference is malformed, its variable is unset or not UTF-8, or the result is too long.
pub fn expand<'a>(text: &'a str, environment: &Environment) -> Result<Cow<'a, str>, ExpansionError> {
    if !text.contains('$') {
        return Ok(Cow::Borrowed(text));
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some(reference) = after.strip_prefix('{') {
            let (reference, after) = reference.split_once('}').ok_or(ExpansionError::Malformed)?;
            expanded.push_str(resolve(reference, environment)?);
            after
        } else {
            expanded.push('$');
            after
        };
        check_length(&expanded)?;
    }
    expanded.push_str(rest);
    check_length(&expanded)?;
    Ok(Cow::Owned(expanded))
}

fn check_length(expanded: &str) -> Result<(), ExpansionError> {
    if expanded.len() > EXPANDED_BYTES_MAX { Err(ExpansionError::TooLong) } else { Ok(()) }
}

/// The text for the reference between the braces.
fn resolve<'a>(reference: &'a str, environment: &'a Environment) -> Result<&'a str, ExpansionError> {
    let (variable, fallback) = match reference.split_once(":-") {
        Some((variable, fallback)) => (variable, Some(fallback)),
        None => (reference, None),
    };
    let is_name = variable.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        && variable.starts_with(|first: char| !first.is_ascii_digit());
    // The first closing brace would end the reference in the middle of its fallback.
    let is_nested = fallback.is_some_and(|fallback| fallback.contains("${"));
    if !is_name || is_nested {
        return Err(ExpansionError::Malformed);
    }
    match (environment.variable(variable), fallback) {
        (Some(Err(_)), _) => Err(ExpansionError::NotText { variable: variable.to_owned() }),
        (Some(Ok("")) | None, Some(fallback)) => Ok(fallback),
        (Some(Ok(value)), _) => Ok(value),
        (None, None) => Err(ExpansionError::Unset { variable: variable.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::Environment;
    use super::{EXPANDED_BYTES_MAX, ExpansionError, expand};

    #[test]
    fn variables_are_put_in_once() {
        let environment = Environment::of(&[
            ("HOST", "broker-1"),
            ("EMPTY", ""),
            ("TRICKY", "${HOST}$$"),
            ("_A1", "one"),
            ("STRUCTURE", "\"\n[wal]\nfsync_on_write = false"),
        ]);
        let check = |text: &str, expected: Result<&str, ExpansionError>| {
            assert_eq!(expand(text, &environment).as_deref(), expected.as_ref().copied(), "{text:?}");
        };
        let unset = |variable: &str| Err(ExpansionError::Unset { variable: variable.to_owned() });
        check("plain", Ok("plain"));
        check("${HOST}", Ok("broker-1"));
        check("a-${HOST}-${_A1}.z", Ok("a-broker-1-one.z"));
        check("${EMPTY}", Ok(""));
        check("${TRICKY}", Ok("${HOST}$$"));
        check("${STRUCTURE}", Ok("\"\n[wal]\nfsync_on_write = false"));
        check("${UNSET:-rack-0}", Ok("rack-0"));
        check("${EMPTY:-rack-0}", Ok("rack-0"));
        check("${HOST:-rack-0}", Ok("broker-1"));
        check("${UNSET:-}", Ok(""));
        check("${UNSET:-$HOST}", Ok("$HOST"));
        check("$${HOST}", Ok("${HOST}"));
        check("$$${HOST}", Ok("$broker-1"));
        check("$$$$", Ok("$$"));
        check("$HOST costs 5$", Ok("$HOST costs 5$"));
        check("${UNSET}", unset("UNSET"));
        check("${HOST}${UNSET}", unset("UNSET"));
        for malformed in ["${HOST", "${}", "${1A}", "${A B}", "${A:B}", "${HOST-x}", "${:-x}", "${"] {
            check(malformed, Err(ExpansionError::Malformed));
        }
        for malformed in ["${UNSET:-${HOST}/x}", "${HOST:-${UNSET}}", "${UNSET:-a$${HOST}}", "${UNSET:-${"] {
            check(malformed, Err(ExpansionError::Malformed));
        }
    }

    #[test]
    fn a_value_has_a_greatest_length() {
        let environment = Environment::of(&[("KIB", &"x".repeat(1 << 10))]);
        let length = |text: &str| expand(text, &environment).map(|expanded| expanded.len());
        let full = "${KIB}".repeat(64);
        assert_eq!(length(&full), Ok(EXPANDED_BYTES_MAX));
        assert_eq!(length(&format!("{full}$$")), Err(ExpansionError::TooLong));
        assert_eq!(length(&format!("{full}y")), Err(ExpansionError::TooLong));
        assert_eq!(length(&"${ABSENT:-}".repeat(10_000)), Ok(0), "what counts is the value");
    }
}
