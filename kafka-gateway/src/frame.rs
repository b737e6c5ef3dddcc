//! Frames as they lie on the wire: a length, then what it counts. Memory follows the bytes that
//! arrive, never a length that is merely claimed. The codec reads what a frame holds; `net` decides
//! which client is too slow ([`Pace`]).

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustmq_kafka_codec_messages::RequestHeader;
use rustmq_net::{Deficit, Pace, REQUEST_FREE_BYTES, RequestMemory, RequestReservation};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
/// What is read at least at once.
const READ_BYTES: usize = 8 << 10;
/// A buffer that is full grows to so many times what has arrived, by a step at most; from a step on
/// it doubles. The bytes of an ordinary frame are so copied once or twice, and few.
const GROWTH: usize = 16;
const STEP_BYTES: usize = 1 << 20;

/// Why a frame could not be read. The connection ends with it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the frame length {length} is not between 8 and {length_max}")]
    Length { length: i32, length_max: usize },
    #[error("nothing was received for {0:?}")]
    Idle(Duration),
    #[error(
        "a request arrives too slowly: its client was waited for longer than {0:?} beyond what its bytes allow for"
    )]
    Stalled(Duration),
    #[error("the connection ended within a frame")]
    CutOff,
    #[error("reading failed: {0}")]
    Io(#[from] std::io::Error),
}

/// One frame without its length, and what it holds of the request memory.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Bytes,
    pub memory: RequestReservation,
}

/// How long a reader waits for its peer.
#[derive(Clone, Copy, Debug)]
pub struct ReadTimeouts {
    /// Between two frames.
    pub idle_max: Duration,
    /// Within a frame.
    pub pace: Pace,
}

/// Reads frames from a byte stream. Cancelling [`FrameReader::next`] loses nothing.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    memory: RequestMemory,
    reserved: RequestReservation,
    length_max: usize,
    timeouts: ReadTimeouts,
    deficit: Deficit,
    /// Since when the peer is waited for. A cancelled wait goes on with the next one.
    waiting_since: Option<Instant>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R, memory: RequestMemory, length_max: usize, timeouts: ReadTimeouts) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            memory,
            reserved: RequestReservation::default(),
            length_max,
            timeouts,
            deficit: Deficit::default(),
            waiting_since: None,
        }
    }

    /// The next frame, or nothing if the stream has ended between two.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let size = self.frame_size()?;
            if let Some(size) = size
                && self.buffer.len() >= size
            {
                return Ok(Some(self.take_frame(size)));
            }
            // Before its length is known, a frame is a small one.
            let size = size.unwrap_or(READ_BYTES);
            self.make_room(size).await;
            if self.read(size).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::CutOff) };
            }
        }
    }

    /// The size of the frame at hand, its length included.
    fn frame_size(&self) -> Result<Option<usize>, FrameError> {
        let Some(bytes) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*bytes);
        let length_max = self.length_max;
        let checked =
            usize::try_from(length).ok().filter(|length| (RequestHeader::LENGTH_MIN..=length_max).contains(length));
        let length = checked.ok_or(FrameError::Length { length, length_max })?;
        Ok(Some(LENGTH_BYTES + length))
    }

    fn take_frame(&mut self, size: usize) -> Frame {
        let mut bytes = self.buffer.split_to(size).freeze();
        bytes.advance(LENGTH_BYTES);
        if size > REQUEST_FREE_BYTES {
            // Its buffer goes with it: what the connection keeps is small.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.deficit = Deficit::default();
        Frame { bytes, memory: std::mem::take(&mut self.reserved) }
    }

    /// Room for what comes next. What a frame that is not small needs is taken from the shared
    /// memory first.
    async fn make_room(&mut self, size: usize) {
        let arrived = self.buffer.len();
        let wanted = size.saturating_sub(arrived);
        if self.buffer.capacity() - arrived >= wanted.min(READ_BYTES / 4) {
            return;
        }
        let ahead = ((GROWTH - 1) * arrived).min(STEP_BYTES).max(arrived);
        let capacity = (arrived + ahead).clamp(READ_BYTES, size.max(READ_BYTES));
        if size > REQUEST_FREE_BYTES {
            self.memory.grow(&mut self.reserved, size, capacity).await;
        }
        if !self.buffer.try_reclaim(capacity - arrived) {
            let mut grown = BytesMut::with_capacity(capacity);
            grown.extend_from_slice(&self.buffer);
            self.buffer = grown;
        }
    }

    /// Reads what is there, but nothing beyond a frame that is not small: its buffer is not kept.
    async fn read(&mut self, size: usize) -> Result<usize, FrameError> {
        let ReadTimeouts { idle_max, pace } = self.timeouts;
        let begun = !self.buffer.is_empty();
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let patience = if begun { self.deficit.patience(pace) } else { idle_max };
        let limit = if size > REQUEST_FREE_BYTES { size - self.buffer.len() } else { usize::MAX };
        let mut room = (&mut self.buffer).limit(limit);
        let read = timeout(patience.saturating_sub(since.elapsed()), self.stream.read_buf(&mut room)).await;
        let given_up = |_| if begun { FrameError::Stalled(pace.stall_max) } else { FrameError::Idle(idle_max) };
        let read = read.map_err(given_up)??;
        self.waiting_since = None;
        if begun {
            self.deficit.add(pace, since.elapsed(), read);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
