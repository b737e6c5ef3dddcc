//! The broker's own counts of its work: its `/metrics` page, at one moment or between two.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Sub;
use std::time::{Duration, Instant};

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The series of the page, by name and labels as they stand there.
type Series = BTreeMap<String, f64>;

/// The counts at one moment by which costs are divided.
#[derive(Clone, Debug)]
pub struct Page {
    at: Instant,
    series: Series,
}

/// The work that was done in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    pub seconds: f64,
    pub records_in: f64,
    pub bytes_in: f64,
    pub batches_in: f64,
    pub produces: f64,
    /// The sum of the times from a produce request's last byte until its response is ready.
    pub produce_seconds: f64,
    pub commits: f64,
    pub commit_seconds: f64,
    pub commit_bytes: f64,
    pub records_out: f64,
    pub bytes_out: f64,
    pub fetches: f64,
}

impl Page {
    pub fn fetch(port: u16) -> Result<Page> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to /metrics")?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("reading /metrics")?;
        Ok(Page { at: Instant::now(), series: parse(&text) })
    }

    fn one(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// The sum over all labels.
    fn all(&self, name: &str) -> f64 {
        let of = self.series.iter().filter(|(series, _)| series.split('{').next() == Some(name));
        of.map(|(_, value)| value).sum()
    }
}

fn parse(text: &str) -> Series {
    let lines = text.lines().filter(|line| line.starts_with("rustmq_"));
    let series = lines.filter_map(|line| line.rsplit_once(' '));
    series.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
}

impl Sub for &Page {
    type Output = Work;

    fn sub(self, before: &Page) -> Work {
        let one = |series: &str| self.one(series) - before.one(series);
        let all = |name: &str| self.all(name) - before.all(name);
        Work {
            seconds: (self.at - before.at).as_secs_f64(),
            records_in: one("rustmq_produce_records_total"),
            bytes_in: one("rustmq_produce_bytes_total"),
            batches_in: one("rustmq_wal_appended_batches_total"),
            produces: one("rustmq_kafka_requests_total{api=\"Produce\"}"),
            produce_seconds: all("rustmq_produce_latency_seconds_sum"),
            commits: one("rustmq_wal_commits_total"),
            commit_seconds: all("rustmq_wal_commit_seconds_sum"),
            commit_bytes: one("rustmq_wal_committed_bytes_total"),
            records_out: one("rustmq_fetch_records_total"),
            bytes_out: one("rustmq_fetch_bytes_total"),
            fetches: one("rustmq_kafka_requests_total{api=\"Fetch\"}"),
        }
    }
}

impl Work {
    /// The units of work for which costs are shown, with their number in this period. Omits rare
    /// ones.
    pub fn units(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("record in", self.records_in),
            ("batch in", self.batches_in),
            ("produce request", self.produces),
            ("commit", self.commits),
            ("record out", self.records_out),
            ("fetch", self.fetches),
        ];
        // A few per second have other causes: a shard proves its last group, a client asks for
        // metadata.
        all.into_iter().filter(|(_, count)| *count > 10.0 * self.seconds).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { at: Instant::now(), series: parse(text) }
    }

    #[test]
    fn series_are_read_with_and_without_labels() {
        let before = page("");
        let after = page(
            "HTTP/1.1 200 OK\r\n\r\n# TYPE x counter\nrustmq_produce_records_total 12\n\
             rustmq_kafka_requests_total{api=\"Produce\"} 3\nrustmq_kafka_requests_total{api=\"Fetch\"} 4\n\
             rustmq_wal_commit_seconds_sum{shard=\"0\"} 0.5\nrustmq_wal_commit_seconds_sum{shard=\"1\"} 0.25\n",
        );
        let work = &after - &before;
        assert_eq!((work.records_in, work.produces, work.fetches), (12.0, 3.0, 4.0));
        assert!((work.commit_seconds - 0.75).abs() < 1e-9);
    }

    #[test]
    fn what_hardly_happens_is_no_unit() {
        let work = Work { seconds: 2.0, records_in: 100.0, fetches: 19.0, ..Work::default() };
        assert_eq!(work.units(), [("record in", 100.0)]);
    }
}
