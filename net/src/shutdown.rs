//! Tells all tasks of a server that it shuts down: when that begins, and how long it may take.

use std::time::Duration;

use tokio::sync::watch;

/// Begins a shutdown. If it is dropped first, the shutdown begins without a grace period.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<Option<Duration>>);

/// Waits for a shutdown. Clones wait for the same one.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Option<Duration>>);

/// Creates a shutdown that has not begun.
#[must_use]
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (trigger, told) = watch::channel(None);
    (ShutdownTrigger(trigger), Shutdown(told))
}

impl ShutdownTrigger {
    /// Begins the shutdown: from now on no new connection is served, and open ones have `grace` to
    /// end.
    pub fn begin(&self, grace: Duration) {
        self.0.send_replace(Some(grace));
    }
}

impl Shutdown {
    /// Waits until the shutdown has begun. Returns the grace period. Safe to cancel.
    pub async fn begun(&mut self) -> Duration {
        let told = self.0.wait_for(Option::is_some).await;
        told.ok().and_then(|grace| *grace).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::shutdown;

    #[tokio::test]
    async fn whoever_asks_and_however_late_hears_of_it() {
        let (trigger, mut first) = shutdown();
        let mut second = first.clone();
        assert!(tokio::time::timeout(Duration::from_millis(1), first.begun()).await.is_err());
        trigger.begin(Duration::from_secs(7));
        drop(trigger);
        for _ in 0..2 {
            assert_eq!(first.begun().await, Duration::from_secs(7));
            assert_eq!(second.begun().await, Duration::from_secs(7));
        }
    }

    #[tokio::test]
    async fn a_trigger_that_is_dropped_gives_no_grace() {
        let (trigger, mut told) = shutdown();
        drop(trigger);
        assert_eq!(told.begun().await, Duration::ZERO);
    }
}
