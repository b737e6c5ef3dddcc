//! The life of the process: the order in which it opens its parts, when it is ready, and how it
//! ends.
//!
//! ```text
//! starting: folder -> HTTP -> (engine recovers | controller opens) -> broker -> Kafka listener
//! serving:  until SIGTERM or SIGINT, or, if so configured, until a part fails for good
//! stopping: Kafka listener (answers what it has) -> broker -> engine (proves its last group) -> controller -> folder
//! ```

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustmq_broker_service::{Broker, BrokerConfig, BrokerLimits};
use rustmq_controller_core::configs;
use rustmq_controller_raft::{ControllerConfig, RaftController};
use rustmq_engine_api::Engine;
use rustmq_engine_shard::{EngineConfig, StartReport};
use rustmq_kafka_gateway::{FEATURES, Gateway, GatewayConfig, GatewaySettings, LISTENER};
use rustmq_model::{ByteSize, Endpoint};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::banner::{self, Started};
use crate::config::{Config, Inputs, Sources};
use crate::descriptors;
use crate::ending::until_end_is_due;
use crate::folder::DataFolder;
use crate::health::{self, Health};
use crate::http::{self, HttpServer, Limits, Phase, Status};
use crate::kafka_names::{self, WorkedOut};
use crate::logs::LogLines;
use crate::panics;
use crate::reload::{Reloader, Reloading, Running};
use crate::signals::Signals;

/// The least time to wait for the last writes of the log, longer than nearly all disks need. The
/// configured timeout, which may be shorter, holds for requests in flight.
const DISK_PATIENCE_MIN: Duration = Duration::from_secs(10);

/// How long the end waits for HTTP responses under way.
const HTTP_PATIENCE: Duration = Duration::from_secs(1);

/// The inputs of a start.
#[derive(Debug)]
pub struct Startup {
    pub config: Config,
    /// The values that the configuration was resolved from, for reloads.
    pub sources: Sources,
    pub inputs: Inputs,
    pub log_lines: LogLines,
}

/// Runs the broker until a signal, or a failure if that is configured.
///
/// # Errors
/// If the broker cannot start, or a part has failed before its end, whatever has caused the end.
pub async fn serve(startup: Startup) -> Result<()> {
    let begun = Instant::now();
    let Startup { config, sources, inputs, log_lines } = startup;
    let mut signals = Signals::listen(inputs.file.is_some())?;
    let config = &Arc::new(config);
    let mut folder = DataFolder::open(&config.process.data_dir)?;
    let status = Status::new();
    let http_limits = Limits::default();
    let http = start_http(config, &status, http_limits)?;
    if !config.engine.fsync_on_write {
        folder.mark_unsynced()?;
    }

    let descriptors_max = descriptors::raise_limit();
    let engine_config = engine_config(config, &folder);
    let (wal_capacity, tail_memory) = (engine_config.capacity, engine_config.tail_memory.clone());
    let engine_metrics = rustmq_engine_shard::Metrics::default();
    engine_metrics.register(&mut status.registry.lock());
    panics::register(&mut status.registry.lock());
    let started = tokio::task::spawn_blocking(move || rustmq_engine_shard::start(&engine_config, &engine_metrics));
    let controller_dir = folder.controller_dir();
    let controller_config = ControllerConfig { must_exist: folder.is_founded(), ..ControllerConfig::default() };
    let opened = RaftController::open(&controller_dir, controller_config);
    let (started, controller) = tokio::join!(started, opened);
    let (engine, report) = started.context("the engine's start was cut off")??;
    let controller = controller?;
    watch_storage(&status.health, &engine, &controller);
    folder.note_founded()?;
    let worked_out = work_out(config, &report, wal_capacity, descriptors_max, http_limits);
    let mut registry = std::mem::take(&mut *status.registry.lock());
    let broker_config = broker_config(config, &folder, worked_out);
    let broker = Broker::start(broker_config, engine.clone(), Arc::new(controller.clone()), &mut registry).await?;
    *status.registry.lock() = registry;
    status.health.watch("broker", broker.failure());
    check_largest_batch(config, &report)?;
    let gateway = Gateway::start(gateway_config(config, worked_out.connections_max, &broker), broker.clone())?;
    gateway.metrics().register(&mut status.registry.lock());
    status.health.watch("Kafka listener", gateway.failure());
    let (in_force, config_in_force) = watch::channel(Arc::clone(config));
    let reloader = Reloader { inputs: Arc::new(inputs), sources, in_force };
    let running = Running { log_lines, tail_memory, broker: broker.clone() };
    let reloading = signals.hangup.take().map(|hangup| reloader.start(hangup, move |config| running.reload(config)));
    let reloading = reloading.inspect(|task| status.health.watch("configuration reload", task.failure.clone()));
    status.enter(Phase::Serving);
    announce(
        config,
        &report,
        &Started {
            kafka: gateway.local_addr(),
            http: http.address,
            data_dir: &config.process.data_dir,
            wal_capacity,
            fsync: config.engine.fsync_on_write,
            driver: report.driver.as_str(),
            shards: report.shards,
            took: begun.elapsed(),
        },
    );

    until_end_is_due(config_in_force.clone(), &mut signals, &status.health).await;
    status.enter(Phase::Stopping);
    // No reload changes the configuration from here on.
    reloading.inspect(Reloading::end);
    let shutdown_timeout = config_in_force.borrow().process.shutdown_timeout;
    let stopped = stop(shutdown_timeout, gateway, &broker, &engine, &controller).await;
    http.shutdown(HTTP_PATIENCE).await;
    // Checked after the stop, which may find that the disk has failed. The folder is then not
    // closed: acknowledged records may be missing from it.
    refuse_failures(&status.health, stopped.is_ok())?;
    stopped?;
    folder.close()?;
    tracing::info!("stopped");
    Ok(())
}

