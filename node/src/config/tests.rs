#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustmq_model::ByteSize;
use rustmq_settings::{Default, Form, Setting, TakesEffect};
use tempfile::TempDir;

use super::error::ConfigError;
use super::{Config, Environment, FlagValue, Inputs, Readable, Sources, catalogue, effective, reference_page};

/// A file that inputs are gathered from.
struct Written {
    _folder: TempDir,
    path: PathBuf,
}

impl Written {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rustmq.toml");
        fs::write(&path, text).unwrap();
        Self { _folder: folder, path }
    }

    fn inputs(&self, environment: &[(&str, &str)]) -> Inputs {
        Inputs { file: Some(self.path.clone()), environment: Environment::of(environment), flags: Vec::new() }
    }
}

pub(super) fn gather(file: &str, environment: &[(&str, &str)]) -> Result<Sources, ConfigError> {
    Written::new(file).inputs(environment).gather(Readable::Regular)
}

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    gather(file, environment).map(|sources| Config::resolve(&sources))
}

fn refused(file: &str, environment: &[(&str, &str)]) -> String {
    load(file, environment).unwrap_err().to_string()
}

fn check_refused(file: &str, environment: &[(&str, &str)], parts: &[&str]) {
    let message = refused(file, environment);
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn defaults_fit_a_laptop() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.gateway.listen.port(), 9092);
    assert_eq!(config.engine.segment_size, ByteSize::mib(64));
    assert_eq!(config.engine.wal_dir(&config.process.data_dir), Path::new("./rustmq-data/wal"));
    assert!(config.engine.fsync_on_write);
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file =
        "data_dir = \"/file\"\n[network]\nmax_connections = 7\n[kafka]\nnum.partitions = 3\n\"log.retention.ms\" = 5";
    let environment =
        [("RUSTMQ_DATA_DIR", "/env"), ("RUSTMQ_MAX_CONNECTIONS", "8"), ("RUSTMQ_NUM_PARTITIONS", "4"), ("PATH", "x")];
    let mut inputs = Written::new(file);
    let mut all = inputs.inputs(&environment);
    all.flags = vec![FlagValue { name: "data_dir", flag: "--data-dir", text: "/flag".to_owned() }];
    let sources = all.gather(Readable::Regular).unwrap();
    let config = Config::resolve(&sources);
    assert_eq!(config.process.data_dir, Path::new("/flag"));
    assert_eq!(config.gateway.connections_max, 8);
    assert_eq!(config.kafka["num.partitions"], "4");
    assert_eq!(config.kafka["log.retention.ms"], "5");
    let shown = effective(&sources);
    inputs.path.pop();
    for line in [
        "data_dir = \"/flag\"  # flag --data-dir",
        "network.max_connections = \"8\"  # environment variable RUSTMQ_MAX_CONNECTIONS",
        "wal.fsync_on_write = \"true\"  # default",
        "# engine.shards is not set: half the processors, at least one",
        "kafka.num.partitions = \"4\"  # environment variable RUSTMQ_NUM_PARTITIONS",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\nis not in\n{shown}");
    }
    assert!(shown.contains("kafka.log.retention.ms = \"5\"  # ") && shown.contains("rustmq.toml, line 6"), "{shown}");
}

