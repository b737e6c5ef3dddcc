#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustmq_model::ByteSize;

use super::settings::SETTINGS;
use super::{Config, ConfigError, Flags, Sources, reference_page, value};

const KAFKA_NAMES: &[&str] =
    &["num.partitions", "auto.create.topics.enable", "log.retention.ms", "max.connections.per.ip"];

fn load(file: &str, environment: &[(&str, &str)], flags: Flags) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rustmq.toml");
    fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::resolve(&Sources::gather(Some(&path), environment, flags, KAFKA_NAMES)?)
}

#[test]
fn defaults_fit_a_laptop() {
    let config = load("", &[], Flags::default()).unwrap();
    assert_eq!(config.kafka_listen.port(), 9092);
    assert_eq!(config.wal_segment_size, ByteSize::mib(64));
    assert_eq!(config.wal_dir, Path::new("./rustmq-data/wal"));
    assert!(config.wal_fsync);
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file =
        "data_dir = \"/file\"\n[network]\nmax_connections = 7\n[kafka]\nnum.partitions = 3\n\"log.retention.ms\" = 5";
    let environment =
        [("RUSTMQ_DATA_DIR", "/env"), ("RUSTMQ_MAX_CONNECTIONS", "8"), ("RUSTMQ_NUM_PARTITIONS", "4"), ("PATH", "x")];
    let flags = Flags(vec![("data_dir", "--data-dir", "/flag".to_owned())]);
    let config = load(file, &environment, flags).unwrap();
    assert_eq!(config.data_dir, Path::new("/flag"));
    assert_eq!(config.connections_max, 8);
    assert_eq!(config.kafka["num.partitions"], "4");
    assert_eq!(config.kafka["log.retention.ms"], "5");
}

#[test]
fn bad_values_name_file_key_value_and_form() {
    let check = |file: &str, parts: &[&str]| {
        let message = load(file, &[], Flags::default()).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    };
    check("[wal]\nsegment_size_bytes = \"64MB\"", &["rustmq.toml", "wal.segment_size_bytes", "64MB", "16MiB"]);
    check("[network]\nkafka_listen = \"localhost\"", &["network.kafka_listen", "localhost", "0.0.0.0:9092"]);
    check(
        "[network]\nkafka_advertised = \"0.0.0.0:9092\"",
        &["network.kafka_advertised", "0.0.0.0", "broker.example.com"],
    );
    check("[wal]\nfsync_on_write = \"yes\"", &["wal.fsync_on_write", "true or false"]);
    check("[wal]\nfsync_on_writ = true", &["wal.fsync_on_writ", "did you mean 'wal.fsync_on_write'"]);
    check("[kafka]\nnum.partition = 1", &["kafka.num.partition", "did you mean 'kafka.num.partitions'"]);
    check(
        "[kafka]\n\"max.connections.per.ip\" = 0",
        &["rustmq.toml", "kafka.max.connections.per.ip", "at least 1 unless max.connections.per.ip.overrides"],
    );
    check("[wal]\npath = []", &["wal.path", "array"]);
    check("[wal", &["rustmq.toml", "TOML"]);
}

#[test]
fn variables_of_others_do_not_stop_the_start() {
    let environment = [("RUSTMQ_BROKER_PORT_9092_TCP".to_owned(), "tcp://10.0.0.1:9092".to_owned())];
    let sources = Sources::gather(None, environment, Flags::default(), KAFKA_NAMES).unwrap();
    assert_eq!(sources.unknown_environment, ["RUSTMQ_BROKER_PORT_9092_TCP"]);
}

#[test]
fn durations_are_read_with_and_without_units() {
    let config = load("[operations]\ngraceful_shutdown_timeout_ms = \"5s\"", &[], Flags::default()).unwrap();
    assert_eq!(config.shutdown_timeout, Duration::from_secs(5));
    assert_eq!(value::milliseconds("250"), Some(250));
    assert_eq!(value::milliseconds("2 h"), Some(7_200_000));
    assert_eq!(value::milliseconds("fast"), None);
}

#[test]
fn every_default_is_of_its_form() {
    for setting in SETTINGS {
        assert!(setting.default.is_none_or(|default| value::accepts(setting.form, default)), "{}", setting.name);
    }
}

#[test]
fn the_reference_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        page,
        reference_page(),
        "docs/configuration.md is stale: write what `rustmq --print-reference` prints into it"
    );
}
