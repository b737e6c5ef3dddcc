//! The memory of recent batches is taken from the system once: with a full tail, appends of every
//! size are copied into used chunks. The test counts the page faults of the whole process, so it is
//! the only test in this file.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::collections::VecDeque;

use bytes::Bytes;
use engine_fixture::{Fixture, batch, id, open, to_append};
use rustmq_engine_api::{Append, Engine, TrimTo};
use rustmq_engine_shard::Driver;
use rustmq_model::{ByteSize, Offset};

/// The broker's allocator. The system's allocator returns memory at the end of its heap after each
/// commit and takes it again for the next commit's list of batches, which would count as page
/// faults.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The bytes that a commit gathers at a high rate while another is in flight.
const REQUEST_BYTES: usize = 8 * MIB;
const MEASURED_BYTES: usize = 192 * MIB;
const FAULTS_PER_GB_MAX: f64 = 5_000.0;

/// The number of page faults without disk reads since the start of the process.
fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Field 10 of proc(5). The process's name may contain anything, so parsing starts behind it.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(7).unwrap().parse().unwrap()
}

fn batches(sizes: &[usize]) -> Vec<Bytes> {
    sizes.iter().map(|size| batch(&[&vec![7; *size]])).collect()
}

/// The bytes that the log keeps: more than the tail memory, and less than its capacity.
const KEPT_BYTES: usize = 128 * MIB;

/// The log's newest requests: the end offset and the bytes of each.
#[derive(Default)]
struct NewestRequests(VecDeque<(Offset, usize)>);

impl NewestRequests {
    /// Deletes older requests than the tail memory holds.
    async fn trim(&mut self, engine: &Engine) {
        let mut bytes: usize = self.0.iter().map(|(_, bytes)| bytes).sum();
        while bytes > KEPT_BYTES {
            let (last, deleted) = self.0.pop_front().unwrap();
            bytes -= deleted;
            engine.trim(id(0), TrimTo::Offset(last)).await.unwrap();
        }
    }
}

/// Appends the batches in turn, one request after the other.
async fn write(engine: &Engine, newest: &mut NewestRequests, batches: &[Bytes], bytes: usize) {
    let mut written = 0;
    let mut turn = batches.iter().cycle();
    while written < bytes {
        let mut appends: Vec<Append> = Vec::new();
        let mut asked = 0;
        while asked < REQUEST_BYTES {
            let next = turn.next().unwrap();
            asked += next.len();
            appends.push(to_append(0, next.clone()));
        }
        written += asked;
        let appended = engine.append(appends).await.wait().await;
        let last = appended.into_iter().map(|appended| appended.unwrap().base_offset).max().unwrap();
        newest.0.push_back((last, asked));
        newest.trim(engine).await;
    }
}

#[test]
fn appends_of_every_size_fill_memory_that_was_used_before() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut fixture = Fixture::new(Driver::Auto);
    fixture.config.settings.segment_size = ByteSize::mib(64);
    // The kept bytes, and the segments that a log keeps free.
    fixture.config.capacity = ByteSize::gib(1);
    fixture.config.tail_memory.resize(Some(ByteSize::mib(64)));
    let loads: [(&str, Vec<usize>); 7] = [
        ("1 KiB", vec![KIB]),
        ("16 KiB", vec![16 * KIB]),
        ("1 MB, as librdkafka fills them", vec![1_000_000]),
        ("3 MB", vec![3_000_000]),
        ("larger than a chunk", vec![5_000_000]),
        ("10 MB", vec![10_000_000]),
        ("a mix", vec![100, 1_000_000, 20 * KIB, 7_000_000, 1_000, 2_500_000, 64 * KIB, 10_000_000, 1_000_000]),
    ];
    let loads = loads.map(|(name, sizes)| (name, batches(&sizes)));
    runtime.block_on(async {
        let engine = fixture.start();
        open(&engine, 0).await;
        let mut newest = NewestRequests::default();
        // Each load runs once before: this fills the tail, and gives the allocator the memory that
        // appends take.
        for (_, batches) in &loads {
            write(&engine, &mut newest, batches, 64 * MIB).await;
        }
        for (name, batches) in &loads {
            let before = minor_faults();
            write(&engine, &mut newest, batches, MEASURED_BYTES).await;
            let faults = minor_faults() - before;
            let gigabytes = MEASURED_BYTES as f64 / 1e9;
            let found = faults as f64 / gigabytes;
            assert!(
                found < FAULTS_PER_GB_MAX,
                "{name}: {faults} page faults while {MEASURED_BYTES} bytes were appended"
            );
        }
        engine.shutdown().await;
    });
}
