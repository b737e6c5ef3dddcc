//! One connection: reads frames, calls the handler of each in order, and writes responses in order.
//! The effects of handlers never overlap; only their waits do. The connection does not interpret
//! requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use futures_util::{FutureExt, stream};
use rustmq_net::{Shutdown, WriteLimits, write_segments};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::api;
use crate::call::{CallError, Handling, Peer};
use crate::frame::{Frame, FrameError, FrameReader, ReadTimeouts};
use crate::metrics::{ApiLabel, ReasonLabel};
use crate::response::Response;
use crate::shared::Shared;

/// The most responses that are written together.
const RESPONSES_PER_WRITE: usize = 64;
/// After a request that took longer, a connection yields its thread to others.
const HANDLING_LONG: Duration = Duration::from_micros(500);

/// The outcome of a request: its response, or `None` for a request without one.
type Pending = BoxFuture<'static, Result<Option<Response>, CallError>>;

/// Bounds the unanswered requests of a connection: each has a slot until its response is written.
struct InFlight {
    free: Arc<Semaphore>,
    count: u32,
}

/// The slot of a request, held until its response is written.
type Slot = OwnedSemaphorePermit;

impl InFlight {
    fn new(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 3);
        Self { free: Arc::new(Semaphore::new(count as usize)), count }
    }

    async fn take(&self) -> Slot {
        self.take_many(1).await
    }

    /// Takes the other slots, too: waits until all responses before that of `slot` are written.
    async fn take_rest(&self, slot: &mut Slot) {
        slot.merge(self.take_many(self.count - 1).await);
    }

    async fn take_many(&self, count: u32) -> Slot {
        Arc::clone(&self.free).acquire_many_owned(count).await.expect("slots are never closed")
    }
}

/// Serves a connection until it ends. Returns after all responses that can be written are written.
pub async fn serve<R, W>(reader: R, writer: W, peer: Peer, shared: Arc<Shared>, shutdown: Shutdown)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let peer = Arc::new(peer);
    let (pending, answers) = mpsc::unbounded_channel();
    let reading = read_requests(reader, Arc::clone(&peer), Arc::clone(&shared), pending, shutdown);
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
        end.log(peer.caller.address);
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
}

impl End {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Frame(FrameError::Io(_) | FrameError::CutOff) | Self::Write(_) => "io",
            Self::Frame(FrameError::Idle(_)) => "idle",
            Self::Frame(FrameError::Stalled(_)) => "stalled",
            Self::Frame(_) => "malformed",
            Self::Call(error) => error.reason(),
        }
    }

    fn log(&self, conn: SocketAddr) {
        match self {
            Self::Write(_) | Self::Frame(FrameError::Idle(_) | FrameError::Io(_) | FrameError::CutOff) => {
                tracing::debug!(%conn, reason = %self, "connection ended");
            }
            Self::Frame(_) | Self::Call(_) => {
                tracing::warn!(%conn, reason = %self, "connection closed");
            }
        }
    }
}

async fn read_requests<R: AsyncRead + Unpin>(
    reader: R,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    pending: mpsc::UnboundedSender<Pending>,
    mut shutdown: Shutdown,
) -> Result<(), End> {
    let length_max = usize::try_from(shared.config.request_bytes_max.0).unwrap_or(usize::MAX);
    let timeouts = ReadTimeouts { idle_max: shared.config.idle_max, pace: shared.config.pace() };
    let mut frames = FrameReader::new(reader, shared.memory.requests.clone(), length_max, timeouts);
    let in_flight = InFlight::new(shared.config.in_flight_max);
    loop {
        // The slot comes first: a client that does not read its responses is not read from, either.
        let slot = in_flight.take().await;
        let frame = tokio::select! {
            biased;
            _grace = shutdown.begun() => return Ok(()),
            frame = frames.next() => frame?,
        };
        let Some(frame) = frame else { return Ok(()) };
        shared.metrics.received_bytes.inc_by(frame.bytes.len() as u64 + 4);
        let started = Instant::now();
        let answer = handle(frame, slot, &in_flight, &peer, &shared).await?;
        if pending.send(answer).is_err() {
            return Ok(());
        }
        if started.elapsed() > HANDLING_LONG {
            tokio::task::yield_now().await;
        }
    }
}

