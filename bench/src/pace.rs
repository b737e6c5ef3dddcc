//! The load that measures latency. Records are due at fixed instants and are sent then, whether the
//! broker keeps up or not (an open loop). Each is measured from its due time until its
//! acknowledgement reaches the application.

use crate::broker::Broker;
use crate::client::Producing;
use crate::figure::{Figure, Unit, count, quantiles};
use crate::latency::Latencies;
use crate::payload::Payloads;
use crate::timeline::{self, Timeline, Timing};
use crate::usage::{self, Memory, Sample, Spent};
use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const BUFFER_FULL_PAUSE: Duration = Duration::from_micros(200);
/// The time after which a sender gives up on a full buffer.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// The time that records of the window may take beyond it.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Records a second, over all producers.
    pub rate: u32,
    pub producers: u32,
    pub partitions: u32,
    pub spread: Spread,
    pub record_bytes: usize,
    pub producing: Producing,
}

/// The partitions that the producers send to. The producers take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each producer sends to all partitions in turn, and begins at its own one.
    Everywhere,
    /// Each producer sends to as many partitions as the others, in turn, and no other producer
    /// sends to them. librdkafka's thread examines every partition that its producer has sent to,
    /// each time it wakes.
    OwnShare,
}

#[derive(Debug)]
pub struct Paced {
    pub latency: Histogram<u64>,
    /// Due in the window, and not acknowledged by the end of the patience.
    pub unacknowledged: u64,
    /// Due in the window.
    pub due: u64,
    pub spent: Spent,
    pub memory: Memory,
}

impl Paced {
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = quantiles(&self.latency);
        figures.push(Figure::new("broker CPU", Unit::Cores, self.spent.cores(self.spent.broker)));
        figures.push(Figure::mebibytes("peak memory", self.memory.peak));
        figures
    }
}

/// Counts the deliveries of all producers.
struct Deliveries {
    latencies: Arc<Latencies>,
    refused: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// The instant when the record was due.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due: usize) {
        match result {
            Ok(_) => self.latencies.arrived(due as u64),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight), _)) => {
            }
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

type PacedProducer = ThreadedProducer<Deliveries>;

/// Runs the load on `topic`, which must exist, along `timeline`.
pub fn run(broker: &Broker, topic: &str, pace: Pace, timeline: Timeline) -> Result<Paced> {
    ensure!(pace.rate > 0 && pace.producers > 0 && pace.partitions > 0, "an empty load: {pace:?}");
    let latencies = Arc::new(Latencies::new(timeline));
    let refused = Arc::new(AtomicU64::new(0));
    let mut producers = Vec::new();
    for _ in 0..pace.producers {
        let context = Deliveries { latencies: Arc::clone(&latencies), refused: Arc::clone(&refused) };
        let producer: PacedProducer = pace.producing.config(&broker.bootstrap()).create_with_context(context)?;
        producers.push(producer);
    }
    let producers = Arc::new(producers);
    let sender = {
        let (producers, topic) = (Arc::clone(&producers), topic.to_owned());
        thread::spawn(move || send(&producers, &topic, pace, timeline))
    };
    let window = timeline.window();
    timeline.wait_until(window.start);
    let before = broker.open_window()?;
    timeline.wait_until(window.end);
    let spent = Sample::take(broker.pid())? - before;
    let memory = broker.pid().map(usage::memory).transpose()?.unwrap_or_default();
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender has panicked"))?;
    let due = sent.with_context(|| broker.log_tail())?;
    let unacknowledged = latencies.settle(due, PATIENCE);
    let latency = latencies.take();
    for producer in producers.iter() {
        // The remaining records are counted as unacknowledged above.
        producer.purge(PurgeConfig::default().queue().inflight());
    }
    let refused = refused.load(Ordering::Relaxed);
    ensure!(refused == 0, "{refused} records were refused\n{}", broker.log_tail());
    Ok(Paced { latency, unacknowledged, due, spent, memory })
}

