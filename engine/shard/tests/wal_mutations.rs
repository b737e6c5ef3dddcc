//! WAL files with random damage: flipped bits, overwritten bytes, zeroed sectors, truncated files.
//! The engine never panics, never returns a wrong byte, and never loses a record silently. Either
//! the start or a read is refused, naming the file and the offset. Only the last group, which
//! nothing proves, may be dropped, and the start reports that. `WAL_MUTATIONS` and
//! `WAL_MUTATION_SEED` choose the number of mutations and their seed.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine_fixture::{append_value, id, open};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustmq_engine_api::{Engine, Isolation, PartitionReader, ReadError, ReadRequest, TrimTo};
use rustmq_engine_shard::{Driver, EngineConfig, EngineSettings, Metrics, start};
use rustmq_model::{ByteSize, Offset, record};

const PARTITIONS: i32 = 4;
const SEGMENT: u64 = 128 << 10;

/// How the writing of a WAL ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Every group is proven.
    Shutdown,
    /// The last batch is in a group that nothing proves.
    Kill,
}

/// The acknowledged records of a partition.
#[derive(Clone, Debug, Default)]
struct Written {
    log_start: i64,
    values: Vec<Bytes>,
}

/// A sound WAL and its contents.
struct Image {
    name: &'static str,
    /// Whether slots hold remains of earlier segments.
    reused: bool,
    files: Vec<(PathBuf, Vec<u8>)>,
    written: BTreeMap<i32, Written>,
    /// The partition whose last batch nothing proves.
    unproven: Option<i32>,
}

fn config(dir: &Path) -> EngineConfig {
    let settings = EngineSettings {
        shards: Some(1),
        segment_size: ByteSize(SEGMENT),
        tail_memory: Some(ByteSize::mib(1)),
        read_threads: 1,
        driver: Driver::Epoll,
        ..EngineSettings::default()
    };
    let mut config = EngineConfig::new(settings, dir.join("wal"));
    config.capacity = ByteSize(SEGMENT * 32);
    config.idle_proof_after = Duration::from_secs(600);
    config
}

/// Uses memory where there is such a file system, because the tests concern no device.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

/// Writes batches of all sizes. `trims` frees segments, so that slots are reused.
async fn write_image(name: &'static str, dir: &Path, records: usize, trims: bool, end: End) -> Image {
    let mut random = StdRng::seed_from_u64(records as u64);
    let engine = start(&config(dir), &Metrics::default()).unwrap().0;
    let mut written: BTreeMap<i32, Written> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        open(&engine, partition).await;
        written.insert(partition, Written::default());
    }
    let mut last = 0;
    for number in 0..records {
        if trims && number % 100 == 99 {
            trim(&engine, &mut written).await;
        }
        last = random.random_range(0..PARTITIONS);
        let length = [10, 100, 1_000, 9_000][random.random_range(0..4)];
        let value: Bytes = (0..random.random_range(1..length)).map(|_| random.random::<u8>()).collect();
        append_value(&engine, last, &value).await.unwrap();
        written.get_mut(&last).unwrap().values.push(value);
    }
    let unproven = (end == End::Kill).then_some(last);
    let files = if end == End::Kill { files(dir) } else { Vec::new() };
    engine.shutdown().await;
    let files = if end == End::Kill { files } else { self::files(dir) };
    Image { name, reused: trims, files, written, unproven }
}

async fn trim(engine: &Engine, written: &mut BTreeMap<i32, Written>) {
    for (partition, written) in written {
        let to = written.values.len().saturating_sub(20);
        if to as i64 > written.log_start {
            engine.trim(id(*partition), TrimTo::Offset(Offset(to as i64))).await.unwrap();
            written.log_start = to as i64;
        }
    }
}

