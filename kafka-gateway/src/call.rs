//! A request on its way from its connection to its handler and back: what the handler gets, how it
//! answers, and why it may close the connection. Which handler that is, the table in [`crate::api`]
//! says.

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

/// What handlers may know of the connection.
#[derive(Debug)]
pub struct Peer {
    pub caller: Arc<Caller>,
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
    #[error("the header of a request cannot be read: {0}")]
    Header(DecodeError),
    #[error("API key {key} is not served here")]
    UnknownKey { key: i16 },
    #[error("version {version} of {api} is not served here")]
    UnsupportedVersion { api: ApiKey, version: i16 },
    #[error("{api} version {version} cannot be read: {source}")]
    Malformed { api: ApiKey, version: i16, source: DecodeError },
    #[error("a batch of a producer that waits for no answer is refused: {reason}")]
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

/// A request on its way to its handler.
pub struct Call {
    pub header: RequestHeader,
    /// The caller of the broker's operations.
    pub session: Session,
    pub key: ApiKey,
    /// Whether the version is one that is advertised. ApiVersions alone is handled in any.
    pub is_served: bool,
    pub peer: Arc<Peer>,
    pub shared: Arc<Shared>,
    pub body: Bytes,
}

impl Call {
    pub fn version(&self) -> i16 {
        self.header.version
    }

    pub fn decode<M: Request + Decode>(&self) -> Result<M, CallError> {
        let (api, version) = (self.key, self.version());
        let elements_max = self.shared.config.request_elements_max;
        decode(version, self.body.clone(), elements_max).map_err(|source| CallError::Malformed { api, version, source })
    }

    /// Lets go of the request, before a wait that may be long: its memory is given back.
    pub fn let_go(&mut self) {
        self.body = Bytes::new();
    }

    /// The error of a version that is advertised for clients to see, and not served.
    pub fn unsupported(&self) -> CallError {
        CallError::UnsupportedVersion { api: self.key, version: self.version() }
    }

    pub fn response<M: Message + Encode>(&self, message: &M) -> Result<Response, CallError> {
        self.response_in(self.version(), message)
    }

    /// The response is there.
    pub fn answer<M: Message + Encode>(&self, message: &M) -> Result<Handling, CallError> {
        self.response(message).map(Handling::Ready)
    }

    /// The response is there, in another version than that of the request.
    pub fn answer_in<M: Message + Encode>(&self, version: i16, message: &M) -> Result<Handling, CallError> {
        self.response_in(version, message).map(Handling::Ready)
    }

    /// The response comes later.
    pub fn answer_later<F, M>(mut self, message: F) -> Handling
    where
        F: Future<Output = M> + Send + 'static,
        M: Message + Encode + Send,
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

    fn response_in<M: Message + Encode>(&self, version: i16, message: &M) -> Result<Response, CallError> {
        Response::encode(self.header.correlation_id, version, message).map_err(|source| CallError::Unanswerable {
            api: self.key,
            version,
            source,
        })
    }
}
