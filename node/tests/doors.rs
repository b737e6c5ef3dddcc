//! The whole process and its two doors: what Kafka's clients hold keeps nobody from `/health`,
//! `/ready` and `/metrics`.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// ApiVersions in version 0, correlation id 1, no client id.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

/// A process on a folder of its own, killed at the end of its test.
struct Process {
    child: Child,
    kafka: String,
    http: String,
    _output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Process {
    /// Starts `rustmq` with settings as environment variables, behind `launcher` if there is one.
    fn start(launcher: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let binary = env!("CARGO_BIN_EXE_rustmq");
        let words: Vec<_> = launcher.iter().copied().chain([binary]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--data-dir").arg(folder.path());
        command.args(["--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"]).env("RUSTMQ_WAL_CAPACITY_BYTES", "512MiB");
        command.envs(environment.iter().copied()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        // The banner comes when it is ready.
        let kafka = word_after(&mut output, "Kafka");
        let http = word_after(&mut output, "HTTP").trim_start_matches("http://").split('/').next().unwrap().to_owned();
        Self { child, kafka, http, _output: output, _folder: folder }
    }

    /// A Kafka client that was answered, if it was.
    fn kafka_client(&self) -> Option<TcpStream> {
        let mut stream = connect(&self.kafka);
        // A connection that is refused may be gone before this is sent.
        let sent = stream.write_all(&API_VERSIONS);
        (sent.is_ok() && stream.read_exact(&mut [0; 4]).is_ok()).then_some(stream)
    }

    /// The answer's status line and body.
    fn get(&self, path: &str) -> String {
        let mut stream = connect(&self.http);
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn shows_all_pages(&self) {
        for path in ["/health", "/ready", "/metrics"] {
            let answer = self.get(path);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The word that follows a name in the banner.
fn word_after(output: &mut impl BufRead, name: &str) -> String {
    for line in output.lines() {
        let line = line.unwrap();
        if let Some(rest) = line.trim().strip_prefix(name) {
            return rest.split_whitespace().next().unwrap().to_owned();
        }
    }
    panic!("the process ended before it was ready");
}

#[test]
fn with_all_kafka_connections_taken_every_page_is_shown() {
    const CONNECTIONS_MAX: usize = 20;
    let process = Process::start(&[], &[("RUSTMQ_MAX_CONNECTIONS", "20")]);
    let clients: Vec<_> = std::iter::from_fn(|| process.kafka_client()).take(CONNECTIONS_MAX + 1).collect();
    assert_eq!(clients.len(), CONNECTIONS_MAX, "all connections are taken");
    process.shows_all_pages();
    assert!(process.get("/metrics").contains("rustmq_kafka_connections_refused_total{reason=\"limit\"} 1\n"));
}

#[test]
fn with_few_descriptors_kafka_leaves_those_of_http() {
    // Without what is kept back for HTTP, Kafka's clients could take these as well.
    let process = Process::start(&["prlimit", "--nofile=600:600"], &[]);
    let clients: Vec<_> = std::iter::from_fn(|| process.kafka_client()).take(600).collect();
    assert!((64..300).contains(&clients.len()), "{} clients", clients.len());
    // As many as may wait, silent, beside the one that asks.
    let silent: Vec<_> = (0..95).map(|_| connect(&process.http)).collect();
    process.shows_all_pages();
    let page = process.get("/metrics");
    let no_refusal = "_connections_refused_total{reason=\"descriptors\"} 0\n";
    for door in ["rustmq_kafka", "rustmq_http"] {
        assert!(page.contains(&format!("\n{door}{no_refusal}")), "{door} is out of descriptors: {page}");
    }
    drop((clients, silent));
}
