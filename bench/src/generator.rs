//! The load generators of other projects, unchanged: Kafka's `ProducerPerformance`, librdkafka's
//! `rdkafka_performance`, and franz-go. They measure; this file only reads their reports.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustmq_compat_tests::{install, process};

use crate::broker::JVM;
use crate::client::Producing;

const WITHIN: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    ProducerPerformance,
    RdkafkaPerformance,
    /// A loop around franz-go's `Produce`, which is idempotent.
    Franz,
}

/// The records to send.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    pub bootstrap: &'a str,
    pub topic: &'a str,
    pub records: u64,
    pub record_bytes: usize,
    /// The settings for sends to partition 0; `None` leaves both to the client's defaults.
    pub producing: Option<Producing>,
    /// Records a second, for `ProducerPerformance`; `None` for as many as it can send.
    pub rate: Option<u32>,
}

/// The report of a generator about its run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Acknowledged megabytes (10^6 bytes) a second.
    pub megabytes_per_second: f64,
    /// The median and the 99th percentile of acknowledgements, in whole milliseconds, if the
    /// generator reports them.
    pub latency: Option<(f64, f64)>,
}

impl Generator {
    pub fn title(self) -> &'static str {
        match self {
            Self::ProducerPerformance => "Kafka's ProducerPerformance",
            Self::RdkafkaPerformance => "librdkafka's rdkafka_performance",
            Self::Franz => "franz-go, idempotent,",
        }
    }

    /// Runs the generator to its end.
    pub fn run(self, workload: &Workload<'_>) -> Result<Report> {
        let text = match self {
            Self::ProducerPerformance => run_to_end(producer_performance(workload))?,
            Self::RdkafkaPerformance => run_to_end(rdkafka_performance(workload)?)?,
            Self::Franz => run_to_end(franz(workload)?)?,
        };
        let report = match self {
            Self::ProducerPerformance => producer_performance_report(&text, workload.records),
            Self::RdkafkaPerformance => rate_only(rdkafka_performance_rate(&text, workload.records)),
            Self::Franz => rate_only(franz_rate(&text, workload.records)),
        };
        report.with_context(|| format!("{self:?} did not report {} records:\n{text}", workload.records))
    }
}

fn rate_only(rate: Option<f64>) -> Option<Report> {
    rate.map(|megabytes_per_second| Report { megabytes_per_second, latency: None })
}

/// The records that librdkafka's consumer reads from the beginning, with its defaults.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub bootstrap: &'a str,
    pub topic: &'a str,
    pub partitions: u32,
    pub records: u64,
}

/// Runs `rdkafka_performance` until it has read that many records. Returns the megabytes (10^6
/// bytes) a second from its first record on.
pub fn consume(reading: &Reading<'_>) -> Result<f64> {
    let Reading { bootstrap, topic, partitions, records } = reading;
    let mut command = process::command(&compiled()?.to_string_lossy());
    command.args(["-C", "-q", "-t", topic, "-b", bootstrap, "-o", "beginning", "-c", &records.to_string()]);
    for partition in 0..*partitions {
        command.args(["-p", &partition.to_string()]);
    }
    let text = run_to_end(command)?;
    let rate = consumed_rate(&text, *records);
    rate.with_context(|| format!("rdkafka_performance did not report {records} records:\n{text}"))
}

/// Parses the last line: "% 2000000 messages (2048000000 bytes) consumed in 2000ms: 1000000 msgs/s
/// (1024.00 MB/s)". It may count a few more messages than requested.
fn consumed_rate(text: &str, records: u64) -> Option<f64> {
    let line = text.lines().rfind(|line| line.contains(" consumed in "))?;
    let count: u64 = line.strip_prefix("% ")?.split_once(' ')?.0.parse().ok()?;
    let (before, _) = line.split_once(" MB/s)")?;
    let rate = before.rsplit_once('(')?.1.parse().ok()?;
    (count >= records).then_some(rate)
}

fn franz(workload: &Workload<'_>) -> Result<Command> {
    let program = install::franz_flood();
    install::require(&program)?;
    let mut command = process::command(&program.to_string_lossy());
    let (records, bytes) = (workload.records.to_string(), workload.record_bytes.to_string());
    command.args([workload.bootstrap, workload.topic, &records, &bytes]);
    Ok(command)
}

/// Parses the line "2000000 records acknowledged, 512.00 MB/s". Its MB are 10^6 bytes.
fn franz_rate(text: &str, records: u64) -> Option<f64> {
    let line = text.lines().rfind(|line| line.starts_with(&format!("{records} records acknowledged, ")))?;
    line.strip_suffix(" MB/s")?.rsplit_once(' ')?.1.parse().ok()
}

fn producer_performance(workload: &Workload<'_>) -> Command {
    let Workload { bootstrap, topic, records, record_bytes, producing, rate } = workload;
    let mut command = process::command("java");
    command.args(JVM).args(["-cp", &install::java_classpath(), "org.apache.kafka.tools.ProducerPerformance"]);
    let rate = rate.map_or("-1".to_owned(), |rate| rate.to_string());
    command.args(["--topic", topic, "--throughput", &rate]);
    command.args(["--num-records", &records.to_string(), "--record-size", &record_bytes.to_string()]);
    command.args(["--producer-props", &format!("bootstrap.servers={bootstrap}")]);
    if let Some(producing) = producing {
        command.args([
            "acks=all".to_owned(),
            "enable.idempotence=true".to_owned(),
            format!("linger.ms={}", producing.linger_ms),
            format!("batch.size={}", producing.batch_bytes),
            format!("compression.type={}", producing.codec),
        ]);
    }
    command
}

