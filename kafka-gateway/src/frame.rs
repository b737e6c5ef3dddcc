//! Frames on the wire: a length, and as many bytes. Memory is allocated for bytes that have
//! arrived, and never for a claimed length. The codec reads the content of a frame; `net` decides
//! which client is too slow ([`Pace`]).

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustmq_kafka_codec_messages::RequestHeader;
use rustmq_net::{Deficit, Pace, REQUEST_FREE_BYTES, RequestMemory, RequestReservation};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
/// The least room for one read.
const READ_BYTES: usize = 8 << 10;
/// A full buffer grows to this many times the arrived bytes, at most by a step; from the size of a
/// step on, it doubles. So the bytes of an ordinary frame are copied once or twice, while they are
/// few.
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

/// One frame without its length, and its part of the request memory.
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
    /// When the current wait for the peer began. After a cancelled wait, the next one continues it.
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

    /// The next frame; `None` if the stream has ended after a whole frame.
    ///
    /// # Errors
    /// If the length is invalid, the client is too slow, or the stream fails or ends within a
    /// frame.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let size = self.frame_size()?;
            if let Some(size) = size
                && self.buffer.len() >= size
            {
                return Ok(Some(self.take_frame(size)));
            }
            // Until its length has arrived, a frame counts as small.
            let size = size.unwrap_or(READ_BYTES);
            self.make_room(size).await;
            if self.read(size).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::CutOff) };
            }
        }
    }

    /// The size of the next frame, including its length field. `None` before that has arrived.
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
            // The frame takes its large buffer: the connection keeps a small one.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.deficit = Deficit::default();
        Frame { bytes, memory: std::mem::take(&mut self.reserved) }
    }

    /// Makes room for the next bytes. A frame that is not small reserves shared memory first.
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

    /// Reads the available bytes, but none beyond a frame that is not small: its buffer is not
    /// kept.
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
