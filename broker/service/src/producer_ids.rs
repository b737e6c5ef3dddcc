//! Ids for idempotent producers, from blocks that the controller allocates to this broker.

use rustmq_broker_core::producer_ids::NextProducerId;
use rustmq_controller_core::{Command, Outcome};
use rustmq_model::{ProducerEpoch, ProducerId};

use crate::broker::{Broker, unexpected};
use crate::error::BrokerError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerIdRequest {
    pub transactional_id: Option<String>,
    /// What an idempotent producer had before: it gets a new id all the same, as on Kafka.
    pub current: Option<(ProducerId, ProducerEpoch)>,
}

impl Broker {
    /// A producer id that nobody had before, with epoch 0.
    pub async fn init_producer_id(
        &self,
        request: ProducerIdRequest,
    ) -> Result<(ProducerId, ProducerEpoch), BrokerError> {
        match request.transactional_id.as_deref() {
            None => {}
            Some("") => {
                let reason = "A transactional id must not be empty.".to_owned();
                return Err(BrokerError::InvalidRequest { reason });
            }
            Some(_) => return Err(BrokerError::Unsupported { what: "A transactional producer" }),
        }
        // Held while a block is asked for, so that many producers that come at once share one
        // block.
        let mut ids = self.producer_ids.lock().await;
        loop {
            match ids.next() {
                NextProducerId::Id(id) => return Ok((id, ProducerEpoch(0))),
                NextProducerId::BlockNeeded => {
                    match self.submit(Command::AllocateProducerIds { broker: self.id }).await? {
                        Outcome::ProducerIdsAllocated(block) => ids.on_block(block),
                        other => return Err(unexpected(&other)),
                    }
                }
            }
        }
    }
}
