//! Reads the configuration again after a SIGHUP, logs the differences, and hands it to the running
//! parts. [`crate::config`] decides which settings may change.

use std::sync::Arc;

use rustmq_broker_service::{Broker, FailureNotice};
use rustmq_engine_shard::TailMemory;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, Difference, Inputs, Readable, Reload, Sources, Verdict};
use crate::logs::LogLines;

/// The configuration in force, and its sources. One task owns it, so that one reload ends before
/// the next begins. A panic while a configuration is applied ends the task: the process then has a
/// failed part, and its configuration does not change any more.
#[derive(Debug)]
pub struct Reloader {
    pub inputs: Arc<Inputs>,
    pub sources: Sources,
    pub in_force: watch::Sender<Arc<Config>>,
}

/// The task that reloads.
#[derive(Debug)]
pub struct Reloading {
    /// The reason, once the task has failed.
    pub failure: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Reloading {
    /// Ends the task: the configuration does not change any more.
    pub fn end(&self) {
        self.task.abort();
    }
}

/// The parts of the process whose settings may change while they run.
#[derive(Debug)]
pub struct Running {
    pub log_lines: LogLines,
    pub tail_memory: TailMemory,
    pub broker: Arc<Broker>,
}

impl Running {
    /// Applies the settings that may change. Cannot fail, since all values were checked before, and
    /// does no I/O.
    pub fn reload(&self, config: &Config) {
        self.log_lines.reload(&config.logs);
        self.tail_memory.resize(config.engine.tail_memory);
        self.broker.reload(&config.broker);
    }
}

impl Reloader {
    /// Reloads whenever the signal comes. `apply` hands a configuration to the parts that run.
    pub fn start(self, hangup: Signal, apply: impl Fn(&Config) + Send + 'static) -> Reloading {
        let notice = FailureNotice::default();
        let failure = notice.watch();
        let task =
            tokio::spawn(notice.report_panic("the task that reloads the configuration", self.run(hangup, apply)));
        Reloading { failure, task }
    }

    /// All signals during one reload together cause one more.
    async fn run(mut self, mut hangup: Signal, apply: impl Fn(&Config)) {
        while hangup.recv().await.is_some() {
            if !self.in_force.borrow().process.allow_reload {
                tracing::warn!(
                    "the configuration was not read again: operations.allow_runtime_config_updates is false"
                );
                continue;
            }
            let inputs = Arc::clone(&self.inputs);
            // The disk may stall. The end of the process does not wait for the thread.
            let read = tokio::task::spawn_blocking(move || inputs.gather(Readable::Regular)).await;
            match read {
                Ok(Ok(asked)) => self.reload(&asked, &apply),
                Ok(Err(error)) => tracing::error!(%error, "the configuration was not reloaded: nothing has changed"),
                // The panic was logged.
                Err(_) => tracing::error!("the configuration was not reloaded: nothing has changed"),
            }
        }
    }

    fn reload(&mut self, asked: &Sources, apply: impl Fn(&Config)) {
        let Reload { next, differences } = Reload::plan(&self.sources, asked);
        // Reported before the filter of log lines changes.
        differences.iter().for_each(report);
        let config = Arc::new(Config::resolve(&next));
        apply(&config);
        self.in_force.send_replace(config);
        self.sources = next;
        let changed = differences.iter().filter(|difference| difference.verdict == Verdict::Changes).count();
        tracing::info!(changed, refused = differences.len() - changed, "the configuration was reloaded");
    }
}

fn report(Difference { name, before, asked, verdict }: &Difference) {
    match verdict {
        Verdict::Changes => tracing::info!(setting = name, from = %before, to = %asked, "a setting changes"),
        Verdict::NeedsRestart | Verdict::NeedsRestartOrAdmin => tracing::warn!(
            setting = name, in_force = %before, %asked, reason = %verdict, "a setting was not changed by the reload"
        ),
        // The folder may have a third value.
        Verdict::FixedAtCreation => tracing::warn!(
            setting = name, at_start = %before, %asked, reason = %verdict, "a setting was not changed by the reload"
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::PathBuf;
    use std::time::Duration;

    use parking_lot::Mutex;
    use rustix::process::{Signal as Raised, getpid, kill_process};
    use tempfile::TempDir;
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    const EXITS: &str = "operations.exit_on_failure";

    /// A process's configuration, and the file that it is read from.
    fn configured() -> (Reloader, PathBuf, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rustmq.toml");
        fs::write(&file, "").unwrap();
        let inputs = Arc::new(Inputs { file: Some(file.clone()), ..Inputs::default() });
        let sources = inputs.gather(Readable::Regular).unwrap();
        let (in_force, _) = watch::channel(Arc::new(Config::resolve(&sources)));
        (Reloader { inputs, sources, in_force }, file, folder)
    }

    #[test]
    fn a_reload_changes_what_is_in_force_after_the_parts_have_taken_it() {
        let (mut reloader, file, _folder) = configured();
        fs::write(&file, "[operations]\nexit_on_failure = true").unwrap();
        let asked = reloader.inputs.gather(Readable::Regular).unwrap();
        let panics = catch_unwind(AssertUnwindSafe(|| reloader.reload(&asked, |_| panic!("on order"))));
        assert!(panics.is_err() && !reloader.in_force.borrow().process.exit_on_failure);
        reloader.reload(&asked, |config| assert!(config.process.exit_on_failure));
        assert!(reloader.sources.given(EXITS).is_some() && reloader.in_force.borrow().process.exit_on_failure);
    }

    #[tokio::test]
    async fn a_panic_of_the_task_is_a_failure_and_its_end_is_none() {
        let (reloader, file, _folder) = configured();
        fs::write(&file, "[operations]\nexit_on_failure = true").unwrap();
        let reloading = reloader.start(signal(SignalKind::hangup()).unwrap(), |_| panic!("on order"));
        kill_process(getpid(), Raised::HUP).unwrap();
        let mut failure = reloading.failure.clone();
        let told = tokio::time::timeout(Duration::from_secs(60), failure.wait_for(Option::is_some)).await;
        assert_eq!(told.unwrap().unwrap().as_deref(), Some("the task that reloads the configuration has panicked"));

        let (reloader, _, _folder) = configured();
        let reloading = reloader.start(signal(SignalKind::hangup()).unwrap(), |_| ());
        reloading.end();
        assert!(reloading.task.await.unwrap_err().is_cancelled());
        assert_eq!(*reloading.failure.borrow(), None);
    }

    #[test]
    fn what_the_folder_was_made_with_is_not_claimed_to_be_known() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Lines(Arc::clone(&written)));
        let reported = |verdict| {
            let difference =
                Difference { name: "a.setting".to_owned(), before: "1".to_owned(), asked: "2".to_owned(), verdict };
            report(&difference);
            String::from_utf8(std::mem::take(&mut *lines.lock())).unwrap()
        };
        tracing::subscriber::with_default(subscriber.finish(), || {
            let fixed = reported(Verdict::FixedAtCreation);
            assert!(fixed.contains("at_start=1 asked=2") && fixed.contains("keeps what it was made with"), "{fixed}");
            assert!(!fixed.contains("in_force"), "{fixed}");
            let restart = reported(Verdict::NeedsRestart);
            assert!(restart.contains("in_force=1 asked=2") && restart.contains("needs a restart"), "{restart}");
        });
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
