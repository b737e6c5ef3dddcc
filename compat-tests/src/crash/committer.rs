//! Consumers that commit under load: members of a group, as applications use them, and a plain
//! committer that sees every partition's error code. Both report only acknowledged commits.

use super::admin::Admin;
use super::audit::TopicPartition;
use super::ledger::Report;
use super::payload;
use super::writer::{Load, quick_client};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use std::thread;
use std::time::{Duration, Instant};

/// The group that the members join.
pub const GROUP: &str = "members";

/// A member of `GROUP`: reads, checks each record's bytes, and commits its position.
pub fn run_member(bootstrap: &str, load: &Load, topic: &str) -> Result<()> {
    let mut config = quick_client(bootstrap);
    config.set("group.id", GROUP).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "300").set("fetch.wait.max.ms", "50");
    let member: BaseConsumer = config.create()?;
    member.subscribe(&[topic])?;
    while !load.is_stopped() {
        let until = Instant::now() + Duration::from_millis(20);
        while Instant::now() < until {
            // Errors are crashes of the broker, as this client sees them.
            let Some(Ok(message)) = member.poll(Duration::from_millis(5)) else { continue };
            if message.payload().and_then(payload::parse).is_none() {
                let (partition, offset) = (message.partition(), message.offset());
                load.ledger.report(Report::Failure(format!("a member got foreign bytes at {partition}, {offset}")));
            }
        }
        commit_position(load, &member);
    }
    Ok(())
}

fn commit_position(load: &Load, member: &BaseConsumer) {
    let Ok(position) = member.position() else { return };
    let mut offsets = TopicPartitionList::new();
    let mut sent = Vec::new();
    for element in position.elements() {
        let Some(offset) = element.offset().to_raw().filter(|offset| *offset >= 0) else { continue };
        let place = TopicPartition::new(element.topic(), element.partition());
        // The client knows that each offset of the list is valid.
        if offsets.add_partition_offset(element.topic(), element.partition(), element.offset()).is_ok() {
            load.ledger.send_commit(GROUP, &place, offset);
            sent.push((place, offset));
        }
    }
    if !sent.is_empty() && member.commit(&offsets, CommitMode::Sync).is_ok() {
        for (place, offset) in sent {
            load.ledger.report(Report::Commit { group: GROUP.into(), place, offset });
        }
    }
}

/// Commits rising offsets in `places`, for groups without members.
pub fn run_plain(port: u16, load: &Load, places: &[TopicPartition], seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut next = 0;
    let mut connection: Option<Admin> = None;
    while !load.is_stopped() {
        // Paces the load; waits for no event.
        thread::sleep(Duration::from_millis(random.random_range(2..40)));
        let Some(admin) = connection.as_mut() else {
            connection = Admin::connect(port).ok();
            continue;
        };
        next += 1;
        let group = format!("plain-{}", random.random_range(0..8));
        let mut offsets: Vec<(TopicPartition, i64)> = places.iter().map(|place| (place.clone(), next)).collect();
        offsets.truncate(random.random_range(1..=places.len()));
        for (place, offset) in &offsets {
            load.ledger.send_commit(&group, place, *offset);
        }
        let Ok(results) = admin.commit(&group, &offsets) else {
            connection = None;
            continue;
        };
        for (place, code) in results {
            if code == 0 {
                load.ledger.report(Report::Commit { group: group.clone(), place, offset: next });
            }
        }
    }
}
