//! Reads the configuration again when SIGHUP asks for it, says in the log what becomes of it, and
//! tells the running parts. What may change is decided in [`crate::config`].

use std::sync::Arc;

use rustmq_broker_service::Broker;
use rustmq_engine_shard::TailMemory;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::config::{Config, Difference, Inputs, Readable, Reload, Sources, Verdict};
use crate::logs::LogLines;

/// The configuration in force, and what it came from. One task owns it, so that one reload ends
/// before the next begins.
#[derive(Debug)]
pub struct Reloader {
    pub inputs: Arc<Inputs>,
    pub sources: Sources,
    pub in_force: watch::Sender<Arc<Config>>,
}

/// The parts of the process that take changes while they run.
#[derive(Debug)]
pub struct Running {
    pub log_lines: LogLines,
    pub tail_memory: TailMemory,
    pub broker: Arc<Broker>,
}

impl Running {
    /// Each part takes from its settings what it can change. Cannot fail: that is found out before.
    fn reload(&self, config: &Config) {
        self.log_lines.reload(&config.logs);
        self.tail_memory.resize(config.engine.tail_memory);
        self.broker.reload(&config.broker);
    }
}

impl Reloader {
    /// Reloads whenever the signal comes. All signals that come during one reload cause one more.
    pub async fn run(mut self, mut hangup: Signal, running: Running) {
        while hangup.recv().await.is_some() {
            if !self.in_force.borrow().process.allow_reload {
                tracing::warn!(
                    "the configuration was not read again: operations.allow_runtime_config_updates is false"
                );
                continue;
            }
            let inputs = Arc::clone(&self.inputs);
            // The disk may stall. The thread is not waited for when the process ends.
            let read = tokio::task::spawn_blocking(move || inputs.gather(Readable::Regular)).await;
            match read {
                Ok(Ok(asked)) => self.apply(&asked, &running),
                Ok(Err(error)) => tracing::error!(%error, "the configuration was not reloaded: nothing has changed"),
                // The panic was logged.
                Err(_) => tracing::error!("the configuration was not reloaded: nothing has changed"),
            }
        }
    }

    fn apply(&mut self, asked: &Sources, running: &Running) {
        let Reload { next, differences } = Reload::plan(&self.sources, asked);
        // Before the log's own filter changes.
        differences.iter().for_each(report);
        let config = Arc::new(Config::resolve(&next));
        self.sources = next;
        running.reload(&config);
        self.in_force.send_replace(config);
        let changed = differences.iter().filter(|difference| difference.verdict == Verdict::Changes).count();
        tracing::info!(changed, refused = differences.len() - changed, "the configuration was reloaded");
    }
}

fn report(Difference { name, in_force, asked, verdict }: &Difference) {
    match verdict {
        Verdict::Changes => tracing::info!(setting = name, from = %in_force, to = %asked, "a setting changes"),
        Verdict::NeedsRestart | Verdict::NeedsRestartOrAdmin | Verdict::FixedAtCreation => tracing::warn!(
            setting = name, %in_force, %asked, reason = %verdict, "a setting was not changed by the reload"
        ),
    }
}
