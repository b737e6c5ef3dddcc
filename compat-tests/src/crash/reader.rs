//! A look at logs with a raw consumer: from given offsets to where they end now. Says what is there, not whether it should be.

use super::admin::Admin;
use super::audit::{Place, Reading};
use super::payload;
use super::writer::quick_client;
use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Without a record for so long, what is missing is taken for lost.
const SILENCE: Duration = Duration::from_secs(5);

/// Reads each place from its offset on.
pub fn look(bootstrap: &str, port: u16, from: &[(Place, i64)]) -> Result<BTreeMap<Place, Reading>> {
    let places: Vec<Place> = from.iter().map(|(place, _)| place.clone()).collect();
    let mut admin = Admin::connect(port)?;
    let ends = admin.ends(&places)?;
    let mut readings: BTreeMap<Place, Reading> = BTreeMap::new();
    let mut assigned = TopicPartitionList::new();
    let mut due = 0;
    for (place, from) in from {
        let end = ends[place];
        readings.insert(place.clone(), Reading { from: *from, end, ..Reading::default() });
        if *from < end {
            assigned.add_partition_offset(&place.topic, place.partition, Offset::Offset(*from))?;
            due += 1;
        }
    }
    let mut config = quick_client(bootstrap);
    config.set("group.id", "audit").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("check.crcs", "true").set("fetch.wait.max.ms", "20").set("fetch.error.backoff.ms", "20");
    let consumer: BaseConsumer = config.create()?;
    consumer.assign(&assigned)?;
    let mut heard = Instant::now();
    while due > 0 && heard.elapsed() < SILENCE {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let Some(reading) = readings.get_mut(&Place::new(message.topic(), message.partition())) else { continue };
        heard = Instant::now();
        let offset = message.offset();
        if offset < reading.end {
            reading.records.push((offset, message.payload().and_then(payload::parse)));
            due -= usize::from(offset == reading.end - 1);
        }
    }
    for (place, log_start) in admin.starts(&places)? {
        readings.entry(place).or_default().log_start = log_start;
    }
    Ok(readings)
}
