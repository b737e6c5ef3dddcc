//! Writes responses in segments: with vectored writes, in turns with other connections, and at the
//! peer's pace. Memory that a slow peer would hold for too long is copied, within a budget.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::memory::Budget;
use crate::pace::{Deficit, Pace};

/// The most segments in one vectored write.
const SEGMENTS_PER_WRITE: usize = 64;
/// The bytes to write before other connections of the thread get a turn: the copy into the socket
/// takes time, and a small acknowledgement must not wait for several large fetches.
const TURN_BYTES: usize = 128 << 10;
/// Segments up to this size are copied together: an entry in the vector of a system call costs more
/// than the copy.
const COALESCE_BYTES: usize = 512;
/// Linux refuses a vectored write with more segments (`UIO_MAXIOV`).
const KERNEL_SEGMENTS_MAX: usize = 1024;

const _: () = {
    assert!(SEGMENTS_PER_WRITE <= KERNEL_SEGMENTS_MAX);
    assert!(SEGMENTS_PER_WRITE * COALESCE_BYTES <= TURN_BYTES, "a write of small segments fits in a turn");
};

/// How long a write may take, and how long it may hold memory that others need.
#[derive(Clone, Copy, Debug)]
pub struct WriteLimits<'a> {
    /// How long the segments may be held uncopied; `None` if nobody else needs their memory.
    pub pin_max: Option<Duration>,
    /// The slowest pace that the peer may have.
    pub pace: Pace,
    /// The memory for copies of segments that were held too long.
    pub copies: &'a Budget,
}

/// Writes the segments in order. Returns the number of bytes that were copied because the peer was
/// slow.
///
/// # Errors
/// `TimedOut` if the peer is too slow or there is no memory for a copy; otherwise the stream's
/// error.
pub async fn write_segments<W: AsyncWrite + Unpin>(
    stream: &mut W,
    segments: Vec<Bytes>,
    limits: WriteLimits<'_>,
) -> io::Result<usize> {
    let WriteLimits { pin_max, pace, copies } = limits;
    let mut queue = Queue { segments: coalesce(segments), first: 0, deficit: Deficit::default() };
    if queue.write(stream, pace, pin_max).await? {
        return Ok(0);
    }
    let size = queue.remaining();
    let no_memory =
        || io::Error::new(io::ErrorKind::TimedOut, "no memory to copy a response that its client does not take");
    let _copy = copies.try_reserve(size).ok_or_else(no_memory)?;
    queue.copy();
    queue.write(stream, pace, None).await?;
    Ok(size)
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes, or too few")
}

/// Joins small segments with their neighbours.
fn coalesce(segments: Vec<Bytes>) -> Vec<Bytes> {
    let mut joined: Vec<Bytes> = Vec::with_capacity(segments.len());
    let mut small = BytesMut::new();
    for segment in segments {
        if segment.len() <= COALESCE_BYTES {
            small.put_slice(&segment);
            continue;
        }
        if !small.is_empty() {
            joined.push(small.split().freeze());
        }
        joined.push(segment);
    }
    if !small.is_empty() {
        joined.push(small.freeze());
    }
    joined
}

/// The segments that are not written yet.
struct Queue {
    segments: Vec<Bytes>,
    first: usize,
    deficit: Deficit,
}

impl Queue {
    fn remaining(&self) -> usize {
        self.segments[self.first..].iter().map(Bytes::len).sum()
    }

