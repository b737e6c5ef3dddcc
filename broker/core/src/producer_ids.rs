//! Hands out producer ids from blocks that the controller allocates.
//!
//! It does not talk to the controller: when a block is used up, the driver gets the next one from
//! there.

use rustmq_controller_core::ProducerIdBlock;
use rustmq_model::ProducerId;

/// The next producer id, or the need for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextProducerId {
    Id(ProducerId),
    /// Ask the controller for a block, hand it to [`ProducerIds::on_block`], and ask again.
    BlockNeeded,
}

/// The allocator. It gives each id once. Ids that are left at a restart are never given.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: Option<ProducerIdBlock>,
}

impl ProducerIds {
    /// The next id, or the need for a block.
    // Not an iterator: it never ends, it only waits for the next block.
    #[expect(clippy::should_implement_trait)]
    pub fn next(&mut self) -> NextProducerId {
        match &mut self.block {
            Some(block) if block.count > 0 => {
                let id = block.first;
                block.first = ProducerId(id.0 + 1);
                block.count -= 1;
                NextProducerId::Id(id)
            }
            _ => NextProducerId::BlockNeeded,
        }
    }

    /// Takes a block from the controller. The rest of the earlier block is dropped: there are
    /// plenty of ids.
    pub fn on_block(&mut self, block: ProducerIdBlock) {
        self.block = Some(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_block_come_once_each_and_then_a_block_is_needed() {
        let mut ids = ProducerIds::default();
        assert_eq!(ids.next(), NextProducerId::BlockNeeded);
        ids.on_block(ProducerIdBlock { first: ProducerId(1000), count: 2 });
        assert_eq!(ids.next(), NextProducerId::Id(ProducerId(1000)));
        assert_eq!(ids.next(), NextProducerId::Id(ProducerId(1001)));
        assert_eq!(ids.next(), NextProducerId::BlockNeeded);
        ids.on_block(ProducerIdBlock { first: ProducerId(5000), count: 1 });
        assert_eq!(ids.next(), NextProducerId::Id(ProducerId(5000)));
        assert_eq!(ids.next(), NextProducerId::BlockNeeded);
    }
}