#[test]
fn bad_values_name_file_line_key_value_and_form() {
    let check = |file: &str, parts: &[&str]| check_refused(file, &[], parts);
    let size = "# sizes\n[wal]\nsegment_size_bytes = \"64MB\"";
    check(size, &["rustmq.toml, line 3", "wal.segment_size_bytes", "64MB", "16MiB"]);
    check("[network]\nkafka_listen = \"localhost\"", &["network.kafka_listen", "localhost", "0.0.0.0:9092"]);
    check(
        "[network]\nkafka_advertised = \"0.0.0.0:9092\"",
        &["network.kafka_advertised", "0.0.0.0", "broker.example.com"],
    );
    check("[wal]\nfsync_on_write = \"yes\"", &["wal.fsync_on_write", "true or false"]);
    check("[wal]\nfsync_on_writ = true", &["line 2", "wal.fsync_on_writ", "did you mean 'wal.fsync_on_write'"]);
    check(
        "[kafka]\n\"max.connections.per.ip\" = 0",
        &["line 2", "kafka.max.connections.per.ip", "at least 1 unless max.connections.per.ip.overrides"],
    );
    check("[kafka]\nnum.partition = 1", &["kafka.num.partition", "did you mean 'kafka.num.partitions'"]);
    check("[kafka]\nnum.partitions = 0", &["kafka.num.partitions", "from 1 to"]);
    check("[kafka]\nlisteners = \"x\"", &["kafka.listeners", "set network.kafka_listen instead"]);
    check("[log]\nlevel = \"rustmq=loud\"", &["log.level", "info,rustmq_kafka_gateway=debug"]);
    check("[wal]\npath = []", &["wal.path", "array", "line 2"]);
    check("# one\n[wal", &["rustmq.toml, line 2", "TOML"]);
    check("[wal]\npath = \"a\"\npath = \"b\"", &["line 3", "duplicate key"]);
}

#[test]
fn a_value_that_another_covers_is_judged_all_the_same() {
    let environment = [("RUSTMQ_MAX_CONNECTIONS", "8")];
    check_refused("[network]\nmax_connections = 0", &environment, &["rustmq.toml, line 2", "network.max_connections"]);
}

#[test]
fn a_key_is_set_once_in_each_source() {
    let quoted = "[kafka]\nnum.partitions = 3\n\"num.partitions\" = 4";
    check_refused(quoted, &[], &["kafka.num.partitions", "twice", "line 2", "line 3"]);
    check_refused("\"log.level\" = \"info\"\n[log]\nlevel = \"warn\"", &[], &["log.level", "line 1", "line 3"]);
    let names = ["RUSTMQ_MAX_CONNECTIONS", "RUSTMQ_NETWORK_MAX_CONNECTIONS"];
    let two = |first, second| [(names[0], first), (names[1], second)];
    check_refused("", &two("7", "8"), &["network.max_connections", "twice", names[0], names[1]]);
    assert_eq!(load("", &two("7", "7")).unwrap().gateway.connections_max, 7);
}

#[test]
fn variables_are_put_into_text_of_the_file_and_nowhere_else() {
    let file = "data_dir = \"/${NAME}\"\n[broker]\nid = \"${NAME}\"\nrack_id = \"${ZONE:-none}\"\n[network]\nmax_connections = \"${COUNT}\"\n\
                [kafka]\nnum.partitions = \"${COUNT}\"\n# id = \"${ABSENT}\"";
    let environment = [("NAME", "${ZONE}"), ("COUNT", "12"), ("RUSTMQ_WAL_PATH", "/${NAME}")];
    let written = Written::new(file);
    let mut inputs = written.inputs(&environment);
    inputs.flags = vec![FlagValue { name: "data_dir", flag: "--data-dir", text: "/${COUNT}".to_owned() }];
    let config = Config::resolve(&inputs.gather(Readable::Regular).unwrap());
    assert_eq!(config.broker.name, "${ZONE}", "what is put in is not expanded");
    assert_eq!(config.broker.rack.as_deref(), Some("none"));
    assert_eq!(config.gateway.connections_max, 12);
    assert_eq!(config.kafka["num.partitions"], "12");
    assert_eq!(config.engine.wal_path.as_deref(), Some(Path::new("/${NAME}")));
    assert_eq!(config.process.data_dir, Path::new("/${COUNT}"));
}

#[test]
fn a_variable_that_is_not_set_is_named_with_its_key_and_line() {
    let file = "[broker]\nid = \"a\"\nrack_id = \"${NODE_ZONE}\"";
    check_refused(file, &[], &["rustmq.toml, line 3", "broker.rack_id", "NODE_ZONE", "not set"]);
    check_refused("[broker]\nid = \"${NODE\"", &[], &["line 2", "broker.id", "no name"]);
    check_refused("data_dir = \"${DATA:-${HOME}/x}\"", &[], &["line 1", "data_dir", "another ${ in its fallback"]);
    let long = format!("[broker]\nid = \"{}\"", "${LONG}".repeat(9_000));
    check_refused(&long, &[("LONG", &"x".repeat(1 << 17))], &["line 2", "broker.id", "longer than 64 KiB"]);
    check_refused("[broker]\nid = \"${EMPTY}\"", &[("EMPTY", "")], &["line 2", "broker.id", "${EMPTY}", "at most 255"]);
    let table = "[\"${NODE_ZONE}\"]\nid = \"a\"";
    check_refused(table, &[("NODE_ZONE", "broker")], &["there is no setting '${NODE_ZONE}.id'"]);
}

