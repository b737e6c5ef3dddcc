//! Records as the scenarios see them: bytes, not text. Client programs receive and return bytes as
//! hexadecimal.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A record to produce.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Draft {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    #[serde(serialize_with = "hex_optional")]
    pub key: Option<Vec<u8>>,
    #[serde(serialize_with = "hex_optional")]
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    /// Milliseconds since 1970; the client's clock if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
}

impl Draft {
    pub fn new(key: &str, value: &str) -> Draft {
        Draft { key: Some(key.into()), value: Some(value.into()), ..Draft::default() }
    }

    pub fn in_partition(mut self, partition: i32) -> Draft {
        self.partition = Some(partition);
        self
    }

    pub fn at(mut self, timestamp: i64) -> Draft {
        self.timestamp = Some(timestamp);
        self
    }
}

/// A header: a name, and a value that may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header(
    pub String,
    #[serde(serialize_with = "hex_optional", deserialize_with = "unhex_optional")] pub Option<Vec<u8>>,
);

/// The place of a produced record. `error` is Kafka's code if it was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Ack {
    pub partition: i32,
    pub offset: i64,
    #[serde(default)]
    pub error: i16,
}

/// A consumed record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    #[serde(default = "no_timestamp")]
    pub timestamp: i64,
    /// 0 for CreateTime, 1 for LogAppendTime, -1 if the client does not report it.
    #[serde(default = "unsaid")]
    pub timestamp_type: i8,
    #[serde(deserialize_with = "unhex_optional")]
    pub key: Option<Vec<u8>>,
    #[serde(deserialize_with = "unhex_optional")]
    pub value: Option<Vec<u8>>,
    #[serde(default)]
    pub headers: Vec<Header>,
}

fn no_timestamp() -> i64 {
    -1
}

fn unsaid() -> i8 {
    -1
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn hex_optional<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(hex).serialize(serializer)
}

fn unhex_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| unhex(&text).ok_or_else(|| serde::de::Error::custom("bytes must be hexadecimal"))).transpose()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hexadecimal_round_trips_every_byte() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&all)).unwrap(), all);
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}
