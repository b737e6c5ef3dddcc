//! Ids for idempotent producers, from blocks that the controller allocates to this broker.

use rustmq_broker_core::ErrorKind;
use rustmq_broker_core::producer_ids::NextProducerId;
use rustmq_controller_core::{Command, Outcome};
use rustmq_model::{ProducerEpoch, ProducerId};

use crate::command::CommandError;
use crate::session::Session;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerIdRequest {
    pub transactional_id: Option<String>,
    /// The id and epoch that an idempotent producer had before. It gets a new id nevertheless, as
    /// on Kafka.
    pub current: Option<(ProducerId, ProducerEpoch)>,
}

/// Why a producer gets no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerIdError {
    #[error("A transactional id must not be empty.")]
    EmptyTransactionalId,
    #[error("A transactional producer is not supported by this version of RustMQ.")]
    Transactional,
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl ProducerIdError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::EmptyTransactionalId | Self::Transactional => ErrorKind::Invalid,
            Self::Command(error) => error.kind(),
        }
    }
}

impl Session {
    /// A producer id that was never given before, with epoch 0.
    ///
    /// # Errors
    /// [`ProducerIdError`] for any transactional id, and if the controller does not allocate a
    /// block of ids.
    pub async fn init_producer_id(
        &self,
        request: ProducerIdRequest,
    ) -> Result<(ProducerId, ProducerEpoch), ProducerIdError> {
        match request.transactional_id.as_deref() {
            None => {}
            Some("") => return Err(ProducerIdError::EmptyTransactionalId),
            Some(_) => return Err(ProducerIdError::Transactional),
        }
        // Locked while a block is requested, so that producers that come at the same time share one
        // block.
        let mut ids = self.broker.producer_ids.lock().await;
        loop {
            match ids.next() {
                NextProducerId::Id(id) => return Ok((id, ProducerEpoch(0))),
                NextProducerId::BlockNeeded => {
                    match self.broker.submit(Command::AllocateProducerIds { broker: self.broker.id }).await? {
                        Outcome::ProducerIdsAllocated(block) => ids.on_block(block),
                        other => return Err(CommandError::unexpected(&other).into()),
                    }
                }
            }
        }
    }
}
