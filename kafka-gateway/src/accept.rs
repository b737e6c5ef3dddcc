//! Accepting connections, also while the process is out of descriptors. Whom to serve is not
//! decided here.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long accepting pauses after it failed.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener whose failures are waited out, and said when they begin and when they end.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    failures: Failures,
}

impl Acceptor {
    #[must_use]
    pub const fn new(listener: TcpListener) -> Self {
        Self { listener, failures: Failures { count: 0 } }
    }

    /// The next connection. May be cancelled.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    if let Some(failures) = self.failures.end() {
                        tracing::warn!(failures, "connections are accepted again");
                    }
                    return accepted;
                }
                Err(error) => {
                    if self.failures.add() {
                        tracing::warn!(%error, "accepting connections fails: it is tried again and again");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Failures without a success between them.
#[derive(Debug)]
struct Failures {
    count: u64,
}

impl Failures {
    /// One more; whether it is the first.
    const fn add(&mut self) -> bool {
        self.count += 1;
        self.count == 1
    }

    /// A success; how many failed before it, if any did.
    fn end(&mut self) -> Option<u64> {
        let count = std::mem::take(&mut self.count);
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::Failures;

    #[test]
    fn failures_are_said_when_they_begin_and_when_they_end() {
        let mut failures = Failures { count: 0 };
        assert_eq!(failures.end(), None);
        for _ in 0..2 {
            assert!(failures.add());
            assert!(!failures.add() && !failures.add());
            assert_eq!(failures.end(), Some(3));
            assert_eq!(failures.end(), None);
        }
    }
}
