//! The shipped broker reads its configuration file again on SIGHUP. Reloadable settings change in
//! the running process, others are refused by name, and a file with any error changes nothing.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;
use rustmq_compat_tests::crash::admin::Admin;
use rustmq_compat_tests::versions::crafted::{Codec, DeclaredFields, crafted};
use rustmq_compat_tests::versions::{Topic, produce_request};
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{Server, Settings, Target};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;
const UNKNOWN_SERVER_ERROR: i16 = -1;

/// A broker of one shard with a configuration file.
struct Configured {
    server: Server,
    file: PathBuf,
    folder: TempDir,
    /// The offset of the log's unread part.
    seen: usize,
}

impl Configured {
    fn start(text: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rustmq.toml");
        fs::write(&file, text).unwrap();
        let settings = Settings::default().with("engine.shards", "1").config(file.clone());
        let settings = environment.iter().fold(settings, |settings, (key, value)| settings.with(key, value));
        let server = Server::start_as(Target::RustMq, settings).unwrap();
        let mut configured = Self { server, file, folder, seen: 0 };
        configured.seen = configured.log().len();
        configured
    }

    /// Replaces the file, and requests a reload.
    fn reload(&self, text: &str) {
        let draft = self.folder.path().join("draft.toml");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &self.file).unwrap();
        self.server.signal("HUP").unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.server.log_path()).unwrap()
    }

    /// Waits until an unread line of the log contains all of these words, and returns it. Earlier
    /// lines are not read again.
    fn wait_for_line(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let log = self.log();
            let new = &log[self.seen..];
            let found = new.lines().find(|line| words.iter().all(|word| line.contains(word)));
            if let Some(line) = found {
                self.seen += line.as_ptr() as usize - new.as_ptr() as usize + line.len();
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no line with {words:?} in\n{new}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The most bytes of recent batches.
    fn tail_budget(&self) -> u64 {
        let (_, page) = self.server.get("/metrics").unwrap();
        let sample =
            |line: &str| line.strip_prefix("rustmq_tail_memory_budget_bytes{")?.split(' ').next_back()?.parse().ok();
        page.lines().find_map(sample).unwrap()
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_may_change_changes_and_the_rest_is_refused_by_name() {
    let mut broker =
        Configured::start("[cache]\nwrite_cache_size_bytes = \"32MiB\"\n[network]\nmax_connections = 50", &[]);
    assert_eq!(broker.tail_budget(), 32 * MIB);
    broker.reload(
        "[broker]\nid = \"${HOME}\"\n[cache]\nwrite_cache_size_bytes = \"48MiB\"\n[network]\nmax_connections = 60\n[kafka]\nnum.partitions = 7",
    );
    let refused = broker.wait_for_line(&["WARN", "broker.id", "${HOME}", "needs a restart"]);
    assert!(!refused.contains(&std::env::var("HOME").unwrap()), "{refused}");
    broker.wait_for_line(&["INFO", "cache.write_cache_size_bytes", "32MiB", "48MiB"]);
    broker.wait_for_line(&["WARN", "kafka.num.partitions", "7", "needs a restart"]);
    broker.wait_for_line(&["WARN", "network.max_connections", "50", "60", "needs a restart"]);
    broker.wait_for_line(&["INFO", "the configuration was reloaded", "changed=1", "refused=3"]);
    wait_until("the tail has its new size", || broker.tail_budget() == 48 * MIB);

    broker.reload("[network]\nmax_connections = 50");
    broker.wait_for_line(&["the configuration was reloaded", "changed=1", "refused=0"]);
    wait_until("the tail has its share of memory again", || broker.tail_budget() >= 128 * MIB);
    broker.server.stop().unwrap();
}

#[test]
fn a_file_with_anything_wrong_changes_nothing() {
    let good = "[cache]\nwrite_cache_size_bytes = \"32MiB\"";
    let mut broker = Configured::start(good, &[]);
    let larger = "[cache]\nwrite_cache_size_bytes = \"48MiB\"\n";
    for (wrong, words) in [
        ("[network]\nmax_connections = 0", vec!["line 4", "network.max_connections"]),
        ("[network]\nmax_connection = 5", vec!["line 4", "network.max_connection", "did you mean"]),
        ("[log]\nlevel = \"loud\"", vec!["line 4", "log.level", "loud"]),
        ("[broker]\nid = \"${RUSTMQ_ABSENT}\"", vec!["line 4", "broker.id", "RUSTMQ_ABSENT", "not set"]),
        ("[broker", vec!["line 3", "not TOML"]),
    ] {
        broker.reload(&format!("{larger}{wrong}"));
        let words = [&["ERROR", "nothing has changed", "rustmq.toml"], &words[..]].concat();
        broker.wait_for_line(&words);
    }
    fs::remove_file(&broker.file).unwrap();
    broker.server.signal("HUP").unwrap();
    broker.wait_for_line(&["ERROR", "nothing has changed", "No such file"]);
    fs::create_dir(&broker.file).unwrap();
    broker.server.signal("HUP").unwrap();
    broker.wait_for_line(&["ERROR", "nothing has changed", "no regular file"]);
    fs::remove_dir(&broker.file).unwrap();
    // All earlier requests are done by now.
    broker.reload(good);
    broker.wait_for_line(&["the configuration was reloaded", "changed=0", "refused=0"]);
    assert_eq!(broker.tail_budget(), 32 * MIB);
    broker.server.stop().unwrap();
}

#[test]
fn the_level_of_log_lines_changes_and_its_change_is_reported() {
    let mut broker = Configured::start("", &[]);
    broker.reload("[log]\nlevel = \"error\"");
    broker.wait_for_line(&["INFO", "a setting changes", "log.level", "error"]);
    // A refusal is a warning, which the level hides; a wrong file is an error.
    broker.reload("[log]\nlevel = \"error\"\n[engine]\nread_threads = 5");
    broker.reload("[log]\nlevel = \"loud\"");
    broker.wait_for_line(&["ERROR", "nothing has changed"]);
    broker.reload("[log]\nlevel = \"info\"\n[engine]\nread_threads = 5");
    broker.wait_for_line(&["INFO", "the configuration was reloaded", "refused=1"]);
    assert!(!broker.log().contains("engine.read_threads"), "{}", broker.log());
    broker.reload("[engine]\nread_threads = 5");
    broker.wait_for_line(&["WARN", "engine.read_threads"]);
    broker.server.stop().unwrap();
}

#[test]
fn compressed_records_are_checked_or_not_from_the_reload_on() {
    let mut broker = Configured::start("", &[]);
    let port = broker.server.port();
    Admin::connect(port).unwrap().create_topic("orders", 1, &[]).unwrap();
    let topic = Topic { name: TopicName(StrBytes::from_static_str("orders")), id: Uuid::nil() };
    let mut wire = Wire::connect(port).unwrap();
    let mut produce_garbage = || {
        let stated =
            DeclaredFields { codec: Codec::Gzip, attributes: 0, base_timestamp: 1, max_timestamp: 1, count: 1 };
        let request = produce_request(7, &topic, 0, -1, crafted(stated, &[0xff; 40]));
        wire.send(ApiKey::Produce, 7, &RequestKind::Produce(request)).unwrap();
        let ResponseKind::Produce(answer) = wire.receive(ApiKey::Produce, 7).unwrap() else { panic!() };
        answer.responses[0].partition_responses[0].error_code
    };
    assert_eq!(produce_garbage(), UNKNOWN_SERVER_ERROR);
    broker.reload("[produce]\ncheck_compressed_records = false");
    broker.wait_for_line(&["the configuration was reloaded", "changed=1"]);
    assert_eq!(produce_garbage(), 0);
    broker.reload("");
    broker.wait_for_line(&["the configuration was reloaded", "changed=1"]);
    assert_eq!(produce_garbage(), UNKNOWN_SERVER_ERROR);
    broker.server.stop().unwrap();
}

#[test]
fn a_shutdown_waits_as_long_as_the_last_reload_says() {
    let mut broker = Configured::start("[operations]\ngraceful_shutdown_timeout_ms = \"1h\"", &[]);
    let _client = stalled_client(broker.server.port());
    broker.reload("[operations]\ngraceful_shutdown_timeout_ms = 100");
    broker.wait_for_line(&["the configuration was reloaded", "changed=1"]);
    let asked = Instant::now();
    broker.server.stop().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

/// A client that sends requests until nobody listens any more, and reads no answer: the pending
/// answers keep the shutdown waiting.
fn stalled_client(port: u16) -> TcpStream {
    /// ApiVersions, version 0, without a client's name.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while stream.write_all(&REQUEST.repeat(100)).is_ok() {}
    stream
}

#[test]
fn an_operator_may_forbid_reloads() {
    let forbidding = "[operations]\nallow_runtime_config_updates = false\n[cache]\nwrite_cache_size_bytes = ";
    let mut broker = Configured::start(&format!("{forbidding}\"32MiB\""), &[]);
    broker.reload(&format!("{forbidding}\"48MiB\""));
    broker.wait_for_line(&["WARN", "operations.allow_runtime_config_updates is false"]);
    assert_eq!(broker.tail_budget(), 32 * MIB);
    broker.server.stop().unwrap();
}

#[test]
fn many_signals_at_once_end_with_the_newest_file() {
    let sized = |mib: u64| format!("[cache]\nwrite_cache_size_bytes = \"{mib}MiB\"");
    let broker = Configured::start(&sized(16), &[]);
    for mib in 17..=60 {
        broker.reload(&sized(mib));
    }
    wait_until("the newest file is in force", || broker.tail_budget() == 60 * MIB);
}

#[test]
fn without_a_file_the_signal_keeps_its_meaning() {
    // The parent of the tests may ignore the signal, and children inherit that.
    let settings = Settings::default().launcher(&["env", "--default-signal=HUP"]);
    let mut server = Server::start_as(Target::RustMq, settings).unwrap();
    server.signal("HUP").unwrap();
    let status = server.ended().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(1), "{status}");
    server.restart().unwrap();
    server.stop().unwrap();
}

#[test]
fn a_broker_starts_on_the_environment_that_its_file_names() {
    let file = "[broker]\nid = \"${HOSTNAME_OF_TEST}\"\nrack_id = \"${ZONE_OF_TEST:-none}\"\n[engine]\nread_threads = \"${THREADS_OF_TEST}\"";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rustmq.toml");
    fs::write(&path, file).unwrap();
    let run = |environment: &[(&str, &str)]| print_config(&path, environment);
    let (out, complaint) = run(&[("HOSTNAME_OF_TEST", "broker-0"), ("THREADS_OF_TEST", "2")]);
    assert_eq!(complaint, "");
    for line in ["broker.id = \"broker-0\"", "broker.rack_id = \"none\"", "engine.read_threads = \"2\""] {
        assert!(out.contains(line), "{line} is not in {out}");
    }
    let (_, complaint) = run(&[("HOSTNAME_OF_TEST", "broker-0")]);
    for part in ["rustmq: ", "rustmq.toml, line 5", "engine.read_threads", "THREADS_OF_TEST is not set"] {
        assert!(complaint.contains(part), "{part} is not in {complaint}");
    }
}

/// The outputs of `--print-config`.
fn print_config(file: &Path, environment: &[(&str, &str)]) -> (String, String) {
    let mut command = std::process::Command::new(rustmq_compat_tests::server::rustmq_binary());
    command.arg("--print-config").arg("--config").arg(file).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let [out, complaint] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (out, complaint)
}
