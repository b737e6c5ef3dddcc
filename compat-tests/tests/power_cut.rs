//! Power cuts under load, again and again: everything that was acknowledged exists afterwards. Also
//! proves the proof: the disk loses unsynced writes, and a broker that acknowledges before the sync
//! is found.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use rustmq_compat_tests::crash::audit::Violation;
use rustmq_compat_tests::crash::campaign::{self, Plan};
use rustmq_compat_tests::crash::single::Single;
use rustmq_compat_tests::disk::stack::{FileSystem, Stack};
use rustmq_compat_tests::power_cut::PowerCut;
use rustmq_compat_tests::{Server, Settings, Target, process};
use std::fs;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;
const DISK_SIZE: u64 = 1024 * MIB;

/// Overwrites the file's content in place with O_DIRECT, and syncs it if `synced` is set.
fn overwrite(file: &Path, byte: u8, synced: bool) {
    let source = tempfile::NamedTempFile::new().unwrap();
    fs::write(source.path(), [byte; 65_536]).unwrap();
    let mut command = Command::new("dd");
    let conversion = if synced { "conv=notrunc,fdatasync" } else { "conv=notrunc" };
    command.arg(format!("if={}", source.path().display())).arg(format!("of={}", file.display()));
    command.args(["bs=4096", "oflag=direct", conversion]);
    process::run_to_end(&mut command).unwrap();
}

#[test]
fn the_disk_loses_direct_writes_that_were_not_synced_and_keeps_synced_ones() {
    for kind in FileSystem::ALL {
        let stack = Stack::make(kind, DISK_SIZE, 1).unwrap();
        let names = ["synced", "unsynced"].map(|name| stack.root().join(name));
        for file in &names {
            overwrite(file, 1, true);
        }
        process::run_to_end(Command::new("sync").arg("-f").arg(stack.root())).unwrap();
        overwrite(&names[0], 2, true);
        overwrite(&names[1], 2, false);
        assert_eq!(fs::read(&names[1]).unwrap(), [2; 65_536], "{kind}: a read sees what is in the cache");
        let loss = stack.cut(0.0, || Ok(())).unwrap();
        assert!(loss.lost > 0, "{kind}: {loss}");
        assert_eq!(fs::read(&names[0]).unwrap(), [2; 65_536], "{kind}: the synced write");
        // The cache may have written back a little on its own.
        let old = fs::read(&names[1]).unwrap().iter().filter(|byte| **byte == 1).count();
        assert!(old > 0, "{kind}: the write that was not synced is wholly there");
        assert_eq!(fs::read(&names[1]).unwrap().len(), 65_536);
    }
}

fn acknowledged_work_survives_on(kind: FileSystem) {
    let mut plan = Plan::from_environment("POWER_CUT", 4).unwrap();
    plan.seed ^= u64::from(kind == FileSystem::Xfs);
    eprintln!("{kind}: POWER_CUT_ROUNDS={} POWER_CUT_SEED={}", plan.rounds, plan.seed);
    let mut power = PowerCut::prepare(kind, plan.seed).unwrap();
    let settings = campaign::settings().data(power.stack().root().join("data"));
    let summary = campaign::run(plan, settings, &mut power).unwrap_or_else(|error| panic!("{kind}: {error:#}"));
    eprintln!("{kind}: {summary}; {}", power.loss);
    assert_eq!(summary.rounds, plan.rounds);
    assert!(summary.records > 100 * u64::from(plan.rounds), "hardly any load: {summary}");
    assert!(summary.commits > 10 * u64::from(plan.rounds), "hardly any commits: {summary}");
    assert!(summary.idle_rounds <= 1 + plan.rounds / 4, "too many idle rounds: {summary}");
    assert!(power.losing_cuts > plan.rounds / 3, "only {} cuts lost anything", power.losing_cuts);
}

#[test]
fn acknowledged_work_survives_power_cuts_on_ext4() {
    acknowledged_work_survives_on(FileSystem::Ext4);
}

#[test]
fn acknowledged_work_survives_power_cuts_on_xfs() {
    acknowledged_work_survives_on(FileSystem::Xfs);
}

/// The number of lost records out of 20 acknowledged ones, after the disk lost all unsynced writes.
fn lost_by(target: Target, settings: Settings) -> usize {
    let mut power = PowerCut::prepare(FileSystem::Ext4, 1).unwrap();
    let server = Server::start_as(target, settings.data(power.stack().root().join("data"))).unwrap();
    let mut single = Single::on(server).unwrap();
    single.write(5).unwrap();
    // Folders and metadata are not the subject here.
    process::run_to_end(Command::new("sync").arg("-f").arg(power.stack().root())).unwrap();
    single.write(20).unwrap();
    power.cut(&mut single.server, 0.0).unwrap();
    single.server.restart().unwrap();
    let broken = single.audit().unwrap();
    let lost = broken.iter().map(|violation| match violation {
        Violation::Shrank { end, expected, .. } => usize::try_from(expected - end).unwrap(),
        other => panic!("{other}"),
    });
    let lost = lost.sum();
    assert_eq!(single.acknowledged(), 25);
    lost
}

#[test]
fn a_broker_that_does_not_sync_is_found_out() {
    assert_eq!(lost_by(Target::RustMq, Settings::default()), 0);
    let lost = lost_by(Target::RustMq, Settings::default().with("wal.fsync_on_write", "false"));
    assert!(lost > 15, "only {lost} of 20 unsynced records are lost");
}

/// The records that Apache Kafka has lost.
fn lost_by_kafka(settings: Settings) -> usize {
    // It waits until the session of its previous process ends.
    let settings = settings.with("broker.session.timeout.ms", "1500").with("broker.heartbeat.interval.ms", "250");
    lost_by(Target::Kafka, settings.with("auto.create.topics.enable", "false"))
}

#[test]
fn apache_kafka_loses_what_it_was_not_told_to_flush() {
    let lost = lost_by_kafka(Settings::default());
    assert!(lost > 15, "only {lost} of 20 unsynced records are lost");
}

#[test]
fn apache_kafka_keeps_what_it_was_told_to_flush() {
    assert_eq!(lost_by_kafka(Settings::default().with("log.flush.interval.messages", "1")), 0);
}
