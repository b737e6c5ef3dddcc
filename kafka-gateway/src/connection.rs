//! One connection: reads frames, hands each to its handler in order, and answers in order. Handlers' effects never overlap; only what they
//! wait for does. It does not know what any request means.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use futures_util::{FutureExt, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::api::{Call, CallError};
use crate::frame::{Frame, FrameError, FrameReader};
use crate::gateway::Shared;
use crate::listeners::Endpoint;
use crate::metrics::{ApiLabel, ReasonLabel};
use crate::response::{self, Response, WriteLimits};

/// Responses that are written together at most.
const RESPONSES_PER_WRITE: usize = 64;

/// What a handler gives back once its request has taken effect.
pub enum Handling {
    /// The response.
    Ready(Response),
    /// A response that comes later; its connection goes on meanwhile.
    Waiting(BoxFuture<'static, Result<Response, CallError>>),
    /// The request has no response (acks=0).
    Silent,
}

/// What handlers may know of the connection.
#[derive(Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// What this client dials to reach this broker.
    pub endpoint: Endpoint,
    /// One fetch of a connection at a time: it is what bounds the engine memory that a connection pins.
    pub fetch_turn: Arc<Semaphore>,
}

type Pending = BoxFuture<'static, Result<Response, CallError>>;

/// Serves a connection until it ends. Returns when every response that could be written is.
pub async fn serve<R, W>(reader: R, writer: W, peer: Peer, shared: Arc<Shared>, stop: watch::Receiver<bool>)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let peer = Arc::new(peer);
    let (pending, answers) = mpsc::channel(shared.config.in_flight_max.max(1));
    let reading = read_requests(reader, Arc::clone(&peer), Arc::clone(&shared), pending, stop);
    let writing = write_responses(writer, &shared, answers);
    tokio::pin!(reading, writing);
    let ended = tokio::select! {
        read = &mut reading => match (read, writing.await) {
            (Err(end), _) | (Ok(()), Err(end)) => Err(end),
            (Ok(()), Ok(())) => Ok(()),
        },
        written = &mut writing => written,
    };
    if let Err(end) = ended {
        shared.metrics.connection_errors.get_or_create(&ReasonLabel { reason: end.reason() }).inc();
        end.log(peer.address);
    }
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("writing failed: {0}")]
    Write(std::io::Error),
    #[error("nothing was received for {0:?}")]
    Idle(Duration),
    #[error("a request took longer than {0:?} to arrive")]
    Stalled(Duration),
}

impl End {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Frame(FrameError::Io(_) | FrameError::CutOff) | Self::Write(_) => "io",
            Self::Frame(FrameError::Memory) => "memory",
            Self::Frame(_) => "malformed",
            Self::Call(error) => error.reason(),
            Self::Idle(_) => "idle",
            Self::Stalled(_) => "stalled",
        }
    }

    fn log(&self, conn: SocketAddr) {
        match self {
            Self::Idle(_) | Self::Write(_) | Self::Frame(FrameError::Io(_) | FrameError::CutOff) => {
                tracing::debug!(%conn, reason = %self, "connection ended");
            }
            Self::Frame(_) | Self::Call(_) | Self::Stalled(_) => {
                tracing::warn!(%conn, reason = %self, "connection closed");
            }
        }
    }
}

async fn read_requests<R: AsyncRead + Unpin>(
    reader: R,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    pending: mpsc::Sender<Pending>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), End> {
    let length_max = usize::try_from(shared.config.request_bytes_max.0).unwrap_or(usize::MAX);
    let mut frames = FrameReader::new(reader, shared.request_memory.clone(), length_max);
    loop {
        // A place for the answer first: a client that does not read its answers is not read either.
        let Ok(place) = pending.reserve().await else { return Ok(()) };
        let frame = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            frame = next_frame(&mut frames, &shared) => frame?,
        };
        let Some(frame) = frame else { return Ok(()) };
        shared.metrics.received_bytes.inc_by(frame.bytes.len() as u64 + 4);
        if let Some(answer) = handle(frame, &peer, &shared).await? {
            place.send(answer);
        }
    }
}

