//! The port to the cluster's metadata for brokers: the handle [`Controller`], the snapshot of the
//! state, and the subscription to its changes. An implementation orders and stores commands;
//! `rustmq-controller-core` decides their effects.
//!
//! [`Published`] and [`Turns`] are for implementations: they contain the rules that all of them
//! share. The feature `testing` adds an implementation in memory, and a test suite for all
//! implementations. This crate reads no clock but tokio's timer, and opens no files and no
//! connections.
//!
//! ```
//! use rustmq_controller_api::testing::InMemoryController;
//! use rustmq_controller_api::{Controller, Update};
//! use rustmq_controller_core::{Command, Configs, Outcome};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let controller = InMemoryController::default();
//! let (before, mut subscription) = controller.subscribe();
//! let bootstrap = Command::Bootstrap {
//!     cluster_id: "a-cluster".to_owned(),
//!     features: Default::default(),
//!     broker_defaults: Configs::new(),
//! };
//! let applied = controller.submit(bootstrap, None).await?;
//! assert!(matches!(applied.result, Ok(Outcome::Bootstrapped { .. })));
//!
//! // The change is shown when it is answered.
//! let after = controller.snapshot();
//! assert!(before.state.cluster_id().is_none() && after.state.cluster_id().is_some());
//! let Some(Update::Changed(batch)) = subscription.next().await else { panic!("one change") };
//! assert_eq!(batch.index, applied.index);
//! # Ok::<(), rustmq_controller_api::SubmitError>(())
//! # }).unwrap();
//! ```

#![forbid(unsafe_code)]

mod controller;
mod published;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod turns;

pub use controller::{Applied, Controller, Submission, SubmitError};
pub use published::Published;
pub use subscription::{ClusterSnapshot, DeltaBatch, Subscription, Update};
pub use turns::{Turn, Turns};
