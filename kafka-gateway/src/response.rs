//! A response, encoded once: its bytes in segments, so that record bytes go from the engine's
//! memory to the socket uncopied, but for batches that are smaller than it pays.

use bytes::Bytes;
use rustmq_kafka_codec_messages::{Encode, EncodeError, Message, encode_response};
use tokio::sync::OwnedSemaphorePermit;

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
    pub fn encode<M: Message + Encode>(correlation_id: i32, version: i16, message: &M) -> Result<Self, EncodeError> {
        let segments = encode_response(correlation_id, version, message)?;
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
}
