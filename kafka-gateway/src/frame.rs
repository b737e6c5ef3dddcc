//! Frames as they lie on the wire: a length, then a request header, then the body. Reads are checked, and memory follows the bytes that
//! arrive, never a length that is merely claimed.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
/// What is read at least at once.
const READ_BYTES: usize = 8 << 10;
/// A frame up to this size is read without asking the shared budget.
const UNBUDGETED_BYTES: usize = 64 << 10;
/// How far memory runs ahead of the bytes that have arrived.
const STEP_BYTES: usize = 1 << 20;

/// Why a frame could not be read. The connection ends with it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the frame length {length} is not between 8 and {length_max}")]
    Length { length: i32, length_max: usize },
    #[error("the frame ends within its header")]
    Header,
    #[error("the client id is not valid UTF-8")]
    ClientId,
    #[error("the memory for requests is exhausted")]
    Memory,
    #[error("the connection ended within a frame")]
    CutOff,
    #[error("reading failed: {0}")]
    Io(#[from] std::io::Error),
}

/// The memory for large requests, shared by all connections.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    /// One permit is a KiB.
    shared: Arc<Semaphore>,
    /// One permit, for a frame that goes on beyond the shared memory. Frames take memory as they arrive: without it, frames that together
    /// hold all of it and need more would wait for each other.
    overdraft: Arc<Semaphore>,
}

/// What one frame holds of the memory.
#[derive(Debug, Default)]
pub struct MemoryShare {
    shared: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl RequestMemory {
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let permits = usize::try_from(bytes_max / 1024).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self { shared: Arc::new(Semaphore::new(permits)), overdraft: Arc::new(Semaphore::new(1)) }
    }

    /// Lets a share grow to `bytes`, as soon as there is room.
    async fn grow(&self, share: &mut MemoryShare, bytes: usize) -> Result<(), FrameError> {
        let held = share.shared.as_ref().map_or(0, |permit| permit.num_permits() * 1024);
        let missing = bytes.saturating_sub(held);
        if missing == 0 || share.overdraft.is_some() {
            return Ok(());
        }
        let permits = u32::try_from(missing.div_ceil(1024)).map_err(|_| FrameError::Memory)?;
        tokio::select! {
            biased;
            permit = Arc::clone(&self.shared).acquire_many_owned(permits) => {
                let permit = permit.map_err(|_| FrameError::Memory)?;
                match &mut share.shared {
                    Some(held) => held.merge(permit),
                    none => *none = Some(permit),
                }
            }
            permit = Arc::clone(&self.overdraft).acquire_owned() => {
                share.overdraft = Some(permit.map_err(|_| FrameError::Memory)?);
            }
        }
        Ok(())
    }
}

/// One frame without its length, and its share of the request memory.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Bytes,
    pub memory: MemoryShare,
}

/// Reads frames from a byte stream. Cancelling [`FrameReader::next`] loses nothing.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    memory: RequestMemory,
    taken: MemoryShare,
    length_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R, memory: RequestMemory, length_max: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), memory, taken: MemoryShare::default(), length_max }
    }

    /// Whether part of a frame has arrived.
    pub fn is_within_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next frame, or nothing if the stream has ended between two.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let wanted = match self.frame_length()? {
                Some(length) if self.buffer.len() >= LENGTH_BYTES + length => {
                    self.buffer.advance(LENGTH_BYTES);
                    let bytes = self.buffer.split_to(length).freeze();
                    return Ok(Some(Frame { bytes, memory: std::mem::take(&mut self.taken) }));
                }
                Some(length) => LENGTH_BYTES + length - self.buffer.len(),
                None => READ_BYTES,
            };
            self.make_room(wanted).await?;
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::CutOff) };
            }
        }
    }

    fn frame_length(&self) -> Result<Option<usize>, FrameError> {
        let Some(bytes) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*bytes);
        let length_max = self.length_max;
        let checked =
            usize::try_from(length).ok().filter(|length| (RequestHeader::LENGTH_MIN..=length_max).contains(length));
        checked.map(Some).ok_or(FrameError::Length { length, length_max })
    }

    /// Room for what comes next. What goes beyond a small frame is taken from the shared memory first.
    async fn make_room(&mut self, wanted: usize) -> Result<(), FrameError> {
        if self.buffer.capacity() - self.buffer.len() >= wanted.min(READ_BYTES / 4) {
            return Ok(());
        }
        let step = wanted.clamp(READ_BYTES, STEP_BYTES);
        let budgeted = (self.buffer.len() + step).saturating_sub(UNBUDGETED_BYTES);
        self.memory.grow(&mut self.taken, budgeted).await?;
        self.buffer.reserve(step);
        Ok(())
    }
}

