//! A broker under test as a real process on free ports: start, readiness, kill -9, graceful stop,
//! restart on the same data. The target is RustMQ, or Apache Kafka with `COMPAT_TARGET=kafka`;
//! scenarios do not see the difference.

use crate::{install, kafka, port, process};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// The broker that the scenarios run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    RustMq,
    Kafka,
}

impl Target {
    pub fn from_environment() -> Result<Target> {
        match std::env::var("COMPAT_TARGET").as_deref() {
            Err(_) | Ok("" | "rustmq") => Ok(Target::RustMq),
            Ok("kafka") => Ok(Target::Kafka),
            Ok(other) => bail!("COMPAT_TARGET is {other}: expected rustmq or kafka"),
        }
    }
}

/// The settings that a server is started with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The port that clients are told to connect to, if it is not the broker's own but a proxy's.
    pub advertised: Option<u16>,
    /// Kafka's broker-wide settings, by Kafka's names.
    pub kafka: Vec<(String, String)>,
    /// The broker's data folder, if it lies outside the run's own folder. It is not removed.
    pub data: Option<PathBuf>,
    /// RustMQ's configuration file.
    pub config: Option<PathBuf>,
    /// The command line of a program that becomes the broker, placed before the broker's own.
    pub launcher: Vec<String>,
}

impl Settings {
    pub fn with(mut self, key: &str, value: &str) -> Settings {
        self.kafka.push((key.into(), value.into()));
        self
    }

    /// For a broker that is killed and started again: Apache Kafka waits until the session of its
    /// previous process has ended, and RustMQ has no such session.
    pub fn restarted_often(self) -> Settings {
        if !matches!(Target::from_environment(), Ok(Target::Kafka)) {
            return self;
        }
        self.with("broker.session.timeout.ms", "1500").with("broker.heartbeat.interval.ms", "250")
    }

    pub fn advertised(mut self, port: u16) -> Settings {
        self.advertised = Some(port);
        self
    }

    pub fn data(mut self, folder: PathBuf) -> Settings {
        self.data = Some(folder);
        self
    }

    pub fn config(mut self, file: PathBuf) -> Settings {
        self.config = Some(file);
        self
    }

    pub fn launcher(mut self, words: &[&str]) -> Settings {
        self.launcher = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }
}

/// A running broker. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Server {
    target: Target,
    folder: TempDir,
    ports: kafka::Ports,
    http: u16,
    settings: Settings,
    child: Option<Child>,
}

impl Server {
    /// Starts an empty broker and waits until it is ready.
    pub fn start(settings: Settings) -> Result<Server> {
        Server::start_as(Target::from_environment()?, settings)
    }

    /// As [`Self::start`], for a test of one particular broker.
    pub fn start_as(target: Target, settings: Settings) -> Result<Server> {
        let root = runs_folder()?;
        let folder = tempfile::Builder::new().prefix(&format!("{}-", std::process::id())).tempdir_in(root)?;
        let port = port::claim()?;
        let ports =
            kafka::Ports { kafka: port, advertised: settings.advertised.unwrap_or(port), controller: port::claim()? };
        let mut server = Server { target, folder, ports, http: port::claim()?, settings, child: None };
        server.run()?;
        Ok(server)
    }

