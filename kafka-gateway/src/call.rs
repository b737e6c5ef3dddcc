//! A request between its connection and its handler: the handler's arguments, its result, and the
//! errors that close the connection. The table in [`crate::api`] chooses the handler.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustmq_broker_service::{Caller, Session};
use rustmq_kafka_codec_messages::{
    ApiKey, Decode, DecodeError, Encode, EncodeError, Message, Request, RequestHeader, decode,
};
use rustmq_model::Endpoint;
use rustmq_net::Exhausted;

use crate::response::Response;
use crate::shared::Shared;

/// The connection, as far as handlers need it.
#[derive(Debug)]
pub struct Peer {
    pub caller: Arc<Caller>,
    /// The address that this client dials to reach this broker.
    pub endpoint: Endpoint,
}

/// A handler's result, once its request has taken effect.
pub enum Handling {
    /// The response.
    Ready(Response),
    /// The response follows later; meanwhile the connection continues.
    Waiting(BoxFuture<'static, Result<Response, CallError>>),
    /// The request has no response (acks=0). Its memory is reserved until the future ends; an error
    /// closes the connection.
    Silent(BoxFuture<'static, Result<(), CallError>>),
}

/// Why a request ends its connection.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the header of a request cannot be read: {0}")]
    Header(DecodeError),
    #[error("API key {key} is not served here")]
    UnknownKey { key: i16 },
    #[error("version {version} of {api} is not served here")]
    UnsupportedVersion { api: ApiKey, version: i16 },
    #[error("{api} version {version} cannot be read: {source}")]
    Malformed { api: ApiKey, version: i16, source: DecodeError },
    #[error("a batch of a producer with acks=0 is refused: {reason}")]
    RefusedSilently { reason: String },
    #[error("{api} version {version} cannot be answered: {source}")]
    Unanswerable { api: ApiKey, version: i16, source: EncodeError },
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

impl CallError {
    /// The label in metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Header(_) | Self::Malformed { .. } => "malformed",
            Self::UnknownKey { .. } | Self::UnsupportedVersion { .. } => "unsupported",
            Self::RefusedSilently { .. } => "refused",
            Self::Unanswerable { .. } => "internal",
            Self::Memory(_) => "memory",
        }
    }
}

/// The encoded request, without its header. It is decoded once, so that a handler keeps no frame in
/// memory while it waits.
pub struct RequestBody(pub Bytes);

/// A request without its body, and the parts of the gateway that its handler uses.
pub struct Call {
    pub header: RequestHeader,
    /// The caller of the broker's operations.
    pub session: Session,
    pub key: ApiKey,
    /// Whether the version is advertised. `false` occurs for ApiVersions alone.
    pub is_served: bool,
    pub peer: Arc<Peer>,
    pub shared: Arc<Shared>,
}

impl Call {
    pub fn version(&self) -> i16 {
        self.header.version
    }

    /// Decodes the request in its version.
    ///
    /// # Errors
    /// [`CallError::Malformed`] if the bytes are no such request, or have more array elements than
    /// the configuration allows.
    pub fn decode<M: Request + Decode>(&self, RequestBody(body): RequestBody) -> Result<M, CallError> {
        let (api, version) = (self.key, self.version());
        let elements_max = self.shared.config.request_elements_max;
        decode(version, body, elements_max).map_err(|source| CallError::Malformed { api, version, source })
    }

    /// The error for a version that is advertised and not served.
    pub fn unsupported(&self) -> CallError {
        CallError::UnsupportedVersion { api: self.key, version: self.version() }
    }

    /// Encodes the response in the version of the request.
    ///
    /// # Errors
    /// [`CallError::Unanswerable`] if a field does not fit the wire format: a defect of the
    /// handler.
    pub fn response<M: Message + Encode>(&self, message: &M) -> Result<Response, CallError> {
        self.response_in(self.version(), message)
    }

    /// Answers with this response at once.
    ///
    /// # Errors
    /// As [`Self::response`].
    pub fn answer<M: Message + Encode>(&self, message: &M) -> Result<Handling, CallError> {
        self.response(message).map(Handling::Ready)
    }

    /// As [`Self::answer`], in another version than that of the request.
    ///
    /// # Errors
    /// As [`Self::response`].
    pub fn answer_in<M: Message + Encode>(&self, version: i16, message: &M) -> Result<Handling, CallError> {
        self.response_in(version, message).map(Handling::Ready)
    }

    /// Answers with the response that `message` resolves to.
    pub fn answer_later<F, M>(self, message: F) -> Handling
    where
        F: Future<Output = M> + Send + 'static,
        M: Message + Encode + Send,
    {
        Handling::Waiting(
            async move {
                let message = message.await;
                self.response(&message)
            }
            .boxed(),
        )
    }

    fn response_in<M: Message + Encode>(&self, version: i16, message: &M) -> Result<Response, CallError> {
        Response::encode(self.header.correlation_id, version, message).map_err(|source| CallError::Unanswerable {
            api: self.key,
            version,
            source,
        })
    }
}
