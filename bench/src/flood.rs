//! The load that measures throughput: one producer that sends as fast as its buffer takes records.
//! Counts the bytes that are acknowledged in the window. Its latency is that of a full buffer and
//! means nothing; `pace` measures latency.

use crate::broker::Broker;
use crate::client::Producing;
use crate::figure::count;
use crate::payload::Payloads;
use crate::timeline::{Timeline, Timing};
use crate::usage::{self, Memory, Sample, Spent};
use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The pause before the sender tries a full buffer again: a few percent of the time in which the
/// buffer empties.
const BUFFER_FULL_PAUSE: Duration = Duration::from_micros(500);
const FLUSH_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub struct Flood {
    pub partitions: i32,
    pub record_bytes: usize,
    pub producing: Producing,
}

#[derive(Debug)]
pub struct Flooded {
    /// Bytes that were acknowledged in the window.
    pub records: u64,
    pub bytes: u64,
    pub spent: Spent,
    pub memory: Memory,
}

impl Flooded {
    pub fn megabytes_per_second(&self) -> f64 {
        self.megabytes() / self.spent.wall.as_secs_f64()
    }

    pub fn records_per_second(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a count of records is far below 2^53")]
        let records = self.records as f64;
        records / self.spent.wall.as_secs_f64()
    }

    pub fn broker_seconds_per_gigabyte(&self) -> f64 {
        self.spent.broker.as_secs_f64() / (self.megabytes() / 1e3)
    }

    pub fn faults_per_gigabyte(&self) -> f64 {
        count(self.spent.broker_faults) / (self.megabytes() / 1e3)
    }

    fn megabytes(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a count of bytes is far below 2^53")]
        let bytes = self.bytes as f64;
        bytes / 1e6
    }
}

#[derive(Default)]
struct Acknowledged {
    records: AtomicU64,
    refused: AtomicU64,
}

struct Deliveries(Arc<Acknowledged>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.0.records } else { &self.0.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Creates `topic`, floods it, and reports the window.
pub fn run(broker: &Broker, topic: &str, flood: Flood, timing: Timing) -> Result<Flooded> {
    broker.create_topic(topic, flood.partitions)?;
    let acknowledged = Arc::new(Acknowledged::default());
    let producer: Arc<ThreadedProducer<Deliveries>> = Arc::new(
        flood.producing.config(&broker.bootstrap()).create_with_context(Deliveries(Arc::clone(&acknowledged)))?,
    );
    let stop = Arc::new(AtomicBool::new(false));
    let sender = {
        let (producer, stop, topic) = (Arc::clone(&producer), Arc::clone(&stop), topic.to_owned());
        thread::spawn(move || send(&producer, &topic, flood, &stop))
    };
    let timeline = Timeline::begin(timing);
    let window = timeline.window();
    timeline.wait_until(window.start);
    let (before, first) = (broker.open_window()?, acknowledged.records.load(Ordering::Relaxed));
    timeline.wait_until(window.end);
    let (after, last) = (Sample::take(broker.pid())?, acknowledged.records.load(Ordering::Relaxed));
    let memory = broker.pid().map(usage::memory).transpose()?.unwrap_or_default();
    stop.store(true, Ordering::Relaxed);
    sender.join().map_err(|_| anyhow::anyhow!("the sender has panicked"))??;
    let records = last - first;
    ensure!(records > 0, "nothing was acknowledged in the window\n{}", broker.log_tail());
    producer.flush(FLUSH_WITHIN).with_context(|| broker.log_tail())?;
    let refused = acknowledged.refused.load(Ordering::Relaxed);
    ensure!(refused == 0, "{refused} records were refused\n{}", broker.log_tail());
    Ok(Flooded { records, bytes: records * flood.record_bytes as u64, spent: after - before, memory })
}

fn send(producer: &ThreadedProducer<Deliveries>, topic: &str, flood: Flood, stop: &AtomicBool) -> Result<()> {
    let payloads = Payloads::of_size(flood.record_bytes);
    for (index, partition) in (0..flood.partitions).cycle().enumerate() {
        let record = || BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(payloads.pick(index));
        while let Err((error, _)) = producer.send(record()) {
            match error {
                // A broker that no longer acknowledges anything keeps the buffer full to the end.
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) if !stop.load(Ordering::Relaxed) => {
                    thread::sleep(BUFFER_FULL_PAUSE);
                }
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => return Ok(()),
                other => bail!("sending: {other}"),
            }
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}