    /// Returns whether everything is written; otherwise the peer has blocked the write for
    /// `pin_max`. The turns of other connections do not count.
    async fn write<W: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut W,
        pace: Pace,
        pin_max: Option<Duration>,
    ) -> io::Result<bool> {
        let mut room = TURN_BYTES;
        let mut waited = Duration::ZERO;
        while self.first < self.segments.len() {
            if room == 0 {
                tokio::task::yield_now().await;
                room = TURN_BYTES;
            }
            let since = Instant::now();
            let patience = self.deficit.patience(pace);
            let pinned = pin_max.map_or(Duration::MAX, |pin_max| pin_max.saturating_sub(waited));
            let written = match timeout(patience.min(pinned), stream.write_vectored(&self.slices(room))).await {
                Ok(written) => written?,
                Err(_) if pinned < patience => {
                    self.deficit.add(pace, since.elapsed(), 0);
                    return Ok(false);
                }
                Err(_) => return Err(too_slow()),
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            waited += since.elapsed();
            self.deficit.add(pace, since.elapsed(), written);
            self.advance(written);
            room = room.saturating_sub(written);
        }
        timeout(self.deficit.patience(pace), stream.flush()).await.map_err(|_| too_slow())??;
        Ok(true)
    }

    /// The next segments, up to `room` bytes.
    fn slices(&self, mut room: usize) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(SEGMENTS_PER_WRITE.min(self.segments.len() - self.first));
        for segment in self.segments[self.first..].iter().take(SEGMENTS_PER_WRITE) {
            let part = &segment[..segment.len().min(room)];
            room -= part.len();
            slices.push(IoSlice::new(part));
            if room == 0 {
                break;
            }
        }
        slices
    }

    fn advance(&mut self, mut written: usize) {
        while self.first < self.segments.len() {
            let segment = &mut self.segments[self.first];
            if written < segment.len() {
                segment.advance(written);
                return;
            }
            written -= segment.len();
            *segment = Bytes::new();
            self.first += 1;
        }
    }

    /// Copies the remaining segments, and so releases the memory that others need.
    fn copy(&mut self) {
        for segment in &mut self.segments[self.first..] {
            *segment = Bytes::copy_from_slice(segment);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;
    use std::time::Duration;

    use bytes::Bytes;
    use rustmq_model::ByteSize;
    use tokio::io::{AsyncReadExt, BufWriter};
    use tokio::time::{Instant, sleep};

    use super::{Budget, Pace, TURN_BYTES, WriteLimits, write_segments};

    const PACE: Pace = Pace { stall_max: Duration::from_secs(30), bytes_per_second_min: 10_000 };
    const PIN_MAX: Duration = Duration::from_secs(1);

    fn limits(copies: &Budget) -> WriteLimits<'_> {
        WriteLimits { pin_max: Some(PIN_MAX), pace: PACE, copies }
    }

    fn segments(parts: &[&[u8]]) -> Vec<Bytes> {
        parts.iter().map(|part| Bytes::copy_from_slice(part)).collect()
    }

    #[tokio::test]
    async fn segments_arrive_in_order_and_whole() {
        let big = vec![9_u8; 10_000];
        let sent = segments(&[b"ab", &big, b"c", &big, b"", b"d"]);
        let expected = sent.concat();
        let (mut ours, mut theirs) = tokio::io::duplex(777);
        let copies = Budget::new(ByteSize::kib(1));
        let mut received = vec![0; expected.len()];
        let writing = write_segments(&mut ours, sent, limits(&copies));
        let (copied, read) = tokio::join!(writing, theirs.read_exact(&mut received));
        assert_eq!((copied.unwrap(), read.unwrap()), (0, expected.len()));
        assert_eq!(received, expected);
    }

    #[tokio::test]
    async fn a_large_response_lets_others_have_their_turn() {
        let sent = segments(&[&vec![9_u8; 10 * TURN_BYTES], &[8_u8; 100], &vec![7_u8; 10 * TURN_BYTES]]);
        let copies = Budget::new(ByteSize::kib(1));
        let mut taken = Vec::new();
        let writing = async { write_segments(&mut taken, sent, limits(&copies)).await.unwrap() };
        let mut turns = 0;
        let counting = async {
            loop {
                turns += 1;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _copied = writing => {}
            () = counting => unreachable!("it never ends"),
        }
        assert_eq!(turns, 20, "one after each turn but the last");
    }

    #[tokio::test(start_paused = true)]
    async fn the_turns_of_others_are_not_taken_for_a_slow_client() {
        let big = vec![9_u8; 10 * TURN_BYTES];
        let copies = Budget::new(ByteSize::mib(1));
        let mut taken = Vec::new();
        let writing = async { write_segments(&mut taken, segments(&[&big]), limits(&copies)).await };
        let others = async {
            loop {
                tokio::time::advance(PIN_MAX).await;
            }
        };
        let copied = tokio::select! {
            biased;
            copied = writing => copied,
            () = others => unreachable!("it never ends"),
        };
        assert_eq!(copied.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_costs_a_copy_and_then_its_connection() {
        let big = vec![9_u8; 100_000];
        let copies = Budget::new(ByteSize::kib(150));
        for message in ["takes no bytes", "no memory"] {
            let (mut ours, _theirs) = tokio::io::duplex(10);
            let since = Instant::now();
            let error = write_segments(&mut ours, segments(&[&big]), limits(&copies)).await.unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            // The silence before the copy counts, too.
            assert!(since.elapsed() < PACE.stall_max + PIN_MAX / 2, "{:?}", since.elapsed());
            // The next write finds less room.
            std::mem::forget(copies.try_reserve(100 << 10));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_the_stream_keeps_back_are_not_taken_for_sent() {
        let (ours, _theirs) = tokio::io::duplex(10);
        let mut kept_back = BufWriter::new(ours);
        let copies = Budget::new(ByteSize::mib(1));
        let error = write_segments(&mut kept_back, segments(&[&[9; 100]]), limits(&copies)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_byte_now_and_then_loses_its_connection_too() {
        let big = vec![9_u8; 300_000];
        for (bytes_per_second, arrives) in [(10_000, true), (1_000, false)] {
            let (mut ours, mut theirs) = tokio::io::duplex(10);
            let copies = Budget::new(ByteSize::mib(1));
            let unpinned = WriteLimits { pin_max: None, ..limits(&copies) };
            let since = Instant::now();
            let reading = async {
                let mut piece = vec![0; bytes_per_second];
                while theirs.read_exact(&mut piece).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                std::future::pending::<()>().await;
            };
            let written = tokio::select! {
                written = write_segments(&mut ours, segments(&[&big]), unpinned) => written,
                () = reading => unreachable!("it never ends"),
            };
            assert_eq!(written.is_ok(), arrives, "{bytes_per_second} bytes a second for {:?}", since.elapsed());
        }
    }
}
