//! A transactional producer under load: transactions of mixed sizes that commit, abort, or are left
//! open for the next producer of the same id to abort. What a client refuses or cannot know is
//! noted as such, and a new client goes on.

use super::audit::{Outcome, Transaction};
use super::payload::Piece;
use super::{GROUPS_TOPIC, PARTITIONS, Shared, TOPIC};
use crate::client::{Client, ClientKind, End, Refusal, open};
use crate::record::Draft;
use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

const RECORDS_MAX: u16 = 12;
/// A client that cannot become its id's producer for this long gives up.
const INITIALISED_WITHIN: Duration = Duration::from_secs(120);
/// Longer than a restart of the broker: no transaction is to expire while its producer can end it.
const TIMEOUT: Duration = Duration::from_secs(50);

pub struct Producer<'a> {
    kind: ClientKind,
    bootstrap: &'a str,
    shared: &'a Shared,
    /// In place of a name.
    number: u32,
    transactions: u64,
    random: StdRng,
    client: Box<dyn Client>,
}

/// The group whose offset is the number of a producer's last transaction.
pub fn group(number: u32) -> String {
    format!("producer-{number}")
}

/// Whether a client can send the offsets of a group that it is no member of.
pub fn sends_offsets(kind: ClientKind) -> bool {
    kind != ClientKind::Franz
}

impl<'a> Producer<'a> {
    pub fn new(kind: ClientKind, bootstrap: &'a str, shared: &'a Shared, number: u32, seed: u64) -> Result<Self> {
        let client = open(kind, bootstrap)?;
        let random = StdRng::seed_from_u64(seed);
        let mut producer = Producer { kind, bootstrap, shared, number, transactions: 0, random, client };
        producer.initialise()?;
        Ok(producer)
    }

    /// Produces until the load is stopped. `index` is the producer's among those that report idle.
    pub fn run(mut self, index: usize) -> Result<()> {
        while !self.shared.stopped.load(Ordering::SeqCst) {
            if self.shared.paused.load(Ordering::SeqCst) {
                self.shared.idle[index].store(true, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            self.shared.idle[index].store(false, Ordering::SeqCst);
            self.transact()?;
        }
        Ok(())
    }

    /// One transaction. None is open at its end.
    fn transact(&mut self) -> Result<()> {
        self.transactions += 1;
        let transaction = Transaction { producer: self.number, number: self.transactions };
        let fate = self.random.random_range(0..20);
        // An answer may be lost, and what is on its way to the broker must already be known.
        self.shared.note(transaction, Outcome::Unknown);
        let (outcome, is_sound) = match self.write(transaction) {
            // The commit was not requested, and never is.
            Err(_) => (Outcome::Aborted, false),
            Ok(()) if fate == 0 => (Outcome::Aborted, false),
            Ok(()) if fate < 5 => (Outcome::Aborted, self.client.end_transaction(End::Abort).is_ok()),
            Ok(()) => match self.client.end_transaction(End::Commit) {
                Ok(()) => (Outcome::Committed, true),
                Err(_) => (Outcome::Unknown, false),
            },
        };
        if !is_sound {
            self.client = open(self.kind, self.bootstrap)?;
            self.initialise()?;
        }
        self.shared.note(transaction, outcome);
        Ok(())
    }

    fn write(&mut self, transaction: Transaction) -> Result<(), Refusal> {
        self.client.begin_transaction()?;
        let count = self.random.random_range(1..=RECORDS_MAX);
        let drafts: Vec<Draft> = (0..count)
            .map(|index| {
                let value = Piece { transaction, index, count }.value(self.random.random_range(0..400));
                Draft::new("k", &value).in_partition(self.random.random_range(0..PARTITIONS))
            })
            .collect();
        let acks = self.client.send(TOPIC, &drafts)?;
        if let Some(refused) = acks.iter().find(|ack| ack.error != 0) {
            return Err(Refusal::new(refused.error, "a record was refused"));
        }
        if sends_offsets(self.kind) {
            let offset = i64::try_from(transaction.number).expect("a small number");
            self.client.send_offsets(&group(self.number), &[(GROUPS_TOPIC, 0, offset, "")])?;
        }
        Ok(())
    }

    /// Becomes the producer of its id, which ends what an earlier one has left open.
    fn initialise(&mut self) -> Result<()> {
        let id = format!("crash-{}", self.number);
        let begun = Instant::now();
        loop {
            let Err(refusal) = self.client.init_transactions(&id, Some(TIMEOUT)) else { return Ok(()) };
            if self.shared.stopped.load(Ordering::SeqCst) {
                return Ok(());
            }
            ensure!(begun.elapsed() < INITIALISED_WITHIN, "{} is refused its id: {refusal}", self.kind.name());
            self.client = open(self.kind, self.bootstrap).context("a new client")?;
        }
    }
}
