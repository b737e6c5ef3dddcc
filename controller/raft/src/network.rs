//! The network of a single voter: it has no peers, and every call fails.

use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{AnyError, BasicNode};

use crate::raft_types::{MetadataRaft, NodeId};

/// Makes connections that refuse every call.
pub(crate) struct NoPeers;

/// A connection that refuses every call.
pub(crate) struct NoPeer {
    target: NodeId,
}

#[derive(Debug, thiserror::Error)]
#[error("this controller is a single voter and dials nobody, and so not node {target}")]
struct NoPeerError {
    target: NodeId,
}

impl NoPeer {
    fn refusal(&self) -> Unreachable {
        Unreachable::from(AnyError::new(&NoPeerError { target: self.target }))
    }
}

impl RaftNetworkFactory<MetadataRaft> for NoPeers {
    type Network = NoPeer;

    async fn new_client(&mut self, target: NodeId, _node: &BasicNode) -> NoPeer {
        NoPeer { target }
    }
}

impl RaftNetwork<MetadataRaft> for NoPeer {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<MetadataRaft>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RPCError<NodeId, BasicNode, RaftError<NodeId>>> {
        Err(RPCError::Unreachable(self.refusal()))
    }

    async fn install_snapshot(
        &mut self,
        _request: InstallSnapshotRequest<MetadataRaft>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, RPCError<NodeId, BasicNode, RaftError<NodeId, InstallSnapshotError>>>
    {
        Err(RPCError::Unreachable(self.refusal()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<NodeId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RPCError<NodeId, BasicNode, RaftError<NodeId>>> {
        Err(RPCError::Unreachable(self.refusal()))
    }
}
