//! The caller of an operation. Every operation of the broker is a method of [`Session`], in the
//! file of its capability, so that no operation can be called without a caller: authorization and
//! quotas will have one place below all front ends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Broker;

/// An authenticated identity, in Kafka's form: a type and a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    kind: &'static str,
    name: String,
}

impl Principal {
    /// The identity of a connection that has not authenticated.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { kind: "User", name: "ANONYMOUS".to_owned() }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// The client's end of a connection. The front end that accepted the connection fills it in, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    /// The listener that accepted the connection, by its name in `BrokerConfig::listeners`.
    pub listener: &'static str,
    pub address: SocketAddr,
}

/// The caller of one request: a front end makes a session for each request.
///
/// Kafka's quotas are kept by principal, client id and address (KIP-124, KIP-612): the session has
/// all three.
#[derive(Clone)]
pub struct Session {
    pub(crate) broker: Arc<Broker>,
    caller: Arc<Caller>,
    client_id: Option<String>,
    deadline: Option<Instant>,
}

impl Session {
    /// A session without a deadline. `client_id` is the client's own claim: it may select a quota
    /// and appear in logs, but gives no rights.
    #[must_use]
    pub const fn new(broker: Arc<Broker>, caller: Arc<Caller>, client_id: Option<String>) -> Self {
        Self { broker, caller, client_id, deadline: None }
    }

    /// Sets the deadline of the caller's wait, from now on. An operation that cannot begin in time
    /// does nothing; one that has begun continues, also without its caller.
    pub fn set_timeout(&mut self, timeout: Duration) {
        // A deadline beyond the clock's range is no deadline.
        self.deadline = Instant::now().checked_add(timeout);
    }

    /// A copy of the session with this timeout from now on, instead of an earlier deadline.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let mut session = self.clone();
        session.set_timeout(timeout);
        session
    }

    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The rest of the caller's wait. `None` for a wait without a limit.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broker: _, caller, client_id, deadline } = self;
        f.debug_struct("Session")
            .field("caller", caller)
            .field("client_id", client_id)
            .field("deadline", deadline)
            .finish_non_exhaustive()
    }
}
