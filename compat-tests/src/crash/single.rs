//! A broker with one topic of one partition, and one writer, for proofs that the audit finds
//! errors. Each record is acknowledged before the next is written, so the promises are known
//! exactly.

use super::admin::Admin;
use super::audit::{Audit, Retention, TopicPartition, Violation};
use super::ledger::Report;
use super::writer::{Load, Writer};
use super::{payload, reader};
use crate::Server;
use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;

pub const TOPIC: &str = "small";
/// The producer's number in the records of probes.
const PROBER: u32 = 99_000_000;

pub struct Single {
    pub server: Server,
    load: Arc<Load>,
    writer: Writer,
    audit: Audit,
    random: StdRng,
    probes: u64,
}

/// The one partition.
pub fn place() -> TopicPartition {
    TopicPartition::new(TOPIC, 0)
}

impl Single {
    pub fn on(server: Server) -> Result<Single> {
        let mut admin = Admin::connect(server.port())?;
        admin.create_topic(TOPIC, 1, &[])?;
        let load = Arc::new(Load::default());
        let writer = Writer::new(&server.bootstrap(), &load, 1, 1)?;
        let mut audit = Audit::default();
        audit.watch(place(), Retention::Everything);
        Ok(Single { server, load, writer, audit, random: StdRng::seed_from_u64(1), probes: 0 })
    }

    pub fn write(&mut self, records: usize) -> Result<()> {
        for _ in 0..records {
            self.writer.write(&place(), 100);
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Sends records without waiting: the writer retries until they are acknowledged.
    pub fn send(&mut self, records: usize, length: usize) {
        for _ in 0..records {
            self.writer.write(&place(), length);
        }
    }

    /// Waits until everything sent is acknowledged.
    pub fn flush(&self) -> Result<()> {
        self.writer.flush()
    }

    /// Tries once to append one record, without the writer. Returns the error code. An acknowledged
    /// record is audited like any other.
    pub fn probe(&mut self, length: usize) -> Result<i16> {
        self.probes += 1;
        let (value, entry) = payload::make(&mut self.random, PROBER, self.probes, length);
        let (code, offset) = Admin::connect(self.server.port())?.produce(&place(), &value)?;
        if code == 0 {
            self.load.ledger.report(Report::Record { place: place(), offset, entry });
        }
        Ok(code)
    }

    /// The number of acknowledged records, as of the last audit.
    pub fn acknowledged(&self) -> u64 {
        self.audit.promises().0
    }

    /// Compares the acknowledged records with the log of the broker, which must run.
    pub fn audit(&mut self) -> Result<Vec<Violation>> {
        let (mut violations, failures) = self.load.ledger.settle(&mut self.audit);
        ensure!(failures.is_empty(), "{failures:?}");
        let port = self.server.port();
        let readings = reader::read_logs(&format!("127.0.0.1:{port}"), port, &[(place(), 0)])?;
        violations.extend(self.audit.read(&place(), &readings[&place()]));
        Ok(violations)
    }
}