async fn next_frame<R: AsyncRead + Unpin>(frames: &mut FrameReader<R>, shared: &Shared) -> Result<Option<Frame>, End> {
    let (idle_max, stall_max) = (shared.config.idle_max, shared.config.transfer_stall_max);
    let patience = if frames.is_within_frame() { stall_max } else { idle_max };
    match timeout(patience, frames.next()).await {
        Ok(frame) => Ok(frame?),
        // The silence may have ended within the wait: what has begun to arrive gets its own time.
        Err(_) if frames.is_within_frame() && patience == idle_max => {
            let stalled = |_| End::Stalled(stall_max);
            Ok(timeout(stall_max, frames.next()).await.map_err(stalled)??)
        }
        Err(_) if frames.is_within_frame() => Err(End::Stalled(stall_max)),
        Err(_) => Err(End::Idle(idle_max)),
    }
}

/// Lets a request take effect.
async fn handle(frame: Frame, peer: &Arc<Peer>, shared: &Arc<Shared>) -> Result<Option<Pending>, End> {
    let started = Instant::now();
    let Frame { bytes, memory } = frame;
    let (api, call) = Call::read(bytes, Arc::clone(peer), Arc::clone(shared))?;
    let label = ApiLabel { api: api.name };
    shared.metrics.requests.get_or_create(&label).inc();
    let seconds = shared.metrics.request_seconds.get_or_create_owned(&label);
    let handling = (api.handler)(call).await?;
    Ok(match handling {
        Handling::Ready(response) => {
            seconds.observe(started.elapsed().as_secs_f64());
            Some(async move { Ok(response) }.boxed())
        }
        Handling::Waiting(response) => Some(
            async move {
                let response = response.await;
                drop(memory);
                seconds.observe(started.elapsed().as_secs_f64());
                response
            }
            .boxed(),
        ),
        Handling::Silent => None,
    })
}

async fn write_responses<W: AsyncWrite + Unpin>(
    mut writer: W,
    shared: &Shared,
    mut answers: mpsc::Receiver<Pending>,
) -> Result<(), End> {
    let mut waiting: FuturesOrdered<Pending> = stream::FuturesOrdered::new();
    let mut open = true;
    let mut gone = false;
    while open || !waiting.is_empty() {
        tokio::select! {
            biased;
            answer = answers.recv(), if open && waiting.len() < shared.config.in_flight_max => match answer {
                Some(answer) => waiting.push_back(answer),
                None => open = false,
            },
            Some(response) = waiting.next(), if !waiting.is_empty() => {
                let mut responses = vec![response?];
                while responses.len() < RESPONSES_PER_WRITE
                    && let Some(Some(next)) = waiting.next().now_or_never()
                {
                    responses.push(next?);
                }
                if !gone {
                    gone = write_together(&mut writer, responses, shared).await?;
                }
            }
        }
    }
    Ok(())
}

/// Writes responses; says whether the client is gone. That alone is no reason to drop what it sent before it left.
async fn write_together<W: AsyncWrite + Unpin>(
    writer: &mut W,
    responses: Vec<Response>,
    shared: &Shared,
) -> Result<bool, End> {
    let size: usize = responses.iter().map(Response::size).sum();
    let limits = WriteLimits {
        pin_max: shared.config.fetch_pin_max,
        stall_max: shared.config.transfer_stall_max,
        copies: &shared.fetch_copies,
    };
    match response::write(writer, responses, limits).await {
        Ok(copied) => {
            shared.metrics.sent_bytes.inc_by(size as u64);
            shared.metrics.fetch_copied_bytes.inc_by(copied as u64);
            Ok(false)
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(End::Write(error)),
        Err(_) => Ok(true),
    }
}
