//! A paced load with live consumers, each of which reads all of it. Measures the time from a
//! record's due time until a consumer's application has it, and the broker's cost of the outgoing
//! data.

use crate::broker::Broker;
use crate::client;
use crate::latency::Latencies;
use crate::pace::{self, Pace, Paced};
use crate::timeline::{Timeline, Timing};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Relayed {
    pub paced: Paced,
    /// Summed over all consumers.
    pub latency: Histogram<u64>,
    /// The records of the window that all consumers received.
    pub bytes_out: u64,
    pub missing: u64,
}

pub fn run(broker: &Broker, pace: Pace, consumers: u64, timing: Timing) -> Result<Relayed> {
    let topic = "relay";
    broker.create_topic(topic, i32::try_from(pace.partitions)?)?;
    let timeline = Timeline::begin(timing);
    let latencies = Arc::new(Latencies::new(timeline));
    let stop = Arc::new(AtomicBool::new(false));
    let bytes = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    for _ in 0..consumers {
        let consumer = reader(&broker.bootstrap(), topic, client::WAIT_LIVE_MS)?;
        consumer.assign(&beginning(topic, pace.partitions)?)?;
        let (latencies, stop, bytes) = (Arc::clone(&latencies), Arc::clone(&stop), Arc::clone(&bytes));
        let window = timeline.window();
        readers.push(thread::spawn(move || {
            read(&consumer, &stop, |value| {
                let due = pace::stamped(value).context("a record without a stamp")?;
                latencies.arrived(due);
                if window.contains(&due) {
                    bytes.fetch_add(value.len() as u64, Ordering::Relaxed);
                }
                Ok(())
            })
        }));
    }
    let paced = pace::run(broker, topic, pace, timeline)?;
    ensure!(paced.unacknowledged == 0, "{} records were not acknowledged", paced.unacknowledged);
    let missing = latencies.settle(paced.due * consumers, PATIENCE);
    finish(readers, &stop)?;
    let bytes_out = bytes.load(Ordering::Relaxed);
    Ok(Relayed { paced, latency: latencies.take(), bytes_out, missing })
}

/// Connects a consumer that knows `topic` and reads nothing yet.
pub fn reader(bootstrap: &str, topic: &str, fetch_wait_ms: u32) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = client::consumer(bootstrap, fetch_wait_ms).create()?;
    consumer.fetch_metadata(Some(topic), CONNECTED_WITHIN)?;
    Ok(consumer)
}

/// Starts at offset 0 of every partition, which needs no request to the broker.
pub fn beginning(topic: &str, partitions: u32) -> Result<TopicPartitionList> {
    let mut places = TopicPartitionList::new();
    for partition in 0..partitions {
        places.add_partition_offset(topic, i32::try_from(partition)?, Offset::Offset(0))?;
    }
    Ok(places)
}

/// Passes every record's value to `each` until `stop` is set.
fn read(consumer: &BaseConsumer, stop: &AtomicBool, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        if let Some(message) = consumer.poll(POLL) {
            each(message?.payload().context("a record without a value")?)?;
        }
    }
    Ok(())
}

/// Stops the readers, and returns their errors.
pub fn finish(readers: Vec<JoinHandle<Result<()>>>, stop: &AtomicBool) -> Result<()> {
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().map_err(|_| anyhow::anyhow!("a reader has panicked"))??;
    }
    Ok(())
}