/// Makes a request take effect.
async fn handle(
    frame: Frame,
    mut slot: Slot,
    in_flight: &InFlight,
    peer: &Arc<Peer>,
    shared: &Arc<Shared>,
) -> Result<Pending, End> {
    let started = Instant::now();
    let Frame { bytes, memory } = frame;
    let (api, call, body) = api::read_call(bytes, Arc::clone(peer), Arc::clone(shared))?;
    if !api.is_pipelined() {
        in_flight.take_rest(&mut slot).await;
    }
    let label = ApiLabel { api: api.key.name() };
    shared.metrics.requests.get_or_create(&label).inc();
    let seconds = shared.metrics.request_seconds.get_or_create_owned(&label);
    let handling = (api.handler)(call, body).await?;
    Ok(match handling {
        Handling::Ready(response) => {
            drop(memory);
            seconds.observe(started.elapsed().as_secs_f64());
            let reserved = shared.memory.responses.reserve(response.own_bytes()).await.map_err(CallError::from)?;
            async move { Ok(Some(response.holding(slot).holding(reserved))) }.boxed()
        }
        Handling::Waiting(response) => {
            // A request that may wait for long does not keep its memory.
            let memory = api.is_pipelined().then_some(memory);
            let shared = Arc::clone(shared);
            async move {
                let response = response.await?;
                drop(memory);
                seconds.observe(started.elapsed().as_secs_f64());
                // This must not wait: earlier responses may wait for memory themselves.
                let reserved = shared.memory.responses.try_reserve(response.own_bytes())?;
                Ok(Some(response.holding(slot).holding(reserved)))
            }
            .boxed()
        }
        Handling::Silent(end) => async move {
            let ended = end.await;
            drop((memory, slot));
            ended.map(|()| None)
        }
        .boxed(),
    })
}

async fn write_responses<W: AsyncWrite + Unpin>(
    mut writer: W,
    shared: &Shared,
    mut answers: mpsc::UnboundedReceiver<Pending>,
) -> Result<(), End> {
    let mut waiting: FuturesOrdered<Pending> = stream::FuturesOrdered::new();
    let mut open = true;
    let mut gone = false;
    while open || !waiting.is_empty() {
        tokio::select! {
            biased;
            answer = answers.recv(), if open => match answer {
                Some(answer) => waiting.push_back(answer),
                None => open = false,
            },
            Some(response) = waiting.next(), if !waiting.is_empty() => {
                let mut responses = Vec::from_iter(response?);
                while responses.len() < RESPONSES_PER_WRITE
                    && let Some(Some(next)) = waiting.next().now_or_never()
                {
                    responses.extend(next?);
                }
                if !gone && !responses.is_empty() {
                    gone = write_together(&mut writer, responses, shared).await?;
                }
            }
        }
    }
    Ok(())
}

/// Writes responses, and returns whether the client is gone. Requests that it sent before it left
/// still take effect.
async fn write_together<W: AsyncWrite + Unpin>(
    writer: &mut W,
    responses: Vec<Response>,
    shared: &Shared,
) -> Result<bool, End> {
    let is_pinning = responses.iter().any(Response::is_pinning);
    let (mut segments, mut held) = (Vec::new(), Vec::new());
    for response in responses {
        let (of_response, permits) = response.into_parts();
        segments.extend(of_response);
        held.extend(permits);
    }
    let size: usize = segments.iter().map(Bytes::len).sum();
    let limits = WriteLimits {
        pin_max: is_pinning.then_some(shared.config.fetch_pin_max),
        pace: shared.config.pace(),
        copies: &shared.memory.fetch_copies,
    };
    match write_segments(writer, segments, limits).await {
        Ok(copied) => {
            shared.metrics.sent_bytes.inc_by(size as u64);
            shared.metrics.fetch_copied_bytes.inc_by(copied as u64);
            Ok(false)
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(End::Write(error)),
        Err(_) => Ok(true),
    }
}