#[test]
fn an_optional_setting_is_not_given_where_variables_leave_it_empty() {
    let environment = [("EMPTY", "")];
    let file = "[broker]\nrack_id = \"${EMPTY}${ABSENT:-}\"\n[engine]\nshards = \"${ABSENT:-}\"";
    let sources = gather(file, &environment).unwrap();
    assert!(sources.given("broker.rack_id").is_none());
    let config = Config::resolve(&sources);
    assert_eq!((config.broker.rack, config.engine.shards), (None, None));
    let file = "[broker]\nrack_id = \"${ABSENT:-}\"";
    let above = load(file, &[("RUSTMQ_RACK_ID", "east")]).unwrap();
    assert_eq!(above.broker.rack.as_deref(), Some("east"));
    // Without a variable it is a mistake, and so it is where a value is needed.
    check_refused("[broker]\nrack_id = \"\"", &[], &["line 2", "broker.rack_id", "at most 255"]);
    check_refused("[broker]\nid = \"${ABSENT:-}\"", &[], &["line 2", "broker.id", "${ABSENT:-}", "at most 255"]);
    check_refused("[kafka]\nnum.partitions = \"${ABSENT:-}\"", &[], &["line 2", "kafka.num.partitions"]);
    let twice = "\"broker.rack_id\" = \"${ABSENT:-}\"\n[broker]\nrack_id = \"east\"";
    check_refused(twice, &[], &["broker.rack_id", "twice", "line 1", "line 3"]);
}

#[test]
fn what_a_variable_holds_and_what_is_sensitive_is_not_shown() {
    const SECRET: &str = "hunter2";
    let check = |file: &str| {
        let message = refused(file, &[("PASSWORD", SECRET)]);
        assert!(!message.contains(SECRET), "{message}");
    };
    check("[network]\nmax_connections = \"${PASSWORD}\"");
    check("[network]\nhttp_listen = \"${PASSWORD}:1\"");
    check("[kafka]\nnum.partitions = \"${PASSWORD}\"");
    check("[kafka]\nlog.cleanup.policy = \"delete,${PASSWORD}\"");
    check("[kafka]\nlog.cleanup.policy = \"${PASSWORD},${PASSWORD}\"");
    check("[kafka]\nssl.keystore.password = \"hunter2\"");
    check("[kafka]\nssl.keystore.password = \"hunter2");
    check("[kafka]\nssl.keystore.password = hunter2");
    check("[kafka]\nssl.keystore.password = \"a\"\nssl.keystore.password = \"hunter2\"");
    let sources = gather("[broker]\nid = \"${PASSWORD}\"", &[("PASSWORD", SECRET)]).unwrap();
    assert_eq!(sources.given("broker.id").unwrap().shown(), "\"${PASSWORD}\"");
}

#[test]
fn variables_of_others_do_not_stop_the_start() {
    let sources = gather("", &[("RUSTMQ_BROKER_PORT_9092_TCP", "tcp://10.0.0.1:9092")]).unwrap();
    assert_eq!(sources.unknown_environment, ["RUSTMQ_BROKER_PORT_9092_TCP"]);
}

