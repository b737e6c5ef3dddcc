//! What the port shows: `/health` whether the process needs a restart, `/ready` whether it serves,
//! `/metrics` how it does (Prometheus text format).

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

/// The connection that a request came on.
pub type Visit = Arc<Mutex<Permit>>;

/// What the handlers share.
struct Pages {
    status: Arc<Status>,
    scrapes: Scrapes,
}

/// Connections that ask for `/metrics`, and the memory of their pages.
struct Scrapes {
    connections: Admission,
    limits: ConnectionLimits,
    memory: ResponseMemory,
    /// One page is made at a time. A client that leaves does not end the thread that makes its
    /// page: without this, clients that ask and leave could have any number of them made.
    making: Arc<Semaphore>,
}

/// A page and its memory, given back when it is written.
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
    /// Memory for a page. Who has not taken his for long gives way to a newcomer.
    async fn reserve(&self, bytes: usize) -> Result<Option<Reservation>, Exhausted> {
        if let Ok(reserved) = self.memory.try_reserve(bytes) {
            return Ok(reserved);
        }
        self.connections.evict_oldest(Instant::now().into_std(), self.limits);
        self.memory.reserve(bytes).await
    }
}

/// Only a restart mends a failure, so whoever restarts what is not healthy is asked to. A process
/// that starts or stops is healthy.
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
    // The page may take milliseconds, which connections must not wait for.
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

/// Too many ask at once.
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
