//! Reads logs with a raw consumer, from given offsets to their current ends. Reports their content
//! without judging it.

use super::admin::Admin;
use super::audit::{Reading, TopicPartition};
use super::payload;
use super::writer::quick_client;
use anyhow::{Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After this long without a record, missing records count as lost.
const SILENCE: Duration = Duration::from_secs(5);

/// Reads each place from its offset on.
pub fn read_logs(
    bootstrap: &str,
    port: u16,
    from: &[(TopicPartition, i64)],
) -> Result<BTreeMap<TopicPartition, Reading>> {
    let places: Vec<TopicPartition> = from.iter().map(|(place, _)| place.clone()).collect();
    let mut admin = Admin::connect(port)?;
    let ends = admin.ends(&places)?;
    let readings = from.iter().map(|(place, from)| {
        let reading = Reading { from: *from, end: ends[place], ..Reading::default() };
        (place.clone(), reading)
    });
    let mut readings: BTreeMap<TopicPartition, Reading> = readings.collect();
    if !read(bootstrap, &mut readings)? {
        // Distinguishes missing records from a consumer that hangs.
        let found = count(&readings);
        read(bootstrap, &mut readings)?;
        let late = count(&readings) - found;
        ensure!(
            late == 0,
            "a consumer got nothing for {SILENCE:?}, and another then {late} records that it had not got"
        );
    }
    for (place, log_start) in admin.starts(&places)? {
        readings.entry(place).or_default().log_start = log_start;
    }
    Ok(readings)
}

fn count(readings: &BTreeMap<TopicPartition, Reading>) -> usize {
    readings.values().map(|reading| reading.records.len()).sum()
}

/// The offset where the reading continues.
fn next(reading: &Reading) -> i64 {
    reading.records.last().map_or(reading.from, |(offset, _)| offset + 1)
}

/// Continues with a new consumer. Returns whether every end was reached.
fn read(bootstrap: &str, readings: &mut BTreeMap<TopicPartition, Reading>) -> Result<bool> {
    let mut assigned = TopicPartitionList::new();
    let mut due = 0;
    for (place, reading) in readings.iter().filter(|(_, reading)| next(reading) < reading.end) {
        assigned.add_partition_offset(&place.topic, place.partition, Offset::Offset(next(reading)))?;
        due += 1;
    }
    let mut config = quick_client(bootstrap);
    config.set("group.id", "audit").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("check.crcs", "true").set("fetch.wait.max.ms", "20").set("fetch.error.backoff.ms", "20");
    let consumer: BaseConsumer = config.create()?;
    consumer.assign(&assigned)?;
    let mut heard = Instant::now();
    while due > 0 && heard.elapsed() < SILENCE {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let Some(reading) = readings.get_mut(&TopicPartition::new(message.topic(), message.partition())) else {
            continue;
        };
        heard = Instant::now();
        let offset = message.offset();
        if offset < reading.end {
            reading.records.push((offset, message.payload().and_then(payload::parse)));
            due -= usize::from(offset == reading.end - 1);
        }
    }
    Ok(due == 0)
}
