//! The configuration file: reads it within bounds, and parses it into dotted names with their
//! values and lines. Does not know the settings.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::origin::Origin;

/// The largest file in bytes; a usual one has a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The kinds of files that may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// Any file that can be read to its end, such as a pipe.
    Anything,
    /// Regular files only. A pipe is empty when it is read again, which would reset all settings to
    /// their defaults.
    Regular,
}

/// One value of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub value: Value,
    pub origin: Origin,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, which may refer to variables.
    Text(String),
    /// A number, true or false, as text.
    Plain(String),
}

/// Reads the file.
///
/// # Errors
/// If the file cannot be read, is larger than 1 MiB, or is no TOML of text, numbers and flags.
pub fn read(path: &Path, readable: Readable) -> Result<Vec<Entry>, ConfigError> {
    let text = contents(path, readable)
        .map_err(|source| ConfigError::Unreadable { path: path.display().to_string(), source })?;
    parse(path, &text)
}

fn contents(path: &Path, readable: Readable) -> io::Result<String> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned());
    let file = open(path, readable)?;
    // Checks the opened file: another one may have its name by now.
    if readable == Readable::Regular && !file.metadata()?.is_file() {
        return Err(invalid("it is no regular file"));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(invalid("it is larger than 1 MiB"));
    }
    Ok(text)
}

fn open(path: &Path, readable: Readable) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    if readable == Readable::Regular {
        // Otherwise opening a pipe waits for its writer.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let line_ends: Vec<usize> = text.match_indices('\n').map(|(offset, _)| offset).collect();
    let line = |offset: usize| line_ends.partition_point(|end| *end < offset) + 1;
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.display().to_string(),
        line: error.span().map_or(1, |span| line(span.start)),
        message: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    let origin = |offset| Origin::File { path: path.to_owned(), line: line(offset) };
    flatten("", table.get_ref(), &origin, &mut entries)?;
    Ok(entries)
}

/// Nested tables become dotted names, so that `[kafka]` may write `num.partitions = 3` with or
/// without quotes.
fn flatten(
    prefix: &str,
    table: &DeTable<'_>,
    origin: &dyn Fn(usize) -> Origin,
    entries: &mut Vec<Entry>,
) -> Result<(), ConfigError> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let origin_of_key = origin(key.span().start);
        let value = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten(&name, inner, origin, entries)?;
                continue;
            }
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(flag) => Value::Plain(flag.to_string()),
            DeValue::Float(number) => Value::Plain(number.to_string()),
            DeValue::Integer(number) => Value::Plain(whole(number.as_str(), number.radix())),
            other @ (DeValue::Array(_) | DeValue::Datetime(_)) => {
                let expected = "text, a number, true or false";
                return Err(ConfigError::Shape { origin: origin_of_key, name, expected, found: other.type_str() });
            }
        };
        entries.push(Entry { name, value, origin: origin_of_key });
    }
    Ok(())
}

/// A whole number in decimal digits; as it is written if it has more than 128 bits.
fn whole(digits: &str, radix: u32) -> String {
    i128::from_str_radix(digits, radix).map_or_else(|_| digits.to_owned(), |number| number.to_string())
}
