//! The clients that write. A plain producer sends each batch once, with any ack level. An
//! idempotent one sends a batch again, to any broker, until it is answered. A transactional one
//! does the same with all batches of a transaction, and with the marker that ends it.

use std::time::Duration;

use rustmq_engine_core::replication::AckLevel;
use rustmq_model::TransactionEnd;
use rustmq_model::{Instant, ProducerEpoch, ProducerId, Sequence};

use super::batches::{Author, Batch};
use crate::Rng;

/// The time after which an unanswered batch is sent again.
const ANSWER_WAIT: Duration = Duration::from_millis(60);
/// The time after which a refused batch is sent again.
const RETRY_WAIT: Duration = Duration::from_millis(5);
const _: () = assert!(RETRY_WAIT.as_nanos() < ANSWER_WAIT.as_nanos());

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub producer: usize,
    /// Numbers the producer's batches. Each retry has the same number.
    pub number: u32,
    pub level: AckLevel,
    pub batch: Batch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Idempotent,
    Transactional,
}

/// The open transaction of a producer.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    batches_left: u32,
    end: TransactionEnd,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    request: Request,
    send_at: Instant,
}

#[derive(Debug)]
pub struct Producer {
    index: usize,
    kind: Kind,
    next_sequence: Sequence,
    outstanding: Option<Outstanding>,
    transaction: Option<Transaction>,
    sent: u32,
    rng: Rng,
}

/// Gives each batch a unique name.
#[derive(Debug, Default)]
pub struct Names(u32);

impl Names {
    fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

impl Producer {
    pub fn new(index: usize, rng: Rng) -> Self {
        let kind = [Kind::Idempotent, Kind::Transactional, Kind::Plain][index % 3];
        let (outstanding, transaction) = (None, None);
        Self { index, kind, next_sequence: Sequence(0), outstanding, transaction, sent: 0, rng }
    }

    /// Whether it has no unanswered request and no open transaction.
    pub const fn is_done(&self) -> bool {
        self.outstanding.is_none() && self.transaction.is_none()
    }

    /// The request that is due. With `finishes`, the producer starts nothing new.
    pub fn step(&mut self, now: Instant, names: &mut Names, finishes: bool) -> Option<Request> {
        if self.outstanding.is_none() {
            if finishes && self.transaction.is_none() {
                return None;
            }
            let request = self.next_request(names, finishes);
            self.outstanding = Some(Outstanding { request, send_at: now });
        }
        let outstanding = self.outstanding.as_mut().filter(|outstanding| outstanding.send_at <= now)?;
        outstanding.send_at = now.plus(ANSWER_WAIT);
        let request = outstanding.request;
        if self.kind == Kind::Plain {
            self.outstanding = None;
        }
        Some(request)
    }

    fn next_request(&mut self, names: &mut Names, finishes: bool) -> Request {
        self.sent += 1;
        let records = i32::try_from(1 + self.rng.below(3)).expect("a few");
        let batch = Batch::plain(names.next(), records, 80 + self.rng.below(200));
        let (id, epoch) = (i64::try_from(self.index).expect("a few producers"), ProducerEpoch(0));
        let author = Author { id: ProducerId(id), epoch, sequence: self.next_sequence };
        let (level, batch) = match self.kind {
            Kind::Plain => (self.level(), batch),
            Kind::Idempotent => (AckLevel::All, batch.of(author)),
            Kind::Transactional => (AckLevel::All, self.next_of_transaction(names, batch.of(author), finishes)),
        };
        if batch.header.has_producer() && batch.marker.is_none() {
            self.next_sequence = self.next_sequence.plus(records);
        }
        Request { producer: self.index, number: self.sent, level, batch }
    }

    fn next_of_transaction(&mut self, names: &mut Names, batch: Batch, finishes: bool) -> Batch {
        let rng = &mut self.rng;
        let transaction = self.transaction.get_or_insert_with(|| Transaction {
            batches_left: u32::try_from(1 + rng.below(4)).expect("a few"),
            end: if rng.below(3) == 0 { TransactionEnd::Abort } else { TransactionEnd::Commit },
        });
        if transaction.batches_left > 0 && !finishes {
            transaction.batches_left -= 1;
            return batch.in_transaction();
        }
        transaction.batches_left = 0;
        let marker = Batch::plain(names.next(), 1, 78);
        let Author { id, epoch, .. } =
            Author { id: batch.header.producer_id, epoch: batch.header.producer_epoch, sequence: Sequence::NONE };
        marker.of(Author { id, epoch, sequence: Sequence::NONE }).ending(transaction.end)
    }

    fn level(&mut self) -> AckLevel {
        match self.rng.below(6) {
            0 => AckLevel::None,
            1 => AckLevel::Leader,
            2 => AckLevel::Majority,
            3 => AckLevel::Custom(1 + self.rng.below(3)),
            _ => AckLevel::All,
        }
    }

    /// Handles the answer to a request. Returns how a transaction ended, if the answer ended one.
    pub fn on_answer(&mut self, now: Instant, number: u32, is_success: bool) -> Option<TransactionEnd> {
        let outstanding = self.outstanding.as_mut().filter(|outstanding| outstanding.request.number == number)?;
        if !is_success {
            outstanding.send_at = outstanding.send_at.min(now.plus(RETRY_WAIT));
            return None;
        }
        let ended = outstanding.request.batch.marker.map(|marker| marker.end);
        self.outstanding = None;
        if ended.is_some() {
            self.transaction = None;
        }
        ended
    }
}
