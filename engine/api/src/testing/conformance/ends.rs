//! The end of an engine, of its device, and of the patience with it.

use std::pin::pin;
use std::time::Duration;

use rustmq_model::{LeaderEpoch, Offset};

use super::{Subject, poll_once};
use crate::testing::operations::{append_value, batch, id, open, read_from, to_append, values};
use crate::{
    AppendError, DeleteError, EngineStopped, LogConfig, OpenError, OpenPartition, ReadError, ShutdownError, TrimError,
    TrimTo,
};

fn to_open(partition: i32) -> OpenPartition {
    OpenPartition { id: id(partition), leader_epoch: LeaderEpoch(1), config: LogConfig::unlimited() }
}

pub(super) async fn a_shutdown_refuses_later_requests(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    let last = engine.append(vec![to_append(0, batch(&[b"last"]))]).await;
    let (first, second) = tokio::join!(engine.shutdown(), engine.shutdown_within(Duration::from_secs(60)));
    assert_eq!(((), Ok(())), (first, second));
    assert_eq!(last.wait().await[0].as_ref().unwrap().base_offset, Offset(0), "what came before is answered");
    assert_eq!(append_value(engine, 0, b"v").await, Err(AppendError::Stopped));
    assert_eq!(engine.open(vec![to_open(0)]).await[0].as_ref().unwrap_err(), &OpenError::Stopped);
    assert_eq!(engine.configure(id(0), LogConfig::unlimited()).await, Err(EngineStopped));
    assert_eq!(engine.trim(id(0), TrimTo::HighWatermark).await, Err(TrimError::Stopped));
    assert_eq!(engine.delete(vec![id(0)]).await, [Err(DeleteError::Stopped)]);
    assert_eq!(reader.read(read_from(Offset(0), 100)).await.unwrap_err(), ReadError::Closed);
    assert!(engine.failures().iter().all(|failure| failure.borrow().is_none()), "an end is no failure");
}

pub(super) async fn a_broken_device_refuses_appends_and_leaves_the_log_readable(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    append_value(engine, 0, b"kept").await.unwrap();
    let mut failures = engine.failures();
    subject.break_device();
    let refused = append_value(engine, 0, b"lost").await;
    let Err(AppendError::Storage(failure)) = refused else { panic!("{refused:?}") };
    // One shard has failed; the other has written nothing.
    let reason = failure.to_string();
    let told = failures.iter_mut().filter_map(|failure| failure.borrow_and_update().clone());
    assert_eq!(told.collect::<Vec<_>>(), std::slice::from_ref(&reason));
    let poisoned = engine.status().shards.into_iter().filter_map(|shard| shard.poisoned);
    assert_eq!(poisoned.collect::<Vec<_>>(), std::slice::from_ref(&reason));
    assert_eq!(append_value(engine, 0, b"lost").await, Err(AppendError::Storage(failure)));
    assert_eq!(reader.frontiers().log_end, Offset(1), "nothing of it is left");
    assert_eq!(values(&reader).await, ["kept"]);
    let trimmed = engine.trim(id(0), TrimTo::HighWatermark).await;
    assert!(matches!(trimmed, Err(TrimError::Storage(_))), "{trimmed:?}");
    assert!(matches!(engine.open(vec![to_open(0)]).await[0], Err(OpenError::Storage(_))));
    let deleted = engine.delete(vec![id(0)]).await;
    assert!(matches!(deleted[0], Err(DeleteError::Storage(_))), "{deleted:?}");
    assert_eq!(engine.configure(id(0), LogConfig::unlimited()).await, Ok(()));
}

pub(super) async fn a_stalled_device_holds_up_only_what_it_must(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    append_value(engine, 0, b"kept").await.unwrap();
    subject.stall();
    let append = engine.append(vec![to_append(0, batch(&[b"late"]))]).await;
    let mut append = pin!(append.wait());
    let mut trim = pin!(engine.trim(id(0), TrimTo::Offset(Offset(1))));
    assert!(poll_once(trim.as_mut()).is_pending());
    // What needs no commit is answered.
    engine.configure(id(0), LogConfig::unlimited()).await.unwrap();
    assert_eq!(values(&reader).await, ["kept"]);
    assert!(poll_once(append.as_mut()).is_pending() && poll_once(trim.as_mut()).is_pending());
    let limit = Duration::from_millis(20);
    assert_eq!(engine.shutdown_within(limit).await, Err(ShutdownError { limit }));
    assert!(poll_once(append.as_mut()).is_pending());
    subject.resume();
    assert_eq!(append.await[0].as_ref().unwrap().base_offset, Offset(1));
    assert_eq!(trim.await, Ok(Offset(1)), "what came before the shutdown is carried out");
}