fn refuse_failures(health: &Health, has_stopped: bool) -> Result<()> {
    let failures = health.failures();
    if failures.is_empty() {
        return Ok(());
    }
    let how = if has_stopped { "ended" } else { "ended, before all parts had stopped," };
    bail!("{how} after a failure: {}", health::describe(&failures));
}

/// Starts to answer on the configured address.
fn start_http(config: &Config, status: &Arc<Status>, limits: Limits) -> Result<HttpServer> {
    let address = config.process.http_listen;
    let http = http::start(address, status, limits)
        .with_context(|| format!("network.http_listen: cannot listen on {address}"))?;
    status.health.watch("HTTP listener", http.failure.clone());
    Ok(http)
}

/// The values that depend on the opened log.
fn work_out(
    config: &Config,
    report: &StartReport,
    wal_capacity: ByteSize,
    descriptors_max: u64,
    http_limits: Limits,
) -> WorkedOut {
    // The folder keeps the segment size of its creation. Each shard may exceed its capacity by a
    // segment.
    let segments = wal_capacity.0 / report.segment_size.0.max(1) + report.shards as u64;
    let http_max = http_limits.descriptors_max() as u64;
    let configured = config.gateway.connections_max;
    WorkedOut {
        shards: report.shards,
        connection_threads: connection_threads(config),
        connections_max: descriptors::connections_max(configured, descriptors_max, segments, http_max),
    }
}

fn watch_storage(health: &Health, engine: &Engine, controller: &RaftController) {
    for (number, failure) in engine.failures().into_iter().enumerate() {
        health.watch(format!("shard {number}"), failure);
    }
    health.watch("controller", controller.failure());
}

/// The number of threads for connections: one for each processor that no shard needs. If there were
/// more than can run, tokio would wake one for each request, which another thread then takes.
pub fn connection_threads(config: &Config) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    processors.saturating_sub(config.engine.shard_count()).max(1)
}

/// Ends all parts, the users of a part before the part. Acknowledged records are synced already;
/// this answers the requests in flight. A stalled disk delays the end for a limited time: then the
/// process ends without the remaining writes.
async fn stop(
    limit: Duration,
    gateway: Gateway,
    broker: &Broker,
    engine: &Engine,
    controller: &RaftController,
) -> Result<()> {
    tracing::info!("stopping");
    // Long polls end with the broker; the listener waits for their answers.
    let patience = limit.max(DISK_PATIENCE_MIN);
    let ((), broker_ended) = tokio::join!(gateway.shutdown(limit), timeout(patience, broker.shutdown()));
    if broker_ended.is_err() {
        tracing::warn!("the broker's own writes have not ended in time");
    }
    let engine_ended = engine.shutdown_within(patience).await;
    let controller_ended = timeout(patience, controller.shutdown()).await;
    engine_ended?;
    controller_ended.context("the metadata log has not ended in time")
}

