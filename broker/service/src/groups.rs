//! The types of groups in requests and results. `broker/core` has the coordinator of groups.

pub use rustmq_broker_core::groups::{
    ClassicState, CommittedOffset, ConsumerState, GroupError, GroupId, GroupState, InstanceId, MemberId,
};

/// Consumer groups (KIP-848).
pub mod consumer {
    pub use rustmq_broker_core::groups::consumer::description::{ConsumerGroupDescription, ConsumerMemberDescription};
    pub use rustmq_broker_core::groups::consumer::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
    pub use rustmq_broker_core::groups::consumer::partitions::Assignment;
}

/// The requests of members and administrators, and their answers.
pub mod request {
    pub use rustmq_broker_core::groups::request::{
        ClientIdentity, GroupDescription, GroupListing, HeartbeatRequest, JoinRequest, Joined, LeaveRequest,
        LeavingMember, LeftMember, MemberDescription, Protocol, SyncRequest, Synced,
    };
}