/// Sends each record when it is due. Returns the number of records that were due in the window.
fn send(producers: &[PacedProducer], topic: &str, pace: Pace, timeline: Timeline) -> Result<u64> {
    timeline::wake_precisely();
    let payloads = Payloads::of_size(pace.record_bytes);
    let window = timeline.window();
    let mut value = payloads.pick(0).to_vec();
    let mut due_in_window = 0;
    for number in 0_u64.. {
        let due = due(number, pace.rate);
        if due >= window.end {
            break;
        }
        timeline.wait_until(due);
        let (producer, partition) = place(number, pace);
        // The value begins with the due time of the record, so that a consumer can read it.
        value.copy_from_slice(payloads.pick(usize::try_from(number).context("an index")?));
        stamp(&mut value, due);
        let opaque = usize::try_from(due).context("the bench needs 64 bits")?;
        let record = || {
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, opaque)
                .partition(partition)
                .payload(value.as_slice())
        };
        while let Err((error, _)) = producers[producer].send(record()) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                    let late = timeline.now().saturating_sub(due);
                    ensure!(late < timeline::nanos(STUCK_AFTER), "the buffer was full for {STUCK_AFTER:?}");
                    thread::sleep(BUFFER_FULL_PAUSE);
                }
                other => bail!("sending: {other}"),
            }
        }
        due_in_window += u64::from(window.contains(&due));
    }
    Ok(due_in_window)
}

/// The due time of the record with this number. The records are spread evenly, and rounding errors
/// do not add up.
fn due(number: u64, rate: u32) -> u64 {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
    u64::try_from(nanos).expect("a run is shorter than five centuries")
}

fn place(number: u64, pace: Pace) -> (usize, i32) {
    let (producers, partitions) = (u64::from(pace.producers), u64::from(pace.partitions));
    let (producer, turn) = (number % producers, number / producers);
    let first = producer * partitions / producers;
    let partition = match pace.spread {
        Spread::Everywhere => (first + turn) % partitions,
        Spread::OwnShare => first + turn % (partitions / producers).max(1),
    };
    let narrow = "below a 32-bit bound";
    (usize::try_from(producer).expect(narrow), i32::try_from(partition).expect(narrow))
}

const STAMP: usize = size_of::<u64>();

fn stamp(value: &mut [u8], due: u64) {
    if let Some(place) = value.first_chunk_mut::<STAMP>() {
        *place = due.to_le_bytes();
    }
}

/// The due time of the record with this value.
pub fn stamped(value: &[u8]) -> Option<u64> {
    value.first_chunk::<STAMP>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Runs the load on a new topic.
pub fn run_alone(broker: &Broker, pace: Pace, timing: Timing) -> Result<Paced> {
    broker.create_topic("pace", i32::try_from(pace.partitions)?)?;
    run(broker, "pace", pace, Timeline::begin(timing))
}

impl Paced {
    /// The fraction of the due records that were acknowledged in time, from 0 to 1.
    pub fn kept_up(&self) -> f64 {
        1.0 - count(self.unacknowledged) / count(self.due.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn pace(producers: u32, partitions: u32) -> Pace {
        let spread = Spread::Everywhere;
        Pace { rate: 3, producers, partitions, spread, record_bytes: 100, producing: Producing::PROMPT }
    }

    #[test]
    fn the_schedule_does_not_drift() {
        assert_eq!(due(0, 3), 0);
        assert_eq!(due(1, 3), 333_333_333);
        assert_eq!(due(3_000_000, 3), 1_000_000 * 1_000_000_000);
    }

    #[test]
    fn every_partition_gets_its_equal_share() {
        for (producers, partitions) in [(1, 1), (8, 1000), (30, 180), (7, 3)] {
            let mut shares: BTreeMap<i32, u32> = BTreeMap::new();
            for number in 0..u64::from(producers) * u64::from(partitions) {
                *shares.entry(place(number, pace(producers, partitions)).1).or_default() += 1;
            }
            assert_eq!(shares.len(), usize::try_from(partitions).expect("small"));
            assert!(shares.values().all(|share| *share == producers), "{shares:?}");
        }
    }

    #[test]
    fn nobody_else_sends_to_a_producers_own_share() {
        let pace = Pace { spread: Spread::OwnShare, ..pace(8, 1000) };
        let mut shares: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for number in 0..2_000 {
            let (producer, partition) = place(number, pace);
            shares.entry(partition).or_default().push(producer);
        }
        assert_eq!(shares.len(), 1000);
        assert!(shares.values().all(|senders| senders.len() == 2 && senders[0] == senders[1]), "{shares:?}");
    }

    #[test]
    fn a_stamp_is_read_back() {
        let mut value = [7_u8; 100];
        stamp(&mut value, 123_456_789_012);
        assert_eq!(stamped(&value), Some(123_456_789_012));
        assert_eq!(stamped(&[1, 2, 3]), None);
    }
}
