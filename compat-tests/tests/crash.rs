//! Kill -9 under load, again and again: everything that was acknowledged is there afterwards. And the proof of the proof: an
//! acknowledgement without a write, and a batch that recovery drops, do not pass.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::crash::admin::Admin;
use rustmq_compat_tests::crash::audit::{Audit, Keep, Place, Violation};
use rustmq_compat_tests::crash::campaign::{self, Plan};
use rustmq_compat_tests::crash::liar::Liar;
use rustmq_compat_tests::crash::reader;
use rustmq_compat_tests::crash::wal_damage::{Harm, harm};
use rustmq_compat_tests::crash::writer::{Load, Writer};
use rustmq_compat_tests::{Server, Settings, Target};
use std::io::Write;
use std::sync::Arc;

#[test]
fn acknowledged_work_survives_kills() {
    let plan = Plan::from_environment().unwrap();
    writeln!(std::io::stderr(), "CRASH_ROUNDS={} CRASH_SEED={}", plan.rounds, plan.seed).unwrap();
    let summary = campaign::run(plan).unwrap_or_else(|error| panic!("CRASH_SEED={}: {error:#}", plan.seed));
    writeln!(std::io::stderr(), "{summary}").unwrap();
    assert_eq!(summary.rounds, plan.rounds);
    assert!(summary.records > 100 * u64::from(plan.rounds), "hardly any load: {summary}");
    assert!(summary.commits > 10 * u64::from(plan.rounds), "hardly any commits: {summary}");
    assert!(summary.idle_rounds <= 1 + plan.rounds / 10, "too many idle rounds: {summary}");
}

/// A broker with one topic of one partition, and one writer whose every record is flushed alone.
struct Small {
    server: Server,
    load: Arc<Load>,
    writer: Writer,
    audit: Audit,
}

const TOPIC: &str = "small";

impl Small {
    fn start(settings: Settings) -> Small {
        let server = Server::start(settings.with("engine.shards", "1")).unwrap();
        Small::on(server)
    }

    fn on(server: Server) -> Small {
        Admin::connect(server.port()).unwrap().create_topic(TOPIC, 1, &[]).unwrap();
        let load = Arc::new(Load::default());
        let writer = Writer::new(&server.bootstrap(), &load, 1, 1).unwrap();
        let mut audit = Audit::default();
        audit.watch(place(), Keep::Everything);
        Small { server, load, writer, audit }
    }

    fn write(&mut self, records: usize) {
        for _ in 0..records {
            self.writer.write(&place(), 100);
            self.writer.flush().unwrap();
        }
    }

    /// Kills the broker, harms what it left if asked to, starts it, and audits.
    fn audit_after_kill(&mut self, harmed: Option<Harm>) -> Result<Vec<Violation>, String> {
        self.server.kill().unwrap();
        if let Some(harmed) = harmed {
            assert!(harm(&self.server.data_path(), harmed).unwrap() > 0);
        }
        self.server.restart().map_err(|error| format!("{error:#}"))?;
        let (mut violations, failures) = self.load.ledger.settle(&mut self.audit);
        assert_eq!(failures, Vec::<String>::new());
        let port = self.server.port();
        let readings = reader::look(&format!("127.0.0.1:{port}"), port, &[(place(), 0)]).unwrap();
        violations.extend(self.audit.read(&place(), &readings[&place()]));
        Ok(violations)
    }
}

fn place() -> Place {
    Place::new(TOPIC, 0)
}

#[test]
fn the_audit_passes_a_broker_that_was_left_alone() {
    let mut small = Small::start(Settings::default());
    small.write(20);
    assert_eq!(small.audit_after_kill(None).unwrap(), []);
    assert_eq!(small.audit.promises().0, 20);
}

#[test]
fn the_audit_finds_an_acknowledgement_before_the_write() {
    let liar = Liar::start().unwrap();
    let server = Server::start(Settings::default().advertised(liar.port())).unwrap();
    liar.connect_to(server.port());
    let mut small = Small::on(server);
    small.write(20);
    liar.lie(true);
    small.write(3);
    liar.lie(false);
    assert!(liar.lies() >= 3, "{} lies", liar.lies());
    // The consumer of the audit is told to dial the liar, who is honest with it.
    let found = small.audit_after_kill(None).unwrap();
    assert!(found.contains(&Violation::Shrank { place: place(), end: 20, expected: 23 }), "{found:?}");
}

#[test]
fn the_audit_finds_a_batch_that_recovery_drops() {
    if Target::from_environment().unwrap() == Target::Kafka {
        // The harm is done to RustMQ's own log.
        return;
    }
    let mut small = Small::start(Settings::default());
    small.write(20);
    let found = small.audit_after_kill(Some(Harm::Tail { groups: 2 })).unwrap();
    assert!(found.iter().any(|violation| matches!(violation, Violation::Shrank { .. })), "{found:?}");
}

#[test]
fn a_lost_batch_that_the_log_can_prove_is_refused_at_start() {
    if Target::from_environment().unwrap() == Target::Kafka {
        return;
    }
    let mut small = Small::start(Settings::default());
    small.write(20);
    // One more group, written after the last of the harmed ones, proves that they were durable.
    small.server.kill().unwrap();
    small.server.restart().unwrap();
    let refused = small.audit_after_kill(Some(Harm::Hole { groups: 2 })).unwrap_err();
    assert!(refused.contains("before it was ready"), "{refused}");
    assert!(refused.contains("--repair"), "the refusal must say what to do: {refused}");
}