#[test]
fn a_variable_that_is_not_text_is_refused_where_it_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || std::ffi::OsString::from_vec(vec![0xff]);
    let check = |variable: &str, file: &str, expected: Option<&[&str]>| {
        let written = Written::new(file);
        let environment = Environment::new([(variable.into(), bytes()), (bytes(), "x".into())]);
        let inputs = Inputs { environment, ..written.inputs(&[]) };
        let message = inputs.gather(Readable::Regular).err().map(|error| error.to_string());
        let names_all =
            |parts: &[&str]| message.as_ref().is_some_and(|text| parts.iter().all(|part| text.contains(part)));
        assert!(expected.map_or(message.is_none(), names_all), "{variable}: {message:?}");
    };
    check("OTHER", "", None);
    check("RUSTMQ_OTHER", "", None);
    check("RUSTMQ_DATA_DIR", "", Some(&["RUSTMQ_DATA_DIR", "not UTF-8"]));
    check("ZONE", "[broker]\nid = \"${ZONE}\"", Some(&["line 2", "broker.id", "ZONE", "not UTF-8"]));
}

#[test]
fn a_file_that_cannot_be_read_whole_or_again_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &Path, readable, part: &str| {
        let inputs = Inputs { file: Some(path.to_owned()), ..Inputs::default() };
        let message = inputs.gather(readable).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains(&path.display().to_string()), "{message}");
    };
    let absent = folder.path().join("absent.toml");
    check(&absent, Readable::Anything, "No such file");
    check(&absent, Readable::Regular, "No such file");
    check(folder.path(), Readable::Anything, "directory");
    check(folder.path(), Readable::Regular, "no regular file");
    check(Path::new("/dev/null"), Readable::Regular, "no regular file");
    let pipe = folder.path().join("pipe.toml");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    check(&pipe, Readable::Regular, "no regular file");
    check(Path::new("/dev/zero"), Readable::Anything, "larger than 1 MiB");
    let large = folder.path().join("large.toml");
    fs::write(&large, format!("# {}\n", "x".repeat(1 << 20))).unwrap();
    check(&large, Readable::Regular, "larger than 1 MiB");
    let inputs = Inputs { file: Some("/dev/null".into()), ..Inputs::default() };
    assert!(inputs.gather(Readable::Anything).is_ok());
}

#[test]
fn durations_and_numbers_are_read_in_each_spelling() {
    let config = load("[operations]\ngraceful_shutdown_timeout_ms = \"5s\"", &[]).unwrap();
    assert_eq!(config.process.shutdown_timeout, Duration::from_secs(5));
    let config = load("[network]\nmax_connections = 0x1_0", &[]).unwrap();
    assert_eq!(config.gateway.connections_max, 16);
}

/// Values that the setting takes, and values that it does not.
fn samples(setting: &Setting) -> (Vec<String>, Vec<String>) {
    let around = |min: u64, max: u64| {
        let outside = [min.checked_sub(1), Some(max + 1)].into_iter().flatten();
        (vec![min.to_string(), max.to_string()], outside.map(|value| value.to_string()).collect())
    };
    match setting.form {
        Form::Count { min, max, unit } => {
            assert!(!unit.is_empty() && min < max, "{}", setting.name);
            around(min, max)
        }
        Form::Size { min, max } => around(min.0, max.0),
        Form::Milliseconds { min, max } => around(min, max),
        Form::Flag => (vec!["true".to_owned(), "false".to_owned()], vec!["yes".to_owned()]),
        Form::Choice(choices) => (choices.iter().map(|choice| (*choice).to_owned()).collect(), vec!["none".to_owned()]),
        Form::Address => (vec!["127.0.0.1:1".to_owned(), "[::1]:2".to_owned()], vec!["host:1".to_owned()]),
        Form::Text { bytes_max, what } => {
            assert!(!what.is_empty() && bytes_max > 0, "{}", setting.name);
            // Some are addresses that clients can dial, or filters of log lines.
            let candidates = ["debug", "warn", "a.example.com:1", "b.example.com:2"].map(str::to_owned);
            let taken = candidates.into_iter().filter(|text| setting.accept(text).is_some()).collect();
            (taken, vec![String::new(), "x".repeat(bytes_max + 1)])
        }
    }
}