/// The header before every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub key: i16,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Key, version and correlation id.
    pub const LENGTH_MIN: usize = 8;

    /// Reads the fields that every header has; `bytes` then stand at the tagged fields, if there are any.
    pub fn read(bytes: &mut Bytes) -> Result<Self, FrameError> {
        let short = |_| FrameError::Header;
        let key = bytes.try_get_i16().map_err(short)?;
        let version = bytes.try_get_i16().map_err(short)?;
        let correlation_id = bytes.try_get_i32().map_err(short)?;
        let client_id = match bytes.try_get_i16().map_err(short)? {
            -1 => None,
            length => {
                let length = usize::try_from(length).map_err(|_| FrameError::Header)?;
                if length > bytes.len() {
                    return Err(FrameError::Header);
                }
                let text = bytes.split_to(length);
                Some(std::str::from_utf8(&text).map_err(|_| FrameError::ClientId)?.to_owned())
            }
        };
        Ok(Self { key, version, correlation_id, client_id })
    }

    /// Skips the tagged fields of a flexible header.
    pub fn skip_tagged_fields(bytes: &mut Bytes) -> Result<(), FrameError> {
        for _ in 0..read_varint(bytes)? {
            read_varint(bytes)?;
            let size = usize::try_from(read_varint(bytes)?).unwrap_or(usize::MAX);
            if size > bytes.len() {
                return Err(FrameError::Header);
            }
            bytes.advance(size);
        }
        Ok(())
    }
}

fn read_varint(bytes: &mut Bytes) -> Result<u32, FrameError> {
    let mut value = 0;
    for index in 0..5 {
        let byte = bytes.try_get_u8().map_err(|_| FrameError::Header)?;
        value |= u32::from(byte & 0x7f) << (index * 7);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(FrameError::Header)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::{FrameError, FrameReader, RequestHeader, RequestMemory};

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        frame
    }

    async fn read(bytes: &[u8], length_max: usize) -> (Vec<Bytes>, Result<(), FrameError>) {
        let mut reader = FrameReader::new(bytes, RequestMemory::new(1 << 20), length_max);
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
        let mut reader = FrameReader::new(bytes.as_slice(), RequestMemory::new(1 << 20), 100 << 20);
        assert!(matches!(reader.next().await, Err(FrameError::CutOff)));
        assert!(reader.buffer.capacity() <= 2 << 20, "{}", reader.buffer.capacity());
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_hold_all_the_memory_do_not_wait_for_each_other() {
        use std::time::Duration;
        use tokio::io::AsyncWriteExt;

        let memory = RequestMemory::new(3 << 20);
        let frame = framed(&[7; 3 << 20]);
        let (first, second) = frame.split_at(3 << 19);
        let mut readings = Vec::new();
        let mut senders = Vec::new();
        for _ in 0..3 {
            let (mut ours, theirs) = tokio::io::duplex(8 << 20);
            let mut reader = FrameReader::new(theirs, memory.clone(), 4 << 20);
            ours.write_all(first).await.unwrap();
            let reading = tokio::spawn(async move { reader.next().await.map(|frame| frame.map(|it| it.bytes.len())) });
            tokio::task::yield_now().await;
            readings.push(reading);
            senders.push(ours);
        }
        for sender in &mut senders {
            sender.write_all(second).await.unwrap();
        }
        for reading in readings {
            let read = tokio::time::timeout(Duration::from_secs(60), reading).await.expect("no frame waits for ever");
            assert_eq!(read.unwrap().unwrap(), Some(3 << 20));
        }
    }

    #[test]
    fn headers_are_read_with_care() {
        let check = |bytes: &[u8], expected: Option<(i16, i16, i32, Option<&str>)>| {
            let read = RequestHeader::read(&mut Bytes::copy_from_slice(bytes)).ok();
            let read = read.map(|h| (h.key, h.version, h.correlation_id, h.client_id));
            assert_eq!(read, expected.map(|(k, v, c, id)| (k, v, c, id.map(str::to_owned))));
        };
        check(&[0, 3, 0, 9, 0, 0, 0, 5, 0, 1, b'x', 0], Some((3, 9, 5, Some("x"))));
        check(&[0, 3, 0, 9, 0, 0, 0, 5, 0xff, 0xff], Some((3, 9, 5, None)));
        check(&[0, 3, 0, 9, 0, 0, 0, 5, 0xff, 0xfe], None);
        check(&[0, 3, 0, 9, 0, 0, 0, 5, 0, 9, b'x'], None);
        check(&[0, 3, 0, 9, 0, 0, 0, 5, 0, 1, 0xff], None);
        check(&[0, 3, 0, 9, 0, 0, 0], None);
    }
}
