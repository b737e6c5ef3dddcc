//! Producer ids, from blocks that the controller allocates to this broker: for idempotent producers
//! and for the transaction coordinators.

use std::sync::Arc;

use rustmq_broker_core::producer_ids::{NextProducerId, ProducerIds};
use rustmq_controller_api::Controller;
use rustmq_controller_core::{Command, Outcome};
use rustmq_model::{BrokerId, ProducerEpoch, ProducerId, ProducerKey};

use crate::command::CommandError;
use crate::session::Session;

/// The source of producer ids on this broker. It gives each id once.
pub(crate) struct ProducerIdSource {
    broker: BrokerId,
    controller: Arc<dyn Controller>,
    /// Locked while a block is requested, so that producers that come at the same time share one
    /// block.
    ids: tokio::sync::Mutex<ProducerIds>,
}

impl ProducerIdSource {
    pub(crate) fn new(broker: BrokerId, controller: Arc<dyn Controller>) -> Self {
        Self { broker, controller, ids: tokio::sync::Mutex::default() }
    }

    /// An id that was never given before.
    ///
    /// # Errors
    /// [`CommandError`] if the controller does not allocate a block of ids.
    pub(crate) async fn next(&self) -> Result<ProducerId, CommandError> {
        let mut ids = self.ids.lock().await;
        loop {
            match ids.next() {
                NextProducerId::Id(id) => return Ok(id),
                NextProducerId::BlockNeeded => {
                    let command = Command::AllocateProducerIds { broker: self.broker };
                    match self.controller.submit(command, None).await?.result? {
                        Outcome::ProducerIdsAllocated(block) => ids.on_block(block),
                        other => return Err(CommandError::unexpected(&other)),
                    }
                }
            }
        }
    }
}

impl Session {
    /// A producer id that was never given before, with epoch 0, for an idempotent producer. One
    /// that had an id before gets a new one nevertheless, as on Kafka.
    ///
    /// # Errors
    /// [`CommandError`] if the controller does not allocate a block of ids.
    pub async fn init_producer_id(&self) -> Result<ProducerKey, CommandError> {
        let id = self.broker.producer_ids.next().await?;
        Ok(ProducerKey { id, epoch: ProducerEpoch(0) })
    }
}
