//! A response on its way out: encoded once, written in segments, so that record bytes go from the
//! engine's memory to the socket uncopied, but for batches that are smaller than it pays.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use crate::memory::Budget;
use crate::pace::{Lag, Pace};

/// Segments of one vectored write.
const SEGMENTS_PER_WRITE: usize = 64;
/// Bytes that are written before other connections of the thread have their turn: the copy into the
/// socket takes time, and a small acknowledgement must not wait for several large fetches.
const TURN_BYTES: usize = 128 << 10;
/// Segments up to this size are copied together: a system call's vector entry costs more than the
/// copy.
const COALESCE_BYTES: usize = 512;

/// A response could not be encoded: a bug of this gateway, which ends the connection.
#[derive(Debug, thiserror::Error)]
#[error("a response of version {version} could not be encoded: {reason}")]
pub struct EncodeError {
    pub version: i16,
    pub reason: String,
}

/// The bytes of one response, length and header included.
#[derive(Debug, Default)]
pub struct Response {
    segments: Vec<Bytes>,
    /// Whether some of the bytes are the engine's memory, which must not be held long.
    pinned: bool,
    /// Given back when the response is written.
    held: Vec<OwnedSemaphorePermit>,
}

impl Response {
    /// Encodes a message of `version` with the response header that goes with it.
    pub fn encode<M: Encodable + HeaderVersion>(
        correlation_id: i32,
        version: i16,
        message: &M,
    ) -> Result<Self, EncodeError> {
        let mut frame = Self::header(correlation_id, M::header_version(version) >= 1);
        message.encode(&mut frame, version).map_err(|error| EncodeError { version, reason: error.to_string() })?;
        Self::seal(vec![frame.freeze()], version)
    }

    /// The start of a frame: a length to be filled in, and the response header.
    #[must_use]
    pub fn header(correlation_id: i32, flexible: bool) -> BytesMut {
        let mut frame = BytesMut::with_capacity(256);
        frame.put_i32(0);
        frame.put_i32(correlation_id);
        if flexible {
            frame.put_u8(0);
        }
        frame
    }

    /// Fills in the length. The first segment begins with [`Response::header`].
    pub fn seal(mut segments: Vec<Bytes>, version: i16) -> Result<Self, EncodeError> {
        let length = segments.iter().map(Bytes::len).sum::<usize>() - 4;
        let length = i32::try_from(length).map_err(|_| EncodeError { version, reason: format!("{length} bytes") })?;
        let first = std::mem::take(&mut segments[0]);
        let mut first = first.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        first[..4].copy_from_slice(&length.to_be_bytes());
        segments[0] = first.freeze();
        Ok(Self { segments, pinned: false, held: Vec::new() })
    }

    /// Marks the response as one that holds the engine's memory.
    #[must_use]
    pub fn pinning(mut self) -> Self {
        self.pinned = true;
        self
    }

    /// Keeps something until the response is written.
    #[must_use]
    pub fn holding(mut self, permit: impl Into<Option<OwnedSemaphorePermit>>) -> Self {
        self.held.extend(permit.into());
        self
    }

    #[must_use]
    pub fn size(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// What it takes beside the engine's memory. The little around a fetch's records is not
    /// counted.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        if self.pinned { 0 } else { self.size() }
    }

    #[cfg(test)]
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// All bytes in one piece, for tests.
    #[cfg(test)]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.segments.concat()
    }
}

/// How patient a writer is.
#[derive(Clone, Copy, Debug)]
pub struct WriteLimits<'a> {
    /// How long engine memory may be held.
    pub pin_max: Duration,
    /// How slowly the peer may take it all.
    pub pace: Pace,
    /// Memory for what is copied when engine memory was held long enough.
    pub copies: &'a Budget,
}

/// Writes responses in order. Returns how many bytes had to be copied because the peer was slow.
pub async fn write<W: AsyncWrite + Unpin>(
    stream: &mut W,
    responses: Vec<Response>,
    limits: WriteLimits<'_>,
) -> io::Result<usize> {
    let pinned = responses.iter().any(|response| response.pinned);
    let mut held = Vec::new();
    let mut segments = Vec::new();
    for mut response in responses {
        segments.append(&mut response.segments);
        held.append(&mut response.held);
    }
    let mut queue = Queue { segments: coalesce(segments), first: 0, lag: Lag::default() };
    if queue.write(stream, limits.pace, pinned.then_some(limits.pin_max)).await? {
        return Ok(0);
    }
    let size = queue.remaining();
    let too_slow =
        || io::Error::new(io::ErrorKind::TimedOut, "no memory to copy a response that its client does not take");
    let _copy = limits.copies.try_take(size).ok_or_else(too_slow)?;
    queue.copy();
    queue.write(stream, limits.pace, None).await?;
    Ok(size)
}

