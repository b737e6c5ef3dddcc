//! One member of a classic group: its protocols, its assignment, and its requests that wait.
//!
//! This is a plain record: `classic` makes the decisions about members.

use std::time::Duration;

use bytes::Bytes;
use rustmq_model::Instant;

use super::identity::InstanceId;
use super::request::{ClientIdentity, Protocol};
use crate::coordinator::ReplyToken;

/// A member as its group knows it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) instance: Option<InstanceId>,
    pub(crate) client: ClientIdentity,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// In the member's order of preference, each name once.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<ReplyToken>,
    pub(crate) awaiting_sync: Option<ReplyToken>,
    /// The member is in its first join. It cannot send heartbeats yet, because it has no id; so its
    /// session may end while its join waits.
    pub(crate) is_new: bool,
    /// The end of the session, unless the member sends a request before. `None` while a waiting
    /// request keeps the member alive.
    pub(crate) session_deadline: Option<Instant>,
}

impl Member {
    pub(crate) fn is_awaiting(&self) -> bool {
        self.awaiting_join.is_some() || self.awaiting_sync.is_some()
    }

    /// The bytes that the member offers for a protocol; empty if it does not offer the protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|offered| offered.name == protocol).map_or_else(Bytes::new, |it| it.metadata.clone())
    }
}

/// A duration in whole milliseconds as Kafka's 32-bit fields hold it.
pub(crate) fn milliseconds_i32(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
