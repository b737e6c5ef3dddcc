#![allow(clippy::unwrap_used)]
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};

use rustmq_model::ByteSize;

use super::{FrameError, FrameReader, Pace, REQUEST_FREE_BYTES, ReadTimeouts, RequestMemory};

const STALL_MAX: Duration = Duration::from_secs(30);
const RATE_MIN: usize = 64 << 10;

fn reader<R: AsyncRead + Unpin>(stream: R, memory: &RequestMemory, length_max: usize) -> FrameReader<R> {
    let pace = Pace { stall_max: STALL_MAX, bytes_per_second_min: RATE_MIN as u64 };
    FrameReader::new(stream, memory.clone(), length_max, ReadTimeouts { idle_max: Duration::from_mins(10), pace })
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

async fn read(bytes: &[u8], length_max: usize) -> (Vec<Bytes>, Result<(), FrameError>) {
    let mut reader = reader(bytes, &RequestMemory::new(ByteSize::mib(2)), length_max);
    let mut frames = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(frame)) => frames.push(frame.bytes),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

#[tokio::test]
async fn frames_are_told_apart() {
    let mut bytes = framed(b"12345678");
    bytes.extend(framed(&[7; 300_000]));
    bytes.extend(framed(b"abcdefghi"));
    let (frames, end) = read(&bytes, 1 << 20).await;
    assert!(end.is_ok());
    assert_eq!(frames.iter().map(Bytes::len).collect::<Vec<_>>(), [8, 300_000, 9]);
    assert_eq!(frames[2], b"abcdefghi".as_slice());
}

#[tokio::test]
async fn lengths_out_of_bounds_and_cut_frames_are_errors() {
    for length in [-1_i32, 0, 7, i32::MIN, i32::MAX, 101] {
        let (frames, end) = read(&length.to_be_bytes(), 100).await;
        assert!(frames.is_empty() && matches!(end, Err(FrameError::Length { .. })), "{length}: {end:?}");
    }
    let (_, end) = read(&framed(b"12345678")[..11], 100).await;
    assert!(matches!(end, Err(FrameError::CutOff)), "{end:?}");
}

#[tokio::test]
async fn a_claimed_length_takes_no_memory() {
    let bytes = (100_i32 << 20).to_be_bytes();
    let mut reader = reader(bytes.as_slice(), &RequestMemory::new(ByteSize::mib(2)), 100 << 20);
    assert!(matches!(reader.next().await, Err(FrameError::CutOff)));
    assert!(reader.buffer.capacity() <= REQUEST_FREE_BYTES, "{}", reader.buffer.capacity());
}

#[tokio::test(start_paused = true)]
async fn frames_that_hold_all_the_memory_do_not_wait_for_each_other() {
    let memory = RequestMemory::new(ByteSize::mib(6));
    let frame = framed(&[7; 3 << 20]);
    let (first, second) = frame.split_at(3 << 19);
    let mut readings = Vec::new();
    let mut senders = Vec::new();
    for _ in 0..3 {
        let (mut ours, theirs) = duplex(8 << 20);
        ours.write_all(first).await.unwrap();
        readings.push(begin(theirs, &memory).await);
        senders.push(ours);
    }
    for sender in &mut senders {
        sender.write_all(second).await.unwrap();
    }
    for reading in readings {
        let read = timeout(Duration::from_secs(60), reading).await.expect("no frame waits for ever");
        assert_eq!(read.unwrap().unwrap(), Some(3 << 20));
    }
}

type Reading = tokio::task::JoinHandle<Result<Option<usize>, FrameError>>;

/// Reads a frame beside the test, as far as it has come; what the frame holds is given back at its
/// end.
async fn begin(stream: DuplexStream, memory: &RequestMemory) -> Reading {
    let mut reader = reader(stream, memory, 100 << 20);
    let reading = tokio::spawn(async move { reader.next().await.map(|frame| frame.map(|it| it.bytes.len())) });
    tokio::task::yield_now().await;
    reading
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stalls_is_given_up() {
    let frame = framed(&[7; 4 << 20]);
    let (mut ours, theirs) = duplex(8 << 20);
    let reading = begin(theirs, &RequestMemory::new(ByteSize::mib(64))).await;
    // Neither the silence before nor the quick start buys time.
    sleep(Duration::from_mins(9)).await;
    ours.write_all(&frame[..3 << 20]).await.unwrap();
    let since = Instant::now();
    assert!(matches!(reading.await.unwrap(), Err(FrameError::Stalled(STALL_MAX))));
    assert!(since.elapsed() < STALL_MAX + Duration::from_secs(1), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn silence_between_frames_is_given_up_later() {
    let (_ours, theirs) = duplex(1);
    let since = Instant::now();
    let reading = begin(theirs, &RequestMemory::new(ByteSize::mib(1))).await;
    assert!(matches!(reading.await.unwrap(), Err(FrameError::Idle(_))));
    assert_eq!(since.elapsed().as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn uploads_go_on_at_the_slowest_rate_and_not_below_it() {
    for (bytes_per_second, arrives) in [(RATE_MIN, true), (RATE_MIN / 2, false)] {
        let frame = framed(&vec![7; 100 * RATE_MIN]);
        let (mut ours, theirs) = duplex(1 << 20);
        let mut reader = reader(theirs, &RequestMemory::new(ByteSize::mib(64)), 100 << 20);
        let sending = async {
            for piece in frame.chunks(bytes_per_second) {
                ours.write_all(piece).await.unwrap();
                sleep(Duration::from_secs(1)).await;
            }
        };
        let reading = async {
            // However often the reader turns to other things.
            loop {
                if let Ok(read) = timeout(Duration::from_millis(300), reader.next()).await {
                    return read.map(|frame| frame.unwrap().bytes.len());
                }
            }
        };
        let read = tokio::select! {
            read = reading => read,
            () = sending => panic!("all is sent and nothing read"),
        };
        assert_eq!(read.ok(), arrives.then_some(100 * RATE_MIN), "{bytes_per_second} bytes a second");
    }
}

#[tokio::test(start_paused = true)]
async fn large_frames_that_stall_hold_up_no_ordinary_ones_and_each_other_for_a_while() {
    let memory = RequestMemory::new(ByteSize::mib(24));
    let large = framed(&vec![7; 10 << 20]);
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let (mut ours, theirs) = duplex(10 << 20);
        ours.write_all(&large[..9 << 20]).await.unwrap();
        stalled.push((begin(theirs, &memory).await, ours));
    }
    let since = Instant::now();
    let (mut ours, theirs) = duplex(1 << 20);
    ours.write_all(&framed(&[7; 500_000])).await.unwrap();
    assert_eq!(begin(theirs, &memory).await.await.unwrap().unwrap(), Some(500_000));
    assert_eq!(since.elapsed(), Duration::ZERO);
    // What waits for memory is not given up for it: each has its own time once it is read on.
    for (reading, _ours) in stalled {
        assert!(matches!(reading.await.unwrap(), Err(FrameError::Stalled(_))));
    }
    assert!(since.elapsed() > STALL_MAX && since.elapsed() <= 4 * STALL_MAX, "{:?}", since.elapsed());
}

#[tokio::test]
async fn the_buffer_of_a_large_frame_is_not_kept() {
    let mut bytes = framed(&vec![7; 3 << 20]);
    bytes.extend(framed(&[7; REQUEST_FREE_BYTES - 4]));
    bytes.extend(framed(&[7; 8]));
    let mut reader = reader(bytes.as_slice(), &RequestMemory::new(ByteSize::mib(8)), 4 << 20);
    for length in [3 << 20, REQUEST_FREE_BYTES - 4, 8] {
        assert_eq!(reader.next().await.unwrap().unwrap().bytes.len(), length);
        // All of the allocation, as far as nobody else holds it.
        let _ = reader.buffer.try_reclaim(REQUEST_FREE_BYTES);
        assert!(reader.buffer.capacity() <= REQUEST_FREE_BYTES, "{}", reader.buffer.capacity());
    }
}
