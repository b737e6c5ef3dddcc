//! A response, encoded once: its bytes in segments, so that record bytes go from the engine's
//! memory to the socket uncopied, but for batches that are smaller than it pays.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use tokio::sync::OwnedSemaphorePermit;

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

    /// Whether it holds the engine's memory.
    #[must_use]
    pub const fn is_pinning(&self) -> bool {
        self.pinned
    }

    /// The bytes in order, and what is given back when they are written.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Bytes>, Vec<OwnedSemaphorePermit>) {
        (self.segments, self.held)
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