/// Restores the image, whatever a start has done to it.
fn restore(image: &Image, dir: &Path) {
    for (path, _) in files(dir) {
        if image.files.iter().all(|(known, _)| *known != path) {
            std::fs::remove_file(path).unwrap();
        }
    }
    for (path, bytes) in &image.files {
        if std::fs::read(path).ok().as_ref() != Some(bytes) {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

#[derive(Debug)]
struct Mutation {
    path: PathBuf,
    at: usize,
    kind: &'static str,
    /// Whether the block now looks as if nothing had ever been written to it.
    blank: bool,
}

/// Damages one slot file, as a rule within its content.
fn mutate(image: &Image, random: &mut StdRng) -> Mutation {
    let is_slot = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("slot-");
    let slots: Vec<_> =
        image.files.iter().filter(|(path, bytes)| is_slot(path) && bytes.iter().any(|b| *b != 0)).collect();
    let (path, sound) = slots[random.random_range(0..slots.len())];
    let mut at = random.random_range(0..sound.len());
    for _ in 0..200 {
        if sound[at] != 0 {
            break;
        }
        at = random.random_range(0..sound.len());
    }
    let mut bytes = sound.clone();
    let kind = match random.random_range(0..10) {
        0..5 => {
            bytes[at] ^= 1 << random.random_range(0..8);
            "a flipped bit"
        }
        5 | 6 => {
            let until = (at + random.random_range(1..200)).min(bytes.len());
            random.fill(&mut bytes[at..until]);
            "random bytes"
        }
        7 | 8 => {
            let sector = at / 512 * 512;
            bytes[sector..sector + 512].fill(0);
            "a sector of zeros"
        }
        _ => {
            // An empty file is what an interrupted preparation leaves: nothing can tell the
            // difference.
            bytes.truncate(at.max(1));
            "a file cut short"
        }
    };
    if bytes == *sound {
        bytes[at] ^= 1;
    }
    std::fs::write(path, &bytes).unwrap();
    let block = u32::from_le_bytes(sound[12..16].try_into().unwrap()) as usize;
    let block = bytes.get(at / block * block..at / block * block + block);
    let blank = block.is_some_and(|block| block.iter().all(|byte| *byte == 0));
    Mutation { path: path.clone(), at, kind, blank }
}

/// The consequence of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    ReadsRefused,
    TailDropped,
    Harmless,
}

/// Whether the text names the file and an offset in it.
fn names_place(text: &str, path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    (text.contains(&name) || text.contains(&name.replace('-', " "))) && text.contains("offset")
}

/// Starts on the damaged folder and checks everything. The error describes a broken promise.
async fn outcome(image: &Image, dir: &Path, mutation: &Mutation) -> Result<Outcome, String> {
    let (engine, report) = match start(&config(dir), &Metrics::default()) {
        Ok(started) => started,
        Err(refused) => {
            let text = refused.to_string();
            let named = names_place(&text, &mutation.path);
            return if named { Ok(Outcome::Refused) } else { Err(format!("the refusal names no place: {text}")) };
        }
    };
    let mut refused = 0;
    let mut dropped = false;
    let mut broken = String::new();
    for (partition, written) in &image.written {
        let Some(reader) = engine.reader(id(*partition)) else {
            writeln!(broken, "partition {partition} is gone").unwrap();
            continue;
        };
        let (found, expected) = (reader.frontiers(), written.values.len() as i64);
        let lost_last = image.unproven == Some(*partition) && found.high_watermark.0 == expected - 1;
        dropped |= lost_last;
        if found.high_watermark.0 != expected && !lost_last || found.log_start.0 != written.log_start {
            writeln!(broken, "partition {partition} is {found:?}, written are {} to {expected}", written.log_start)
                .unwrap();
        }
        match check_values(&reader, written, &mutation.path).await {
            Ok(unreadable) => refused += unreadable,
            Err(text) => writeln!(broken, "partition {partition}: {text}").unwrap(),
        }
    }
    // A group that is completely gone, or looks like one of an earlier segment, cannot be told from
    // one that never existed.
    let is_reported = report.torn_tails == 1 || mutation.blank || image.reused;
    if dropped && !is_reported {
        writeln!(broken, "the last batch was dropped in silence").unwrap();
    }
    // The log takes appends.
    if let Err(error) = append_value(&engine, 0, b"after").await {
        writeln!(broken, "an append fails: {error}").unwrap();
    }
    engine.shutdown().await;
    match (broken.is_empty(), refused, dropped) {
        (false, ..) => Err(broken),
        (true, 0, false) => Ok(Outcome::Harmless),
        (true, 0, true) => Ok(Outcome::TailDropped),
        (true, ..) => Ok(Outcome::ReadsRefused),
    }
}

/// Reads a partition and returns the number of unreadable offsets. Every readable record must be
/// the written one.
async fn check_values(reader: &PartitionReader, written: &Written, path: &Path) -> Result<usize, String> {
    let mut next = reader.frontiers().log_start;
    let mut unreadable = 0;
    while next < reader.frontiers().high_watermark {
        let isolation = Isolation::ReadUncommitted;
        let read = reader.read(ReadRequest { from: next, max_bytes: 64 << 10, at_least_one: true, isolation }).await;
        let read = match read {
            Ok(read) => read,
            Err(ReadError::Storage(failure)) if names_place(&failure.detail, path) => {
                unreadable += 1;
                next = Offset(next.0 + 1);
                continue;
            }
            Err(other) => return Err(format!("reading {next:?}: {other}")),
        };
        if read.batches.is_empty() {
            return Err(format!("nothing at {next:?}"));
        }
        for batch in read.batches {
            let records = record::read(&batch, 1 << 20).map_err(|error| format!("a batch that is none: {error}"))?;
            for record in records {
                let value = usize::try_from(record.offset.0).ok().and_then(|at| written.values.get(at));
                if record.offset != next || value != record.value.as_ref() {
                    return Err(format!("a wrong record: {:?} at {next:?}", record.offset));
                }
                next = Offset(next.0 + 1);
            }
        }
    }
    Ok(unreadable)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn damage_is_never_served_and_never_passed_over_in_silence() {
    let (count, seed) = (number("WAL_MUTATIONS", 2_000), number("WAL_MUTATION_SEED", u64::from(rand::random::<u32>())));
    writeln!(std::io::stderr(), "WAL_MUTATIONS={count} WAL_MUTATION_SEED={seed}").unwrap();
    let inherited = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        inherited(info);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folders: Vec<_> = (0..4).map(|_| folder()).collect();
    let images = runtime.block_on(async {
        [
            write_image("one segment, killed", folders[0].path(), 20, false, End::Kill).await,
            write_image("one segment, shut down", folders[1].path(), 20, false, End::Shutdown).await,
            write_image("several segments, killed", folders[2].path(), 200, false, End::Kill).await,
            write_image("used slots, killed", folders[3].path(), 1_400, true, End::Kill).await,
        ]
    });
    let mut random = StdRng::seed_from_u64(seed);
    let mut tally: BTreeMap<(&str, Outcome), u64> = BTreeMap::new();
    let mut broken = Vec::new();
    for number in 0..count {
        let at = random.random_range(0..images.len());
        let (image, dir) = (&images[at], folders[at].path());
        restore(image, dir);
        let mutation = mutate(image, &mut random);
        let looked = runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), outcome(image, dir, &mutation)).await });
        let result = looked.unwrap_or_else(|_| Err("it hangs".into()));
        match result {
            Ok(outcome) if PANICS.load(Ordering::SeqCst) == 0 => *tally.entry((image.name, outcome)).or_default() += 1,
            other => {
                let panics = PANICS.swap(0, Ordering::SeqCst);
                let Mutation { path, at, kind, .. } = &mutation;
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                broken.push(format!("{number}, {}: {kind} in {name} at {at}: {other:?}, {panics} panics", image.name));
            }
        }
    }
    writeln!(std::io::stderr(), "{tally:#?}").unwrap();
    let shown = usize::try_from(number("WAL_MUTATIONS_SHOWN", 20)).unwrap();
    let first: String = broken.iter().take(shown).map(|line| format!("  {line}\n")).collect();
    assert!(broken.is_empty(), "WAL_MUTATION_SEED={seed}: {} of {count} broke a promise:\n{first}", broken.len());
    assert_eq!(tally.values().sum::<u64>(), count);
    let harmless: u64 = tally.iter().filter(|((_, outcome), _)| *outcome == Outcome::Harmless).map(|(_, n)| n).sum();
    assert!(harmless < count * 3 / 4, "{harmless} of {count} mutations did no harm at all");
}

#[test]
fn the_check_finds_a_wrong_byte() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = folder();
    runtime.block_on(async {
        let mut image = write_image("sound", folder.path(), 20, false, End::Shutdown).await;
        let nothing = Mutation { path: image.files[0].0.clone(), at: 0, kind: "nothing", blank: false };
        restore(&image, folder.path());
        assert_eq!(outcome(&image, folder.path(), &nothing).await, Ok(Outcome::Harmless));
        let written = image.written.values_mut().find(|written| !written.values.is_empty()).unwrap();
        written.values[0] = Bytes::from_static(b"other");
        restore(&image, folder.path());
        let found = outcome(&image, folder.path(), &nothing).await.unwrap_err();
        assert!(found.contains("a wrong record"), "{found}");
    });
}
