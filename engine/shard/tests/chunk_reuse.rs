//! The memory of recent batches is taken from the system once: with a full tail, appends of whatever size are copied into chunks that were
//! used before. Counted are the page faults of the whole process, so that this file has one test and no other runs beside it.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::collections::VecDeque;

use bytes::Bytes;
use engine_fixture::{Fixture, batch, id, open, to_append};
use rustmq_engine_api::{Append, Engine, TrimTo};
use rustmq_engine_shard::Driver;
use rustmq_model::{ByteSize, Offset};

/// The broker's allocator. The system's gives memory at the end of its heap back after each commit and
/// takes it again for the next one's list of batches, which would count as page faults.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What a commit gathers while another is under way, at a high rate.
const REQUEST_BYTES: usize = 8 * MIB;
const MEASURED_BYTES: usize = 192 * MIB;
const FAULTS_PER_GB_MAX: f64 = 5_000.0;

/// Pages that this process touched first, or that were not mapped, since its start.
fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Field 10 of proc(5); the name may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(7).unwrap().parse().unwrap()
}

fn batches(sizes: &[usize]) -> Vec<Bytes> {
    sizes.iter().map(|size| batch(&[&vec![7; *size]])).collect()
}

/// What the log keeps: more than the tail memory, less than its capacity.
const KEPT_BYTES: usize = 128 * MIB;

/// The log's newest requests: the offset that each ends with, and its bytes.
#[derive(Default)]
struct Kept(VecDeque<(Offset, usize)>);

impl Kept {
    /// Deletes what is older than the tail memory reaches.
    async fn trim(&mut self, engine: &Engine) {
        let mut bytes: usize = self.0.iter().map(|(_, bytes)| bytes).sum();
        while bytes > KEPT_BYTES {
            let (last, deleted) = self.0.pop_front().unwrap();
            bytes -= deleted;
            engine.trim(id(0), TrimTo::Offset(last)).await.unwrap();
        }
    }
}

/// Appends the batches in turn, a request after the other.
async fn write(engine: &Engine, kept: &mut Kept, batches: &[Bytes], bytes: usize) {
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
        kept.0.push_back((last, asked));
        kept.trim(engine).await;
    }
}

#[test]
fn appends_of_every_size_fill_memory_that_was_used_before() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut fixture = Fixture::new(Driver::Auto);
    fixture.config.segment_size = ByteSize::mib(64);
    // What is kept, and the segments that a log keeps free.
    fixture.config.capacity = ByteSize::gib(1);
    fixture.config.tail_memory = ByteSize::mib(64);
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
        let mut kept = Kept::default();
        // Every load once: the tail is full, and the allocator has what the appends themselves take.
        for (_, batches) in &loads {
            write(&engine, &mut kept, batches, 64 * MIB).await;
        }
        for (name, batches) in &loads {
            let before = minor_faults();
            write(&engine, &mut kept, batches, MEASURED_BYTES).await;
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
