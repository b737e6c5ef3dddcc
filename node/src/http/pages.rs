//! The pages of the port: `/health` says whether the process needs a restart, `/ready` whether it
//! serves, and `/metrics` has its metrics in Prometheus's text format.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router, routing};
use parking_lot::Mutex;
use prometheus_client::encoding::text;
use rustmq_net::{Admission, ConnectionLimits, Exhausted, Permit, Reservation, ResponseMemory};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::limits::Limits;
use super::status::{Phase, Status};
use crate::health::Failure;

/// The connection of a request.
pub type Visit = Arc<Mutex<Permit>>;

/// The state that the handlers share.
struct Pages {
    status: Arc<Status>,
    scrapes: Scrapes,
}

/// The connections that request `/metrics`, and the memory of their pages.
struct Scrapes {
    connections: Admission,
    limits: ConnectionLimits,
    memory: ResponseMemory,
    /// One page is generated at a time. The thread that generates a page continues after its client
    /// has left: without a limit, clients that ask and leave would cause any number of them.
    making: Arc<Semaphore>,
}

/// A page, and its memory until the page is written.
struct Page {
    text: String,
    _reserved: Option<Reservation>,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

pub fn router(status: Arc<Status>, limits: &Limits) -> Router {
    let scrapes = Scrapes {
        connections: Admission::default(),
        limits: limits.scrapes,
        memory: ResponseMemory::new(limits.page_memory),
        making: Arc::new(Semaphore::new(1)),
    };
    Router::new()
        .route("/health", routing::get(health))
        .route("/ready", routing::get(ready))
        .route("/metrics", routing::get(metrics))
        .with_state(Arc::new(Pages { status, scrapes }))
}

impl Scrapes {
    /// Reserves memory for a page. If there is none, evicts the oldest connection that may be.
    ///
    /// # Errors
    /// If too many pages wait for memory.
    async fn reserve(&self, bytes: usize) -> Result<Option<Reservation>, Exhausted> {
        if let Ok(reserved) = self.memory.try_reserve(bytes) {
            return Ok(reserved);
        }
        self.connections.evict_oldest(Instant::now().into_std(), self.limits);
        self.memory.reserve(bytes).await
    }
}

/// The answer of `/health`. Orchestrators restart an unhealthy process, and only a restart repairs
/// a failure. A process that starts or stops is healthy.
fn judge_health(failures: &[Failure]) -> (StatusCode, &'static str) {
    if failures.is_empty() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failed") }
}

fn is_ready(phase: Phase, failures: &[Failure]) -> bool {
    phase == Phase::Serving && failures.is_empty()
}

async fn health(State(pages): State<Arc<Pages>>) -> Response {
    let status = &pages.status;
    let failures = status.health.failures();
    let (code, word) = judge_health(&failures);
    let body = json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": status.started.elapsed().as_secs(),
        "phase": status.phase().as_str(),
        "failures": failures,
    });
    (code, Json(body)).into_response()
}

async fn ready(State(pages): State<Arc<Pages>>) -> Response {
    let status = &pages.status;
    let (phase, failures) = (status.phase(), status.health.failures());
    let ready = is_ready(phase, &failures);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": ready, "phase": phase.as_str(), "failures": failures }))).into_response()
}

async fn metrics(State(pages): State<Arc<Pages>>, Extension(visit): Extension<Visit>) -> Response {
    let Pages { status, scrapes } = &*pages;
    let moved = visit.lock().move_to(&scrapes.connections, Instant::now().into_std(), scrapes.limits);
    if let Err(refusal) = moved {
        return busy(&refusal);
    }
    let turn = Arc::clone(&scrapes.making).acquire_owned().await.expect("it is never closed");
    // Generating the page takes milliseconds, which would delay other connections.
    let status = Arc::clone(status);
    let text = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut text = String::new();
        text::encode(&mut text, &status.registry.lock()).map(|()| text)
    });
    let Ok(Ok(text)) = text.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let reserved = match scrapes.reserve(text.len()).await {
        Ok(reserved) => reserved,
        Err(exhausted) => return busy(&exhausted),
    };
    let page = Bytes::from_owner(Page { text, _reserved: reserved });
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page).into_response()
}

/// The response to one of too many requests at a time.
fn busy(reason: &impl ToString) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], reason.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::{Failure, Phase, is_ready, judge_health};

    #[test]
    fn only_a_serving_process_without_failures_is_ready_and_only_a_failure_is_unhealthy() {
        let failures = [Failure { part: "shard 0".to_owned(), reason: "EIO".to_owned() }];
        let phases = [(Phase::Starting, false), (Phase::Serving, true), (Phase::Stopping, false)];
        for (phase, ready) in phases {
            assert_eq!(is_ready(phase, &[]), ready, "{phase:?}");
            assert!(!is_ready(phase, &failures), "{phase:?}");
        }
        assert_eq!(judge_health(&[]).0, 200);
        assert_eq!(judge_health(&failures).0, 503);
    }
}