/// Parses the last line: "3000000 records sent, 300000.0 records/sec (292.97 MB/sec), ..., 1 ms
/// 50th, 2 ms 95th, 3 ms 99th, 4 ms 99.9th." Its MB are 2^20 bytes.
fn producer_performance_report(report: &str, records: u64) -> Option<Report> {
    let line = report.lines().rfind(|line| line.starts_with(&format!("{records} records sent")))?;
    let (before, _) = line.split_once(" MB/sec")?;
    let (_, mebibytes) = before.rsplit_once('(')?;
    let at = |quantile: &str| line.split(", ").find_map(|part| part.strip_suffix(quantile)?.parse::<f64>().ok());
    Some(Report {
        megabytes_per_second: mebibytes.parse::<f64>().ok()? * f64::from(1 << 20) / 1e6,
        latency: at(" ms 50th").zip(at(" ms 99th")),
    })
}

fn rdkafka_performance(workload: &Workload<'_>) -> Result<Command> {
    let Workload { bootstrap, topic, records, record_bytes, producing, .. } = workload;
    let program = compiled()?;
    let mut command = process::command(&program.to_string_lossy());
    command.args(["-P", "-t", topic, "-b", bootstrap]);
    command.args(["-c", &records.to_string(), "-s", &record_bytes.to_string()]);
    if let Some(producing) = producing {
        command.args(["-p", "0", "-a", "-1"]);
        let settings = producing.settings().into_iter().filter(|(key, _)| *key != "acks");
        for (key, value) in settings {
            command.args(["-X", &format!("{key}={value}")]);
        }
    }
    Ok(command)
}

/// `rdkafka_performance` from the sources of the librdkafka that this binary links.
fn compiled() -> Result<PathBuf> {
    let examples = Path::new(env!("LIBRDKAFKA_ROOT")).join("examples");
    let mut make = Command::new("make");
    make.arg("-C").arg(&examples).arg("rdkafka_performance");
    process::run_to_end(&mut make).context("compiling librdkafka's rdkafka_performance")?;
    Ok(examples.join("rdkafka_performance"))
}

/// Parses the last line: "% 3000000 messages produced (3072000000 bytes), 3000000 delivered (offset
/// 0, 0 failed) in 9000ms: 333333 msgs/s and 341.33 MB/s, ...". Its MB are 10^6 bytes.
fn rdkafka_performance_rate(report: &str, records: u64) -> Option<f64> {
    let line = report.lines().rfind(|line| line.contains(&format!(" {records} delivered")))?;
    let (before, _) = line.split_once(" MB/s")?;
    before.rsplit_once(' ')?.1.parse().ok()
}

/// Runs the command. Returns its standard output.
fn run_to_end(mut command: Command) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let [out, err] = ["out", "err"].map(|name| folder.path().join(name));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let mut child = process::spawn(command).context("starting the generator")?;
    let status = process::end_within(&mut child, WITHIN)?;
    let (out, err) = (fs::read_to_string(out)?, fs::read_to_string(err)?);
    ensure!(status.success(), "the generator ended with {status}:\n{out}{err}");
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rates_are_read_in_megabytes() {
        let java = "499712 records sent, 99942.4 records/sec (97.60 MB/sec), 10.0 ms avg latency.\n\
            2000000 records sent, 250000.0 records/sec (244.14 MB/sec), 7.00 ms avg latency, 90.00 ms max latency, \
            1 ms 50th, 4 ms 95th, 9 ms 99th, 12 ms 99.9th.\n";
        let report = producer_performance_report(java, 2_000_000).unwrap();
        assert_eq!((report.megabytes_per_second.round(), report.latency), (256.0, Some((1.0, 9.0))));
        assert_eq!(producer_performance_report(java, 3_000_000), None, "not all were sent");
        let rdkafka = "% 2000000 messages produced (2048000000 bytes), 2000000 delivered (offset 0, 0 failed) in 4000ms: \
            500000 msgs/s and 512.00 MB/s, 0 produce failures, 0 in queue, no compression\n";
        assert_eq!(rdkafka_performance_rate(rdkafka, 2_000_000), Some(512.0));
        assert_eq!(rdkafka_performance_rate(rdkafka, 2_000_001), None, "not all were delivered");
        let read = "% 2000000 messages (2048000000 bytes) consumed in 2000ms: 1000000 msgs/s (1024.00 MB/s)\n";
        assert_eq!(consumed_rate(read, 1_999_990), Some(1024.0));
        assert_eq!(consumed_rate(read, 2_000_001), None, "not all were read");
        assert_eq!(franz_rate("5 records acknowledged, 51.25 MB/s\n", 5), Some(51.25));
        assert_eq!(franz_rate("5 records acknowledged, 51.25 MB/s\n", 6), None);
    }
}