/// One of Kafka's settings that only the file or the environment can set, as a number; 0 if the
/// catalogue has no such number.
fn kafka_number(config: &Config, name: &str) -> u64 {
    let configured = config.kafka.get(name).map(String::as_str);
    let default = || configs::broker_config(name).and_then(|entry| entry.default);
    configured.or_else(default).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Refuses a `message.max.bytes` for which the segments of the log are too small.
fn check_largest_batch(config: &Config, report: &StartReport) -> Result<()> {
    const NAME: &str = "message.max.bytes";
    let largest = kafka_number(config, NAME);
    if usize::try_from(largest).is_ok_and(|largest| largest > report.batch_bytes_max) {
        bail!(
            "kafka.{NAME} = {largest} does not fit the write-ahead log, whose segments of {} take batches of at most {} bytes; lower it, or make \
             the data folder anew with a larger wal.segment_size_bytes",
            report.segment_size,
            report.batch_bytes_max
        );
    }
    Ok(())
}

fn announce(config: &Config, report: &StartReport, started: &Started<'_>) {
    println!("{}", banner::text(started));
    tracing::info!(
        data_dir = %config.process.data_dir.display(),
        kafka = %started.kafka,
        http = %started.http,
        driver = started.driver,
        direct_io = report.direct_io,
        shards = report.shards,
        partitions = report.partitions,
        torn_tails = report.torn_tails,
        took_ms = u64::try_from(started.took.as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
}

/// Repairs the log of a folder that no process uses, and prints the offsets that are lost.
///
/// # Errors
/// If the folder is in use, or the log cannot be repaired.
pub fn repair(config: &Config) -> Result<()> {
    let folder = DataFolder::open(&config.process.data_dir)?;
    let wal_dir = config.engine.wal_dir(&config.process.data_dir);
    let plan = rustmq_engine_shard::plan_repair(&wal_dir, Some(&folder.wal_owner()))?;
    if !plan.refused.is_empty() {
        println!(
            "offsets that could not be read back earlier, by topic id and partition (readers are refused there until retention or DeleteRecords \
             passes them; slot-*.damaged beside the slots are copies of their segments):"
        );
        for refused in &plan.refused {
            println!("  {}: {} to {}", refused.id, refused.from.0, refused.until.0 - 1);
        }
    }
    for (path, end) in &plan.ends {
        println!(
            "{}: the log ends at byte {} ({}); whole groups after it that are no part of it, since nothing proves what lay between, or an earlier start dropped them: {}",
            path.display(),
            end.offset,
            end.damage,
            end.groups
        );
    }
    if plan.is_empty() {
        println!("the write-ahead log in {} needs no repair; nothing was changed", wal_dir.display());
        return Ok(());
    }
    // Printed first: an interrupted repair continues when it is run again, but does not print the
    // offsets again.
    println!(
        "offsets that are lost, by topic id and partition (records lost at the write-ahead log's end are not listed):"
    );
    for lost in &plan.lost {
        println!("  {}: {} to {}", lost.id, lost.from.0, lost.until.0 - 1);
    }
    if !plan.unreadable.is_empty() {
        println!("places that cannot be read, which zeros are written over (file, first and last byte):");
        for place in &plan.unreadable {
            println!("  {}: {} to {}", place.path.display(), place.from, place.until - 1);
        }
    }
    plan.verify()?;
    folder.renew_incarnation()?;
    let report = plan.carry_out()?;
    println!(
        "{} damaged places were covered, {} places that could not be read were written over, {} segment headers were rebuilt, \
         {} files have their length again; the files as they were:",
        report.holes, report.unreadable, report.headers, report.short_files
    );
    for copy in &report.copies {
        println!("  {}", copy.display());
    }
    Ok(())
}

fn engine_config(config: &Config, folder: &DataFolder) -> EngineConfig {
    let defaults = EngineConfig::new(config.engine.clone(), config.engine.wal_dir(&config.process.data_dir));
    EngineConfig {
        must_exist: folder.is_founded(),
        owner: Some(folder.wal_owner()),
        capacity: config.engine.wal_capacity.unwrap_or_else(|| folder.wal_capacity()),
        retention_interval: Duration::from_millis(kafka_number(config, "log.retention.check.interval.ms")),
        ..defaults
    }
}

fn broker_config(config: &Config, folder: &DataFolder, worked_out: WorkedOut) -> BrokerConfig {
    // The metadata needs an address of the broker. Each client gets the address that it has
    // reached.
    let host = if config.gateway.listen.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        config.gateway.listen.ip().to_string()
    };
    let endpoint = Endpoint { host, port: config.gateway.listen.port() };
    BrokerConfig {
        settings: config.broker.clone(),
        incarnation: folder.incarnation(),
        listeners: BTreeMap::from([(LISTENER.to_owned(), endpoint)]),
        data_dir: config.process.data_dir.clone(),
        kafka: kafka_names::static_configs(config, worked_out),
        limits: BrokerLimits::default(),
        features: FEATURES,
    }
}

/// The gateway's configuration. Limits that are configs in Kafka come from the broker.
fn gateway_config(config: &Config, connections_max: usize, broker: &Broker) -> GatewayConfig {
    let kafka = broker.effective_config();
    let defaults = GatewayConfig::new(GatewaySettings { connections_max, ..config.gateway.clone() });
    GatewayConfig {
        request_bytes_max: ByteSize(u64::from(kafka.request_bytes_max)),
        // `None` for a negative config: an idle connection is never closed.
        idle_max: kafka.connection_idle_ms_max.map_or(Duration::MAX, Duration::from_millis),
        fetch_sessions_max: usize::try_from(kafka.fetch_sessions_max).unwrap_or(usize::MAX),
        ..defaults
    }
}
