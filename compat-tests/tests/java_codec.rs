//! Our codec against Kafka's own classes: they read and write the same random messages of every API
//! and version that our codec reads and writes the same (`kafka-codec/messages/tests`).
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "../../kafka-codec/messages/tests/codec/random.rs"]
#[expect(dead_code, reason = "the codec's own tests need more of a sample than its bytes")]
mod random;

use rustmq_compat_tests::tool;
use rustmq_kafka_codec_generator::{Direction, Source, read};
use std::fmt::Write as _;
use std::path::Path;

const ROUNDS: u64 = 5;

fn sources() -> Vec<Source> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../kafka-codec/schemas"));
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let schemas = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    schemas
        .map(|path| Source { name: path.display().to_string(), text: std::fs::read_to_string(&path).unwrap() })
        .collect()
}

#[test]
fn kafkas_own_classes_read_and_write_the_same_bytes() {
    let mut lines = String::new();
    for message in read(&sources()).unwrap() {
        let direction = if message.direction == Direction::Request { "request" } else { "response" };
        for version in message.versions.first..=message.versions.last {
            for round in 0..ROUNDS {
                let seed = round << 32 | (message.key as u64) << 16 | version as u64;
                let bytes = random::sample(&message, version, seed).bytes;
                write!(lines, "{direction} {} {version} ", message.key).unwrap();
                bytes.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
                lines.push('\n');
            }
        }
    }
    let found = tool::run_with_input("CompatCodec", &[], &lines).unwrap();
    let differing: Vec<_> = lines.lines().zip(found.lines()).filter(|(sent, found)| sent != found).collect();
    assert!(differing.is_empty(), "{} differ, the first:\n{:?}", differing.len(), differing[0]);
    assert_eq!(found.lines().count(), lines.lines().count());
    assert!(lines.lines().count() > 1000);
}
