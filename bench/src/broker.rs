//! Runs one contender on an empty folder: start, topics, kill -9, start again. The compatibility
//! harness provides the processes and Kafka's configuration. The JVM has the settings of Kafka's
//! own start script, not the harness's small ones.

use crate::contender::Contender;
use crate::usage::Sample;
use anyhow::{Context, Result, bail, ensure};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rustmq_compat_tests::crash::admin::Admin;
use rustmq_compat_tests::{install, kafka, port, process};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
const STOPS_WITHIN: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(1);

/// The JVM's options in `kafka-server-start.sh`.
pub const JVM: [&str; 8] = [
    "-server",
    "-Xms1g",
    "-Xmx1g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

pub struct Broker {
    contender: Contender,
    body: Body,
    watch: Option<Rc<dyn Watch>>,
}

/// Observes a broker's process during the measured window, beside the load.
pub trait Watch {
    /// The window begins now. Must not block.
    fn window_opened(&self, watched: Watched);
}

#[derive(Clone, Copy, Debug)]
pub struct Watched {
    pub pid: u32,
    /// The address of `/metrics`.
    pub http: u16,
}

enum Body {
    Process(Node),
    Fake(MockCluster<'static, DefaultProducerContext>),
}

/// A broker in a process of its own.
struct Node {
    child: Option<Child>,
    /// The program, if the contender is RustMQ.
    rustmq: PathBuf,
    folder: TempDir,
    ports: kafka::Ports,
    http: u16,
    sync_delay: Option<Duration>,
    tail_memory: Option<u64>,
}

impl Broker {
    /// A broker with its folder and configuration, which is not running yet. Every contender that
    /// is RustMQ runs the given binary, and differs in nothing else.
    pub fn prepare(contender: Contender, rustmq: PathBuf, root: &Path) -> Result<Broker> {
        if contender == Contender::Floor {
            return Ok(Broker { contender, body: Body::Fake(MockCluster::new(1)?), watch: None });
        }
        let folder = tempfile::Builder::new().prefix(&format!("{}-", std::process::id())).tempdir_in(root)?;
        let port = port::claim()?;
        let ports = kafka::Ports { kafka: port, advertised: port, controller: port::claim()? };
        let http = port::claim()?;
        let node = Node { child: None, rustmq, folder, ports, http, sync_delay: None, tail_memory: None };
        match contender {
            Contender::Kafka => kafka::prepare(node.folder.path(), &node.data_path(), ports, &[])?,
            Contender::KafkaFlush => {
                let flush = ("log.flush.interval.messages".to_owned(), "1".to_owned());
                kafka::prepare(node.folder.path(), &node.data_path(), ports, &[flush])?;
            }
            Contender::Rustmq | Contender::Base | Contender::RustmqEpoll | Contender::Floor => {}
        }
        Ok(Broker { contender, body: Body::Process(node), watch: None })
    }

    /// Makes each sync of the broker take longer by `delay`, from the next start on. strace adds
    /// the delay. It sees only system calls, so syncs through io_uring are not delayed.
    pub fn delay_syncs(&mut self, delay: Duration) -> Result<()> {
        let is_io_uring = matches!(self.contender, Contender::Rustmq | Contender::Base);
        ensure!(!is_io_uring, "io_uring's syncs cannot be delayed");
        if let Body::Process(node) = &mut self.body {
            node.sync_delay = Some(delay);
        }
        Ok(())
    }

    /// Limits RustMQ's tail memory from the next start on. Kafka has no such limit: it reads from
    /// the page cache.
    pub fn bound_tail_memory(&mut self, bytes: u64) {
        if let Body::Process(node) = &mut self.body {
            node.tail_memory = Some(bytes);
        }
    }

    /// The files that hold records.
    pub fn log_files(&self) -> Result<Vec<PathBuf>> {
        let Body::Process(node) = &self.body else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        let mut folders = vec![node.data_path()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if name.starts_with("slot-") || name.ends_with(".log") {
                    files.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }

    pub fn bootstrap(&self) -> String {
        match &self.body {
            Body::Process(node) => format!("127.0.0.1:{}", node.ports.kafka),
            Body::Fake(cluster) => cluster.bootstrap_servers(),
        }
    }

    /// The process whose usage is measured; the fake broker has none.
    pub fn pid(&self) -> Option<u32> {
        match &self.body {
            Body::Process(node) => node.child.as_ref().map(Child::id),
            Body::Fake(_) => None,
        }
    }

    /// Tells `watch` when the measured window begins.
    pub fn watched_by(mut self, watch: Option<Rc<dyn Watch>>) -> Broker {
        self.watch = watch;
        self
    }

    /// The measured window begins: takes the sample to subtract from the one at its end.
    pub fn open_window(&self) -> Result<Sample> {
        if let (Some(watch), Body::Process(node), Some(pid)) = (&self.watch, &self.body, self.pid()) {
            watch.window_opened(Watched { pid, http: node.http });
        }
        Sample::take(self.pid())
    }

    /// The last lines of the broker's log, for the message of a failed run.
    pub fn log_tail(&self) -> String {
        match &self.body {
            Body::Process(node) => node.log_tail(),
            Body::Fake(_) => String::new(),
        }
    }

    /// Opens a connection for requests outside the load.
    pub fn admin(&self) -> Result<Admin> {
        match &self.body {
            Body::Process(node) => Admin::connect(node.ports.kafka),
            Body::Fake(_) => bail!("the fake broker has no administration"),
        }
    }

    /// Creates a topic. All of its partitions have a leader when this returns.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        if let Body::Fake(cluster) = &self.body {
            cluster.create_topic(name, partitions, 1)?;
            return Ok(());
        }
        let mut admin = self.admin()?;
        admin.create_topic(name, partitions, &[])?;
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while !admin.is_led(name)? {
            ensure!(Instant::now() < deadline, "{name} is not led {ANSWERS_WITHIN:?} after its creation");
            thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Kills the process (kill -9), and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        let Body::Process(node) = &mut self.body else { return Ok(()) };
        if let Some(mut child) = node.child.take() {
            child.kill().context("killing the broker")?;
            child.wait().context("waiting for the killed broker")?;
        }
        Ok(())
    }

    /// Sends SIGTERM, and waits for the process to end.
    pub fn stop(&mut self) -> Result<()> {
        let Body::Process(node) = &mut self.body else { return Ok(()) };
        let Some(mut child) = node.child.take() else { return Ok(()) };
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        ensure!(sent.success(), "could not signal the broker");
        if process::wait_within(&mut child, STOPS_WITHIN)?.is_none() {
            child.kill()?;
            child.wait()?;
            bail!("the broker did not stop within {STOPS_WITHIN:?}\n{}", node.log_tail());
        }
        Ok(())
    }

    /// Starts the process on the data in the folder. Returns the time from its start to the first
    /// answered metadata request.
    pub fn start_again(&mut self) -> Result<Duration> {
        let contender = self.contender;
        let Body::Process(node) = &mut self.body else { return Ok(Duration::ZERO) };
        let command = node.command(contender)?;
        let begun = Instant::now();
        node.child = Some(process::spawn(command).context("starting the broker")?);
        let deadline = begun + ANSWERS_WITHIN;
        while Instant::now() < deadline {
            if Admin::connect(node.ports.kafka).and_then(|mut admin| admin.topics()).is_ok() {
                return Ok(begun.elapsed());
            }
            let child = node.child.as_mut().context("no process")?;
            if let Some(status) = child.try_wait()? {
                node.child = None;
                bail!("the broker ended with {status} before it answered\n{}", node.log_tail());
            }
            thread::sleep(POLL_EVERY);
        }
        bail!("the broker did not answer within {ANSWERS_WITHIN:?}\n{}", node.log_tail());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A process that this misses is killed by the kernel when the bench ends.
        let _ = self.kill();
    }
}

impl Node {
    fn command(&self, contender: Contender) -> Result<Command> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut words = self.sync_delay.map(delayed).transpose()?.unwrap_or_default();
        match contender {
            Contender::Kafka | Contender::KafkaFlush => {
                words.push("java".into());
                words.extend(JVM.map(Into::into));
                words.extend(["-Dcompat.level=info", "-cp"].map(Into::into));
                words.extend([install::java_classpath().into(), "kafka.Kafka".into()]);
                words.push(self.folder.path().join("server.properties").into());
            }
            Contender::Rustmq | Contender::Base | Contender::RustmqEpoll | Contender::Floor => {
                let binary = &self.rustmq;
                let remedy = "run `cargo build --release --bin rustmq`";
                ensure!(binary.exists(), "{} is missing: {remedy}", binary.display());
                words.extend([binary.into(), "--data-dir".into(), self.data_path().into()]);
                words.extend(["--kafka".into(), format!("127.0.0.1:{}", self.ports.kafka).into()]);
                words.extend(["--http".into(), format!("127.0.0.1:{}", self.http).into()]);
            }
        }
        let program = words.remove(0);
        let mut command = process::command(&program.to_string_lossy());
        command.args(words);
        if contender == Contender::RustmqEpoll {
            command.env("RUSTMQ_ENGINE_DRIVER", "epoll");
        }
        if let Some(bytes) = self.tail_memory {
            command.env("RUSTMQ_CACHE_WRITE_CACHE_SIZE_BYTES", bytes.to_string());
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn data_path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn log_tail(&self) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned()
    }
}

/// The system calls that sync. RustMQ writes with `pwritev2` only in order to sync, and Kafka never
/// does.
const SYNCS: &str = "fsync,fdatasync,pwritev2";

/// The command line before the broker's own that makes strace delay its syncs. The started process
/// becomes the broker: strace is its grandchild, and stops it at no other call.
fn delayed(by: Duration) -> Result<Vec<OsString>> {
    let is_there = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    ensure!(is_there, "strace is missing: it delays syncs; install the package strace");
    let trace = format!("trace={SYNCS}");
    let inject = format!("inject={SYNCS}:delay_exit={}", by.as_micros());
    let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    Ok(words.map(OsString::from).to_vec())
}

/// The folder for the data of all runs, on the measured file system. Removes the remains of killed
/// runs.
pub fn runs_folder(chosen: Option<&Path>) -> Result<PathBuf> {
    let root = chosen.map_or_else(|| install::cache().join("bench"), Path::to_path_buf);
    fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
    for entry in fs::read_dir(&root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.split_once('-').map(|(owner, _)| owner.to_owned()).unwrap_or_default();
        let is_ours = !owner.is_empty() && owner.bytes().all(|byte| byte.is_ascii_digit());
        if is_ours && !Path::new("/proc").join(&owner).exists() {
            match fs::remove_dir_all(entry.path()) {
                // Another bench that has just started removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(root)
}
