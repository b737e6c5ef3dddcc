//! Kill -9 under load, again and again: everything that was acknowledged exists afterwards. Also
//! proves the proof: an acknowledgement without a write, and a batch that recovery drops, are
//! found.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::crash::audit::Violation;
use rustmq_compat_tests::crash::campaign::{self, Kill, Plan};
use rustmq_compat_tests::crash::lying_proxy::LyingProxy;
use rustmq_compat_tests::crash::single::{Single, place};
use rustmq_compat_tests::crash::wal_damage::{Damage, damage};
use rustmq_compat_tests::{Server, Settings, Target};
use std::io::Write;

#[test]
fn acknowledged_work_survives_kills() {
    let plan = Plan::from_environment("CRASH", 30).unwrap();
    writeln!(std::io::stderr(), "CRASH_ROUNDS={} CRASH_SEED={}", plan.rounds, plan.seed).unwrap();
    let summary = campaign::run(plan, campaign::settings(), &mut Kill)
        .unwrap_or_else(|error| panic!("CRASH_SEED={}: {error:#}", plan.seed));
    writeln!(std::io::stderr(), "{summary}").unwrap();
    assert_eq!(summary.rounds, plan.rounds);
    assert!(summary.records > 100 * u64::from(plan.rounds), "hardly any load: {summary}");
    assert!(summary.commits > 10 * u64::from(plan.rounds), "hardly any commits: {summary}");
    assert!(summary.idle_rounds <= 1 + plan.rounds / 10, "too many idle rounds: {summary}");
}

/// A broker whose log lies in one WAL.
fn start() -> Single {
    Single::on(Server::start(Settings::default().with("engine.shards", "1")).unwrap()).unwrap()
}

/// Kills the broker, damages its data if requested, restarts it, and audits.
fn audit_after_kill(single: &mut Single, damaged: Option<Damage>) -> Result<Vec<Violation>, String> {
    single.server.kill().unwrap();
    if let Some(damage_kind) = damaged {
        assert!(damage(&single.server.data_path(), damage_kind).unwrap() > 0);
    }
    single.server.restart().map_err(|error| format!("{error:#}"))?;
    Ok(single.audit().unwrap())
}

#[test]
fn the_audit_passes_a_broker_that_was_left_alone() {
    let mut small = start();
    small.write(20).unwrap();
    assert_eq!(audit_after_kill(&mut small, None).unwrap(), []);
    assert_eq!(small.acknowledged(), 20);
}

#[test]
fn the_audit_finds_an_acknowledgement_before_the_write() {
    let proxy = LyingProxy::start().unwrap();
    let server = Server::start(Settings::default().advertised(proxy.port())).unwrap();
    proxy.connect_to(server.port());
    let mut small = Single::on(server).unwrap();
    small.write(20).unwrap();
    proxy.lie(true);
    small.write(3).unwrap();
    proxy.lie(false);
    assert!(proxy.lies() >= 3, "{} lies", proxy.lies());
    // The audit's consumer connects to the proxy, which is honest with it.
    let found = audit_after_kill(&mut small, None).unwrap();
    assert!(found.contains(&Violation::Shrank { place: place(), end: 20, expected: 23 }), "{found:?}");
}

#[test]
fn the_audit_finds_a_batch_that_recovery_drops() {
    if Target::from_environment().unwrap() == Target::Kafka {
        // The damage is done to RustMQ's own log.
        return;
    }
    let mut small = start();
    small.write(20).unwrap();
    let found = audit_after_kill(&mut small, Some(Damage::Tail { groups: 2 })).unwrap();
    assert!(found.iter().any(|violation| matches!(violation, Violation::Shrank { .. })), "{found:?}");
}

#[test]
fn a_lost_batch_that_the_log_can_prove_is_refused_at_start() {
    if Target::from_environment().unwrap() == Target::Kafka {
        return;
    }
    let mut small = start();
    small.write(20).unwrap();
    // One more group, written after the damaged ones, proves that they were durable.
    small.server.kill().unwrap();
    small.server.restart().unwrap();
    let refused = audit_after_kill(&mut small, Some(Damage::Hole { groups: 2 })).unwrap_err();
    assert!(refused.contains("before it was ready"), "{refused}");
    assert!(refused.contains("--repair"), "the refusal must say what to do: {refused}");
}
