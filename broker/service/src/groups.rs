//! The types of groups in requests and results. `broker/core` has the coordinator of groups.

pub use rustmq_broker_core::groups::{ClassicState, CommittedOffset, GroupError, GroupId, InstanceId, MemberId};

/// The requests of members and administrators, and their answers.
pub mod request {
    pub use rustmq_broker_core::groups::request::{
        ClientIdentity, GroupDescription, GroupListing, HeartbeatRequest, JoinRequest, Joined, LeaveRequest,
        LeavingMember, LeftMember, MemberDescription, Protocol, SyncRequest, Synced,
    };
}
