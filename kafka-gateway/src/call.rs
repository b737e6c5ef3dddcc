//! A request on its way from its connection to its handler and back: what the handler gets, how it
//! answers, and why it may close the connection. Which handler that is, the table in [`crate::api`]
//! says.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use rustmq_model::Endpoint;
use rustmq_net::Exhausted;

use crate::frame::{FrameError, RequestHeader};
use crate::response::{EncodeError, Response};
use crate::shape::{self, ShapeError};
use crate::shared::Shared;

/// What handlers may know of the connection.
#[derive(Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// What this client dials to reach this broker.
    pub endpoint: Endpoint,
}

/// What a handler gives back once its request has taken effect.
pub enum Handling {
    /// The response.
    Ready(Response),
    /// A response that comes later; its connection goes on meanwhile.
    Waiting(BoxFuture<'static, Result<Response, CallError>>),
    /// The request has no response (acks=0). Its memory is held until this ends; an error closes
    /// the connection.
    Silent(BoxFuture<'static, Result<(), CallError>>),
}

/// Why a request ends its connection.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Header(#[from] FrameError),
    #[error("API key {key} is not served here")]
    UnknownKey { key: i16 },
    #[error("version {version} of {api} is not served here")]
    UnsupportedVersion { api: &'static str, version: i16 },
    #[error("{api} version {version} is malformed: {source}")]
    Malformed { api: &'static str, version: i16, source: ShapeError },
    #[error("{api} version {version} cannot be decoded: {reason}")]
    Undecodable { api: &'static str, version: i16, reason: String },
    #[error("a batch of a producer that waits for no answer is refused: {reason}")]
    RefusedSilently { reason: String },
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

impl CallError {
    /// The label in metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Header(_) | Self::Malformed { .. } | Self::Undecodable { .. } => "malformed",
            Self::UnknownKey { .. } | Self::UnsupportedVersion { .. } => "unsupported",
            Self::RefusedSilently { .. } => "refused",
            Self::Encode(_) => "internal",
            Self::Memory(_) => "memory",
        }
    }
}

/// A request on its way to its handler.
pub struct Call {
    pub header: RequestHeader,
    pub peer: Arc<Peer>,
    pub shared: Arc<Shared>,
    /// Kafka's name of its API.
    pub api: &'static str,
    pub body: Bytes,
}

impl Call {
    pub fn version(&self) -> i16 {
        self.header.version
    }

    /// The body as a message of the crate's, after a check that makes decoding safe.
    pub fn decode<M: Decodable>(&self) -> Result<M, CallError> {
        let RequestHeader { key, version, .. } = self.header;
        let elements_max = self.shared.config.request_elements_max;
        decode(key, version, self.api, &self.body, elements_max)
    }

    /// The body of a request that the crate does not know, after the same check.
    pub fn body(&self) -> Result<Bytes, CallError> {
        let RequestHeader { key, version, .. } = self.header;
        let elements_max = self.shared.config.request_elements_max;
        checked(key, version, self.api, &self.body, elements_max)
    }

    /// Lets go of the request, before a wait that may be long: its memory is given back.
    pub fn let_go(&mut self) {
        self.body = Bytes::new();
    }

    /// The error of a version that is advertised for clients to see, and not served.
    pub fn unsupported(&self) -> CallError {
        CallError::UnsupportedVersion { api: self.api, version: self.version() }
    }

    /// An error for a body that no schema can tell is wrong.
    pub fn undecodable(&self, reason: impl Into<String>) -> CallError {
        CallError::Undecodable { api: self.api, version: self.version(), reason: reason.into() }
    }

    pub fn response<M: Encodable + HeaderVersion>(&self, message: &M) -> Result<Response, CallError> {
        Ok(Response::encode(self.header.correlation_id, self.version(), message)?)
    }

    /// The response is there.
    pub fn answer<M: Encodable + HeaderVersion>(&self, message: &M) -> Result<Handling, CallError> {
        self.response(message).map(Handling::Ready)
    }

    /// The response comes later.
    pub fn answer_later<F, M>(mut self, message: F) -> Handling
    where
        F: Future<Output = M> + Send + 'static,
        M: Encodable + HeaderVersion + Send,
    {
        self.let_go();
        Handling::Waiting(
            async move {
                let message = message.await;
                self.response(&message)
            }
            .boxed(),
        )
    }
}

fn decode<M: Decodable>(
    key: i16,
    version: i16,
    api: &'static str,
    body: &Bytes,
    elements_max: usize,
) -> Result<M, CallError> {
    let mut message = checked(key, version, api, body, elements_max)?;
    M::decode(&mut message, version).map_err(|error| CallError::Undecodable { api, version, reason: error.to_string() })
}

fn checked(key: i16, version: i16, api: &'static str, body: &Bytes, elements_max: usize) -> Result<Bytes, CallError> {
    let malformed = |source| CallError::Malformed { api, version, source };
    let length = shape::check(key, version, body, elements_max).map_err(malformed)?;
    Ok(body.slice(..length))
}
