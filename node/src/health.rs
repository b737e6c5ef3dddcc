//! The parts of the process that have failed permanently: they do not work until the process starts
//! again. Each part reports its own failure; this file gathers the reports for HTTP, metrics and
//! the end of the process.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A part that has failed permanently, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub part: String,
    pub reason: String,
}

#[derive(Debug)]
struct Part {
    name: String,
    failure: watch::Receiver<Option<String>>,
}

/// The parts that the process depends on.
#[derive(Debug, Default)]
pub struct Health {
    parts: Mutex<Vec<Part>>,
}

impl Health {
    /// Adds a part. A reported failure is permanent.
    pub fn watch(&self, part: impl Into<String>, failure: watch::Receiver<Option<String>>) {
        self.parts.lock().push(Part { name: part.into(), failure });
    }

    /// The failures so far, in the order in which the parts were added.
    pub fn failures(&self) -> Vec<Failure> {
        let failure = |part: &Part| {
            let reason = part.failure.borrow().clone()?;
            Some(Failure { part: part.name.clone(), reason })
        };
        self.parts.lock().iter().filter_map(failure).collect()
    }

    /// Resolves once any of the parts added so far has failed.
    pub async fn failed(&self) {
        let mut waits = JoinSet::new();
        for part in self.parts.lock().iter() {
            let mut failure = part.failure.clone();
            // An error means that the part has ended without a failure.
            waits.spawn(async move { failure.wait_for(Option::is_some).await.is_ok() });
        }
        while let Some(failed) = waits.join_next().await {
            if failed.is_ok_and(|failed| failed) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

/// All failures on one line.
pub fn describe(failures: &[Failure]) -> String {
    let described: Vec<_> = failures.iter().map(|Failure { part, reason }| format!("{part}: {reason}")).collect();
    described.join("; ")
}

/// Shows the health of each part at each scrape.
#[derive(Debug)]
pub struct HealthCollector(pub Arc<Health>);

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "1 once the part has failed in a way that only a restart mends";
        let metric_type = ConstGauge::new(0_i64).metric_type();
        let mut parts = encoder.encode_descriptor("rustmq_failed", help, None, metric_type)?;
        for part in self.0.parts.lock().iter() {
            let failed = ConstGauge::new(i64::from(part.failure.borrow().is_some()));
            failed.encode(parts.encode_family(&[("part", part.name.as_str())])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::watch;

    use super::{Health, describe};

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_heard_of_at_once_and_stays() {
        let health = Health::default();
        let (first, second, third) = (watch::Sender::default(), watch::Sender::default(), watch::Sender::default());
        for (name, part) in [("first", &first), ("second", &second), ("third", &third)] {
            health.watch(name, part.subscribe());
        }
        drop(second);
        let hour = Duration::from_secs(3_600);
        assert!(tokio::time::timeout(hour, health.failed()).await.is_err(), "an orderly end is no failure");
        assert_eq!(health.failures(), []);
        let fails = async {
            tokio::task::yield_now().await;
            third.send_replace(Some("EIO".to_owned()));
        };
        let (failed, ()) = tokio::join!(tokio::time::timeout(hour, health.failed()), fails);
        assert!(failed.is_ok());
        drop(third);
        first.send_replace(Some("panicked".to_owned()));
        assert_eq!(describe(&health.failures()), "first: panicked; third: EIO");
    }
}
