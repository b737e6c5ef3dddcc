//! The generated codec against random messages, which are written by an interpreter of the schemas,
//! and against another implementation of the protocol.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod any_message;
mod bounds;
mod frames;
mod random;
mod round_trips;

use std::path::Path;

use bytes::Bytes;
use rustmq_kafka_codec_generator::{Direction, Message, Source, read};
use rustmq_kafka_codec_messages::ApiKey;

/// The messages of all schemas.
fn messages() -> Vec<Message> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas"));
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let schemas = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let sources =
        schemas.map(|path| Source { name: path.display().to_string(), text: std::fs::read_to_string(&path).unwrap() });
    let messages = read(&sources.collect::<Vec<_>>()).unwrap();
    assert_eq!(messages.len(), 2 * ApiKey::ALL.len());
    messages
}

/// Which message, in which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    key: ApiKey,
    direction: Direction,
    version: i16,
}

/// Calls `test` with random bytes of each message and version, `rounds` times.
fn for_each_message(rounds: u64, mut test: impl FnMut(Kind, random::Sample)) {
    for message in messages() {
        let key = ApiKey::try_from(message.key).unwrap();
        for version in key.versions() {
            for round in 0..rounds {
                let seed = round << 32 | (u64::from(message.key.unsigned_abs()) << 16) | version as u64;
                let kind = Kind { key, direction: message.direction, version };
                test(kind, random::sample(&message, version, seed));
            }
        }
    }
}

/// Elements that no sample has as many of.
const PLENTY: usize = 100_000;

fn differ(kind: Kind, what: &str, expected: &Bytes, found: &Bytes) -> ! {
    panic!("{kind:?} {what}:\nexpected {expected:?}\n   found {found:?}")
}
