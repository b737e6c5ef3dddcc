//! Counts the machine's allocations: none per record, and no more per batch and commit than the
//! limits below. Excludes the driver's buffers, the cells of answers, and the requests, which are
//! made before the count begins.

use bytes::Bytes;
use rustmq_model::Timestamp;
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;

use super::driver::{Driver, Setting};
use super::host::Reply;
use super::requests::{Answers, id};
use crate::log::AppendFrontier;
use crate::shard::error::AppendError;
use crate::shard::request::{Append, AppendSource, Appended};

const COMMITS: u32 = 500;

fn batch(records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    (0..records).for_each(|_| builder.push(Timestamp(1_000), None, Some(b"v"), &[]));
    builder.build()
}

/// The allocations of [`COMMITS`] commits, each with one request of `batches` batches of `records`
/// records.
fn count(batches: usize, records: usize) -> u64 {
    // One segment and one chunk hold everything.
    let setting = Setting { blocks: 1 << 16, piece: 4 << 20, budget: usize::MAX, ..Setting::default() };
    let mut driver = Driver::with(1, setting);
    let batch = batch(records);
    let header = BatchHeader::parse(&batch).unwrap();
    let append = || Append {
        id: id(0),
        leader_epoch: None,
        batch: batch.clone(),
        header,
        source: AppendSource::Client(None),
        until: AppendFrontier::DurableEnd,
    };
    let request = |_| (std::iter::repeat_with(append).take(batches).collect(), Reply::new(0));
    // The first commits allocate the capacity that later ones reuse.
    let mut warm: Vec<(Vec<Append>, _)> = (0..2 * COMMITS).map(request).collect();
    let first = warm.drain(..warm.len() / 2);
    first.for_each(|(appends, reply)| commit(&mut driver, appends, reply));
    allocation_counter::measure(|| warm.into_iter().for_each(|(appends, reply)| commit(&mut driver, appends, reply)))
        .count_total
}

fn commit(driver: &mut Driver, appends: Vec<Append>, reply: Answers<Appended, AppendError>) {
    let (shard, now) = (&mut driver.shard, driver.now);
    shard.handle_append(appends, reply);
    shard.handle_time(now);
    shard.stage(now);
    assert!(shard.poll_action().is_none());
    let commit = shard.poll_commit(now).unwrap();
    shard.on_committed(now, commit.number, Ok(()));
    let mut answers = 0;
    while shard.poll_action().is_some() {
        answers += 1;
    }
    assert_eq!(answers, 2, "the batches are published, and the request is answered");
}

#[test]
fn a_commit_allocates_a_few_times_and_a_batch_or_a_record_not_at_all() {
    let one = count(1, 1);
    assert!(one <= u64::from(9 * COMMITS + 10), "{one} in {COMMITS} commits");
    let (few, many) = (count(16, 1), count(32, 1));
    // Each list of batches grows once between 16 and 32.
    assert!(many - few <= u64::from(2 * COMMITS + 10), "{} more in {COMMITS} commits with 16 batches more", many - few);
    let longer = count(16, 10);
    assert!(longer <= few + 10, "{} more in {COMMITS} commits with ten times the records", longer - few);
}
