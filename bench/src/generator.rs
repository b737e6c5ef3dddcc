//! The load generators of others, run as they come: Kafka's `ProducerPerformance` and librdkafka's `rdkafka_performance`. What they report is
//! theirs; we only read it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustmq_compat_tests::{install, process};

use crate::broker::JVM;
use crate::client::Producing;

const WITHIN: Duration = Duration::from_secs(300);
const POLL_EVERY: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    ProducerPerformance,
    RdkafkaPerformance,
}

/// What to send, as fast as it can be sent, to one partition.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub bootstrap: &'a str,
    pub topic: &'a str,
    pub records: u64,
    pub record_bytes: usize,
    pub producing: Producing,
}

impl Generator {
    /// Runs it to its end; the megabytes (10^6 bytes) a second that it says were acknowledged.
    pub fn run(self, order: &Order<'_>) -> Result<f64> {
        let report = match self {
            Self::ProducerPerformance => run_to_end(producer_performance(order))?,
            Self::RdkafkaPerformance => run_to_end(rdkafka_performance(order)?)?,
        };
        let rate = match self {
            Self::ProducerPerformance => producer_performance_rate(&report, order.records),
            Self::RdkafkaPerformance => rdkafka_performance_rate(&report, order.records),
        };
        rate.with_context(|| format!("{self:?} did not report {} records:\n{report}", order.records))
    }
}

fn producer_performance(order: &Order<'_>) -> Command {
    let Order { bootstrap, topic, records, record_bytes, producing } = order;
    let mut command = process::command("java");
    command.args(JVM).args(["-cp", &install::java_classpath(), "org.apache.kafka.tools.ProducerPerformance"]);
    command.args(["--topic", topic, "--throughput", "-1"]);
    command.args(["--num-records", &records.to_string(), "--record-size", &record_bytes.to_string()]);
    command.arg("--producer-props").args([
        format!("bootstrap.servers={bootstrap}"),
        "acks=all".to_owned(),
        "enable.idempotence=true".to_owned(),
        format!("linger.ms={}", producing.linger_ms),
        format!("batch.size={}", producing.batch_bytes),
        format!("compression.type={}", producing.codec),
    ]);
    command
}

/// The last line: "3000000 records sent, 300000.0 records/sec (292.97 MB/sec), ...". Its MB are 2^20 bytes.
fn producer_performance_rate(report: &str, records: u64) -> Option<f64> {
    let line = report.lines().rfind(|line| line.starts_with(&format!("{records} records sent")))?;
    let (before, _) = line.split_once(" MB/sec")?;
    let (_, mebibytes) = before.rsplit_once('(')?;
    Some(mebibytes.parse::<f64>().ok()? * f64::from(1 << 20) / 1e6)
}

fn rdkafka_performance(order: &Order<'_>) -> Result<Command> {
    let Order { bootstrap, topic, records, record_bytes, producing } = order;
    let program = compiled()?;
    let mut command = process::command(&program.to_string_lossy());
    command.args(["-P", "-t", topic, "-p", "0", "-b", bootstrap, "-a", "-1"]);
    command.args(["-c", &records.to_string(), "-s", &record_bytes.to_string()]);
    let settings = producing.settings().into_iter().filter(|(key, _)| *key != "acks");
    for (key, value) in settings {
        command.args(["-X", &format!("{key}={value}")]);
    }
    Ok(command)
}

/// `rdkafka_performance` from the sources of the librdkafka that this binary is linked with.
fn compiled() -> Result<PathBuf> {
    let examples = Path::new(env!("LIBRDKAFKA_ROOT")).join("examples");
    let mut make = Command::new("make");
    make.arg("-C").arg(&examples).arg("rdkafka_performance");
    process::run_to_end(&mut make).context("compiling librdkafka's rdkafka_performance")?;
    Ok(examples.join("rdkafka_performance"))
}

/// The last line: "% 3000000 messages produced (3072000000 bytes), 3000000 delivered (offset 0, 0 failed) in 9000ms: 333333 msgs/s and 341.33
/// MB/s, ...". Its MB are 10^6 bytes.
fn rdkafka_performance_rate(report: &str, records: u64) -> Option<f64> {
    let line = report.lines().rfind(|line| line.contains(&format!(" {records} delivered")))?;
    let (before, _) = line.split_once(" MB/s")?;
    before.rsplit_once(' ')?.1.parse().ok()
}

/// Its standard output.
fn run_to_end(mut command: Command) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let [out, err] = ["out", "err"].map(|name| folder.path().join(name));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let mut child = process::spawn(command).context("starting the generator")?;
    let deadline = Instant::now() + WITHIN;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            break child.wait()?;
        }
        thread::sleep(POLL_EVERY);
    };
    let (out, err) = (fs::read_to_string(out)?, fs::read_to_string(err)?);
    ensure!(status.success(), "the generator ended with {status}:\n{out}{err}");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_megabytes() {
        let java = "499712 records sent, 99942.4 records/sec (97.60 MB/sec), 10.0 ms avg latency.\n\
            2000000 records sent, 250000.0 records/sec (244.14 MB/sec), 7.00 ms avg latency, 90.00 ms max latency.\n";
        assert_eq!(producer_performance_rate(java, 2_000_000).map(f64::round), Some(256.0));
        assert_eq!(producer_performance_rate(java, 3_000_000), None, "not all were sent");
        let rdkafka = "% 2000000 messages produced (2048000000 bytes), 2000000 delivered (offset 0, 0 failed) in 4000ms: \
            500000 msgs/s and 512.00 MB/s, 0 produce failures, 0 in queue, no compression\n";
        assert_eq!(rdkafka_performance_rate(rdkafka, 2_000_000), Some(512.0));
        assert_eq!(rdkafka_performance_rate(rdkafka, 2_000_001), None, "not all were delivered");
    }
}
