//! An encoded response. Its bytes are in segments, so that records go from the engine's memory to
//! the socket without a copy. Only small batches are copied, for which a segment would cost more.

use bytes::Bytes;
use rustmq_kafka_codec_messages::{Encode, EncodeError, Message, encode_response};
use tokio::sync::OwnedSemaphorePermit;

/// The bytes of one response, length and header included.
#[derive(Debug, Default)]
pub struct Response {
    segments: Vec<Bytes>,
    /// Whether some of the bytes are in the engine's memory, which must not be pinned for long.
    pinned: bool,
    /// Given back when the response is written.
    held: Vec<OwnedSemaphorePermit>,
}

impl Response {
    /// Encodes a message in `version`, with its response header.
    ///
    /// # Errors
    /// If a field does not fit the wire format.
    pub fn encode<M: Message + Encode>(correlation_id: i32, version: i16, message: &M) -> Result<Self, EncodeError> {
        let segments = encode_response(correlation_id, version, message)?;
        Ok(Self { segments, pinned: false, held: Vec::new() })
    }

    /// Marks the response as one that pins the engine's memory.
    #[must_use]
    pub fn pinning(mut self) -> Self {
        self.pinned = true;
        self
    }

    /// Keeps the permit until the response is written.
    #[must_use]
    pub fn holding(mut self, permit: impl Into<Option<OwnedSemaphorePermit>>) -> Self {
        self.held.extend(permit.into());
        self
    }

    #[must_use]
    pub fn size(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// The bytes outside the engine's memory. The few bytes around fetched records do not count.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        if self.pinned { 0 } else { self.size() }
    }

    /// Whether the response pins the engine's memory.
    #[must_use]
    pub const fn is_pinning(&self) -> bool {
        self.pinned
    }

    /// The bytes in order, and the permits to return when they are written.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Bytes>, Vec<OwnedSemaphorePermit>) {
        (self.segments, self.held)
    }
}