/// The settings of each package, as text.
fn by_owner(config: &Config) -> [(&'static str, String); 5] {
    [
        ("rustmq-node", format!("{:?}", config.process)),
        ("rustmq-node", format!("{:?}", config.logs)),
        ("rustmq-broker-service", format!("{:?}", config.broker)),
        ("rustmq-kafka-gateway", format!("{:?}", config.gateway)),
        ("rustmq-engine-shard", format!("{:?}", config.engine)),
    ]
}

#[test]
fn every_setting_has_all_that_the_page_shows_and_is_read_by_the_crate_that_owns_it() {
    let page = reference_page();
    let mut names = BTreeSet::new();
    for setting in catalogue::declared() {
        let name = setting.name;
        assert!(names.insert(name), "{name} is declared twice");
        assert!(page.contains(&format!("\n## `{name}`\n")), "{name} is not on the page");
        assert!(setting.documentation().ends_with('.'), "{name} has no sentence");
        match setting.default {
            Default::Value(text) => assert!(setting.accept(text).is_some(), "{name} = {text} is the default"),
            Default::WorkedOut(words) => assert!(!words.is_empty(), "{name} has no default"),
        }
        for variable in setting.environment_names() {
            let found = catalogue::find_variable(&variable).map(catalogue::Key::name);
            assert_eq!(found.as_deref(), Some(name), "{variable}");
        }
        let (taken, refused) = samples(setting);
        assert!(refused.iter().all(|text| setting.accept(text).is_none()), "{name} takes one of {refused:?}");
        let defaults = by_owner(&Config::resolve(&Sources::default()));
        let mut read = BTreeSet::new();
        for text in &taken {
            let variable = setting.environment_names().remove(0);
            let config = load("", &[(&variable, text)]).unwrap_or_else(|error| panic!("{error}"));
            assert!(config.given.contains(name));
            for ((owner, before), (_, now)) in defaults.iter().zip(by_owner(&config)) {
                if *before != now {
                    assert_eq!(*owner, setting.owner, "{name} changes what another crate reads");
                    read.insert(now);
                }
            }
        }
        // One of them may be the default.
        assert!(read.len() + 1 >= taken.len().max(2), "{name} is not read in full: {read:?}");
    }
}

/// A setting that says `on reload` is handed to a part that runs: by `Running::reload`, or as the
/// configuration in force. A scenario over the shipped broker shows it, or a test of that part.
#[test]
fn the_settings_that_a_reload_changes_are_those_that_running_parts_take() {
    let on_reload = catalogue::declared().filter(|setting| setting.takes_effect == TakesEffect::OnReload);
    let taken: BTreeSet<&str> = on_reload.map(|setting| setting.name).collect();
    let expected = [
        "cache.write_cache_size_bytes",
        "log.level",
        "operations.exit_on_failure",
        "operations.graceful_shutdown_timeout_ms",
        "produce.check_compressed_records",
    ];
    assert_eq!(taken, BTreeSet::from(expected));
}

#[test]
fn names_and_variables_that_were_promised_stay() {
    let promised = [
        ("broker.id", "RUSTMQ_BROKER_ID"),
        ("broker.rack_id", "RUSTMQ_RACK_ID"),
        ("network.max_connections", "RUSTMQ_MAX_CONNECTIONS"),
        ("wal.path", "RUSTMQ_WAL_PATH"),
        ("wal.capacity_bytes", "RUSTMQ_WAL_CAPACITY_BYTES"),
        ("wal.segment_size_bytes", "RUSTMQ_WAL_SEGMENT_SIZE_BYTES"),
        ("wal.fsync_on_write", "RUSTMQ_WAL_FSYNC_ON_WRITE"),
        ("cache.write_cache_size_bytes", "RUSTMQ_CACHE_SIZE"),
        ("operations.allow_runtime_config_updates", "RUSTMQ_OPERATIONS_ALLOW_RUNTIME_CONFIG_UPDATES"),
        ("operations.graceful_shutdown_timeout_ms", "RUSTMQ_OPERATIONS_GRACEFUL_SHUTDOWN_TIMEOUT_MS"),
        ("log.level", "RUSTMQ_LOG_LEVEL"),
    ];
    for (name, variable) in promised {
        let found = catalogue::find_variable(variable).map(catalogue::Key::name);
        assert_eq!(found.as_deref(), Some(name), "{variable}");
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
