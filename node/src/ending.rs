//! Decides when a serving process ends: after a signal, or after a failure if the configuration in
//! force says so. [`crate::process`] carries out the end.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::health::{self, Health};
use crate::signals::Signals;

/// Waits for a signal, or for a failure while the configuration says that failures end the process.
pub async fn until_end_is_due(mut config: watch::Receiver<Arc<Config>>, signals: &mut Signals, health: &Health) {
    tokio::select! {
        () = signals.end() => {}
        () = failure_that_ends(&mut config, health) => {
            let failures = health::describe(&health.failures());
            tracing::error!(failures, "a part has failed for good: the process ends");
        }
    }
}

/// Resolves once a part has failed and the configuration in force says that a failure ends the
/// process. Either may come first.
async fn failure_that_ends(config: &mut watch::Receiver<Arc<Config>>, health: &Health) {
    health.failed().await;
    if config.wait_for(|config| config.process.exit_on_failure).await.is_err() {
        // Without a reload, the configuration does not change any more.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::failure_that_ends;
    use crate::config::{Config, Sources};
    use crate::health::Health;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn config(exit_on_failure: bool) -> Arc<Config> {
        let mut config = Config::resolve(&Sources::default());
        config.process.exit_on_failure = exit_on_failure;
        Arc::new(config)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_the_process_from_the_reload_on_that_says_so() {
        let (health, part) = (Health::default(), watch::Sender::default());
        health.watch("part", part.subscribe());
        let (in_force, mut seen) = watch::channel(config(true));
        assert!(timeout(HOUR, failure_that_ends(&mut seen, &health)).await.is_err(), "nothing has failed");
        in_force.send_replace(config(false));
        part.send_replace(Some("EIO".to_owned()));
        assert!(timeout(HOUR, failure_that_ends(&mut seen, &health)).await.is_err(), "it is to go on");
        let asks = async {
            tokio::task::yield_now().await;
            in_force.send_replace(config(true));
        };
        let (ended, ()) = tokio::join!(timeout(HOUR, failure_that_ends(&mut seen, &health)), asks);
        assert!(ended.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn without_reloads_the_configuration_of_the_start_holds() {
        let (health, part) = (Health::default(), watch::Sender::default());
        health.watch("part", part.subscribe());
        part.send_replace(Some("EIO".to_owned()));
        for (exits, expected) in [(true, true), (false, false)] {
            let (in_force, mut seen) = watch::channel(config(exits));
            drop(in_force);
            let ended = timeout(HOUR, failure_that_ends(&mut seen, &health)).await.is_ok();
            assert_eq!(ended, expected);
        }
    }
}
