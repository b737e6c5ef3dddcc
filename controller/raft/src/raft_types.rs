//! The type parameters of openraft.

use std::io::Cursor;

use openraft::BasicNode;
use rustmq_controller_api::Applied;
use rustmq_controller_core::Command;

openraft::declare_raft_types!(
    /// The log's entries are commands; the results are theirs (None for entries of Raft itself).
    pub(crate) MetadataRaft:
        D = Command,
        R = Option<Applied>,
        NodeId = NodeId,
        Node = BasicNode,
        Entry = openraft::Entry<MetadataRaft>,
        SnapshotData = Cursor<Vec<u8>>,
);

/// The id of a voter in the metadata quorum. Not a broker's id.
pub(crate) type NodeId = u64;
pub(crate) type Entry = openraft::Entry<MetadataRaft>;
pub(crate) type LogId = openraft::LogId<NodeId>;
pub(crate) type Vote = openraft::Vote<NodeId>;
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, BasicNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<NodeId, BasicNode>;
pub(crate) type Snapshot = openraft::Snapshot<MetadataRaft>;
pub(crate) type StorageError = openraft::StorageError<NodeId>;
pub(crate) type StorageIoError = openraft::StorageIOError<NodeId>;