    /// The bootstrap address for clients.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.ports.advertised)
    }

    /// The broker's own port, behind any proxy.
    pub fn port(&self) -> u16 {
        self.ports.kafka
    }

    pub fn http_port(&self) -> u16 {
        self.http
    }

    pub fn target(&self) -> Target {
        self.target
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn data_path(&self) -> PathBuf {
        self.settings.data.clone().unwrap_or_else(|| self.folder.path().join("data"))
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether `holds` is true now; on Kafka, whose metadata follows changes late, whether it
    /// becomes true soon.
    pub fn knows(&self, mut holds: impl FnMut() -> bool) -> bool {
        let patience = if self.target == Target::Kafka { Duration::from_secs(10) } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        loop {
            if holds() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
        }
    }

    /// Sends kill -9 without waiting: a process that hangs in the kernel ends only when its call
    /// does.
    pub fn signal_kill(&mut self) -> Result<()> {
        self.child.as_mut().map_or(Ok(()), Child::kill).context("killing the broker")
    }

    /// Sends kill -9, and waits until the process is gone.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("killing the broker")?;
            child.wait().context("waiting for the killed broker")?;
        }
        Ok(())
    }

    /// Sends SIGTERM, and waits for a clean end.
    pub fn stop(&mut self) -> Result<()> {
        if self.child.is_none() {
            return Ok(());
        }
        let status = self.terminate()?;
        // A JVM reports the signal itself.
        let clean = status.success() || self.target == Target::Kafka && status.code() == Some(143);
        ensure!(clean, "the broker ended with {status}\n{}", self.log_tail());
        Ok(())
    }

    /// Sends SIGTERM. Returns how the broker ended.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended()
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().context("the broker does not run")?;
        let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status()?;
        ensure!(sent.success(), "could not signal the broker");
        Ok(())
    }

    /// Waits until the broker has ended. Returns how it ended.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the broker does not run")?;
        if let Some(status) = process::wait_within(&mut child, STOP_WITHIN)? {
            return Ok(status);
        }
        child.kill()?;
        child.wait()?;
        bail!("the broker did not stop within {STOP_WITHIN:?}\n{}", self.log_tail());
    }

    /// Starts again on the same data and ports.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the broker still runs");
        self.run()
    }

    /// Starts again, without waiting until it is ready.
    pub fn restart_unready(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the broker still runs");
        self.spawn().map(drop)
    }

    /// The last lines of the log, for a failing scenario's message.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let from = text.len().saturating_sub(4096);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    /// Sends a GET to the HTTP port. Returns status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP status")?;
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        Ok((status, body))
    }

    fn run(&mut self) -> Result<()> {
        let marked = self.spawn()?;
        self.wait_ready(marked)
    }

    /// Starts the process. Returns the offset where its log begins.
    fn spawn(&mut self) -> Result<u64> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let marked = log.metadata()?.len();
        let mut command = match self.target {
            Target::RustMq => self.rustmq()?,
            Target::Kafka => {
                kafka::prepare(self.folder.path(), &self.data_path(), self.ports, &self.settings.kafka)?;
                let mut command = process::command("java");
                command.args(kafka::arguments(self.folder.path()));
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(process::spawn(command).context("starting the broker")?);
        Ok(marked)
    }

    fn rustmq(&self) -> Result<Command> {
        let binary = rustmq_binary();
        ensure!(binary.exists(), "{} is missing: run `cargo build --release --bin rustmq`", binary.display());
        let binary = binary.display().to_string();
        let mut words = self.settings.launcher.iter().chain([&binary]);
        let mut command = process::command(words.next().context("no command")?);
        command.args(words).arg("--data-dir").arg(self.data_path());
        command.args(["--kafka", &format!("127.0.0.1:{}", self.ports.kafka)]);
        command.args(["--http", &format!("127.0.0.1:{}", self.http)]);
        if let Some(config) = &self.settings.config {
            command.arg("--config").arg(config);
        }
        command.env("RUSTMQ_NETWORK_KAFKA_ADVERTISED", format!("127.0.0.1:{}", self.ports.advertised));
        for (key, value) in &self.settings.kafka {
            command.env(format!("RUSTMQ_{}", key.to_uppercase().replace('.', "_")), value);
        }
        Ok(command)
    }

    fn wait_ready(&mut self, marked: u64) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            let child = self.child.as_mut().context("no process")?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                bail!("the broker ended with {status} before it was ready\n{}", self.log_tail());
            }
            if self.is_ready(marked) && TcpStream::connect(("127.0.0.1", self.ports.kafka)).is_ok() {
                return Ok(());
            }
            thread::sleep(POLL_EVERY);
        }
        bail!("the broker was not ready within {READY_WITHIN:?}\n{}", self.log_tail());
    }

    fn is_ready(&self, marked: u64) -> bool {
        match self.target {
            Target::RustMq => self.get("/ready").is_ok_and(|(status, _)| status == 200),
            Target::Kafka => fs::read(self.log_path()).is_ok_and(|text| {
                let since = text.get(usize::try_from(marked).unwrap_or(0)..).unwrap_or(&[]);
                String::from_utf8_lossy(since).contains("Kafka Server started")
            }),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that this misses is killed by the kernel.
        let _ = self.kill();
        if thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- broker log, last lines\n{}", self.log_tail());
        }
    }
}

/// The broker that the scenarios of one test file share. Each uses its own topic and group names.
pub fn shared() -> &'static Server {
    static SHARED: LazyLock<Server> = LazyLock::new(|| {
        let settings = Settings::default().with("group.initial.rebalance.delay.ms", "100");
        Server::start(settings).expect("the shared broker must start")
    });
    &SHARED
}

/// A name that no other scenario uses.
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `RUSTMQ_BINARY`, or the binary of `cargo build --release`.
pub fn rustmq_binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("RUSTMQ_BINARY") {
        return PathBuf::from(binary);
    }
    // Test programs are in <target>/release/deps.
    let here = std::env::current_exe().unwrap_or_default();
    let deps = here.parent().unwrap_or(Path::new("."));
    let release = if deps.ends_with("deps") { deps.parent().unwrap_or(deps) } else { deps };
    release.join("rustmq")
}

/// The folder for the data of all runs. Removes the remains of killed runs, and of runs whose
/// shared broker no destructor removed.
fn runs_folder() -> Result<PathBuf> {
    let root = install::cache().join("runs");
    fs::create_dir_all(&root)?;
    for entry in fs::read_dir(&root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.split('-').next().unwrap_or_default();
        if !owner.is_empty() && !Path::new("/proc").join(owner).exists() {
            // Another test program may be removing it, too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(root)
}
