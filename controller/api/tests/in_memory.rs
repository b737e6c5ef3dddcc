//! The controller in memory passes the suite of all controllers.

use std::sync::Arc;

use rustmq_controller_api::testing::InMemoryController;
use rustmq_controller_api::testing::conformance::{Subject, check_all};
use rustmq_controller_api::{Controller, Turns};

struct InMemory(Arc<InMemoryController>);

impl Subject for InMemory {
    fn controller(&self) -> Arc<dyn Controller> {
        Arc::clone(&self.0) as Arc<dyn Controller>
    }

    fn turns(&self) -> &Turns {
        self.0.turns()
    }

    async fn close(&self) {
        self.0.close();
    }
}

#[tokio::test]
async fn the_controller_in_memory_conforms() {
    check_all(async |bounds| InMemory(Arc::new(InMemoryController::new(bounds)))).await;
}
