//! The words of groups that requests and results are made of. Their coordinator is in
//! `broker/core`.

pub use rustmq_broker_core::groups::{ClassicState, CommittedOffset, GroupError, GroupId, InstanceId, MemberId};

/// What members and administrators ask of a group, and what they are answered.
pub mod request {
    pub use rustmq_broker_core::groups::request::{
        ClientIdentity, GroupDescription, GroupListing, HeartbeatRequest, JoinRequest, Joined, LeaveRequest,
        LeavingMember, LeftMember, MemberDescription, Protocol, SyncRequest, Synced,
    };
}