/// Joins neighbouring small segments.
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

/// Segments not yet written.
struct Queue {
    segments: Vec<Bytes>,
    first: usize,
    lag: Lag,
}

impl Queue {
    fn remaining(&self) -> usize {
        self.segments[self.first..].iter().map(Bytes::len).sum()
    }

    /// Whether all is written: it is not when the peer has kept us waiting for `pin_max`. The turns
    /// of other connections do not count.
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
            let patience = self.lag.patience(pace);
            let pinned = pin_max.map_or(Duration::MAX, |pin_max| pin_max.saturating_sub(waited));
            let written = match timeout(patience.min(pinned), stream.write_vectored(&self.slices(room))).await {
                Ok(written) => written?,
                Err(_) if pinned < patience => return Ok(false),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes, or too few")),
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            waited += since.elapsed();
            self.lag.add(pace, since.elapsed(), written);
            self.advance(written);
            room = room.saturating_sub(written);
        }
        timeout(pace.stall_max, stream.flush()).await.unwrap_or(Ok(()))?;
        Ok(true)
    }

    /// The next segments, up to so many bytes.
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

    /// Lets go of the engine's memory.
    fn copy(&mut self) {
        for segment in &mut self.segments[self.first..] {
            *segment = Bytes::copy_from_slice(segment);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::io::AsyncReadExt;
    use tokio::time::{Instant, sleep};

    use super::{Budget, Pace, Response, TURN_BYTES, WriteLimits, write};

    const PACE: Pace = Pace { stall_max: Duration::from_secs(30), bytes_per_second_min: 10_000 };

    fn limits(copies: &Budget) -> WriteLimits<'_> {
        WriteLimits { pin_max: Duration::from_secs(1), pace: PACE, copies }
    }

    fn response(parts: &[&[u8]]) -> Response {
        let mut segments = vec![Response::header(7, false).freeze()];
        segments.extend(parts.iter().map(|part| Bytes::copy_from_slice(part)));
        Response::seal(segments, 0).unwrap()
    }

    #[tokio::test]
    async fn segments_arrive_in_order_and_whole() {
        let big = vec![9_u8; 10_000];
        let sent = response(&[b"ab", &big, b"c", &big, b"", b"d"]);
        let expected = sent.to_bytes();
        assert_eq!(expected.len(), sent.size());
        let (mut ours, mut theirs) = tokio::io::duplex(777);
        let copies = Budget::new(1 << 10);
        let mut received = vec![0; expected.len()];
        let (copied, read) =
            tokio::join!(write(&mut ours, vec![sent.pinning()], limits(&copies)), theirs.read_exact(&mut received));
        assert_eq!((copied.unwrap(), read.unwrap()), (0, expected.len()));
        assert_eq!(received, expected);
    }

    #[tokio::test]
    async fn a_large_response_lets_others_have_their_turn() {
        let sent = response(&[&vec![9_u8; 10 * TURN_BYTES], &[8_u8; 100], &vec![7_u8; 10 * TURN_BYTES]]);
        let copies = Budget::new(1 << 10);
        let mut taken = Vec::new();
        let writing = async { write(&mut taken, vec![sent], limits(&copies)).await.unwrap() };
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
        let copies = Budget::new(1 << 20);
        let mut taken = Vec::new();
        let writing = async { write(&mut taken, vec![response(&[&big]).pinning()], limits(&copies)).await };
        let others = async {
            loop {
                tokio::time::advance(limits(&copies).pin_max).await;
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
        let copies = Budget::new(150 << 10);
        for message in ["takes no bytes", "no memory"] {
            let (mut ours, _theirs) = tokio::io::duplex(10);
            let error = write(&mut ours, vec![response(&[&big]).pinning()], limits(&copies)).await.unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            // The next one finds less room.
            std::mem::forget(copies.try_take(100 << 10));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_byte_now_and_then_loses_its_connection_too() {
        let big = vec![9_u8; 300_000];
        for (bytes_per_second, arrives) in [(10_000, true), (1_000, false)] {
            let (mut ours, mut theirs) = tokio::io::duplex(10);
            let copies = Budget::new(1 << 20);
            let since = Instant::now();
            let reading = async {
                let mut piece = vec![0; bytes_per_second];
                while theirs.read_exact(&mut piece).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                std::future::pending::<()>().await;
            };
            let written = tokio::select! {
                written = write(&mut ours, vec![response(&[&big])], limits(&copies)) => written,
                () = reading => unreachable!("it never ends"),
            };
            assert_eq!(written.is_ok(), arrives, "{bytes_per_second} bytes a second for {:?}", since.elapsed());
        }
    }
}
