//! The process's own HTTP: `/health` says that it lives, `/ready` that it serves, `/metrics` how it does (Prometheus text format).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Where the process stands between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting = 0,
    Serving = 1,
    Stopping = 2,
}

/// What the handlers show; the process writes it.
pub struct Status {
    started: Instant,
    phase: AtomicU8,
    pub registry: Mutex<Registry>,
}

impl Status {
    pub fn new() -> Arc<Self> {
        let phase = AtomicU8::new(Phase::Starting as u8);
        let registry = Mutex::new(Registry::default());
        Arc::new(Self { started: Instant::now(), phase, registry })
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn phase_name(&self) -> &'static str {
        match self.phase.load(Ordering::Acquire) {
            0 => "starting",
            1 => "serving",
            _ => "stopping",
        }
    }
}

/// Binds at once, so that a taken port stops the start; serves until `stop` changes.
pub async fn start(
    address: SocketAddr,
    status: Arc<Status>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    let router = Router::new()
        .route("/health", routing::get(health))
        .route("/ready", routing::get(ready))
        .route("/metrics", routing::get(metrics))
        .with_state(status);
    tokio::spawn(async move {
        let stopped = async move {
            // An error means that the process dropped its end: stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    Ok(local)
}

async fn health(State(status): State<Arc<Status>>) -> Response {
    let body = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": status.started.elapsed().as_secs(),
        "phase": status.phase_name(),
    });
    Json(body).into_response()
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    let phase = status.phase_name();
    let code = if phase == "serving" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": phase == "serving", "phase": phase }))).into_response()
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    let mut page = String::new();
    if text::encode(&mut page, &status.registry.lock()).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page).into_response()
}
