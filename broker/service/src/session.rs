//! Who calls an operation. Every operation of the broker is a method of [`Session`], in the file of
//! its capability, so none can be called without a caller: authorization and quotas will stand in
//! one place below all front ends.

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

/// One request's caller: a front end makes a session for each request.
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
    /// A session without a deadline. `client_id` is the client's own claim: it may name a quota and
    /// show in logs, and gives no right.
    #[must_use]
    pub const fn new(broker: Arc<Broker>, caller: Arc<Caller>, client_id: Option<String>) -> Self {
        Self { broker, caller, client_id, deadline: None }
    }

    /// The caller waits no longer than this from now on. An operation that cannot begin in time
    /// does nothing; one that has begun goes on, also without the caller.
    pub fn set_timeout(&mut self, timeout: Duration) {
        // A time beyond the clock's range is none.
        self.deadline = Instant::now().checked_add(timeout);
    }

    /// The same caller with this timeout, in place of an earlier one.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
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

    /// How long the caller still waits. `None`: without a limit.
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
