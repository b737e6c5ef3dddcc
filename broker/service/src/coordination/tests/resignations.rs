//! Coordinators that resign because their log refuses an append, and their successors.

use std::fs;

use tracing::Level;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_resigns_while_it_leads_begins_anew_after_a_pause() {
    let rig = Rig::active().await;
    let (group, shard) = (group_in(0), rig.shard(0));
    rig.set(0, Answer::Refused(AppendError::CutOff));
    assert_eq!(rig.committed(group).await, Err(GroupError::NotCoordinator));
    rig.set(0, Answer::Stored);
    let before = tokio::time::Instant::now();
    rig.loaded(&shard).await;
    assert!(before.elapsed() >= Duration::from_secs(1), "it may be refused again: it must not spin");
    assert_eq!(rig.committed(group).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_resigns_stays_resigned_while_its_log_is_led_in_another_epoch() {
    let rig = Rig::active().await;
    let (group, shard) = (group_in(0), rig.shard(0));
    rig.set(0, Answer::Refused(AppendError::CutOff));
    rig.disks[0].change_state(|state| state.leadership.epoch = LeaderEpoch(1));
    assert_eq!(rig.committed(group).await, Err(GroupError::NotCoordinator));
    rig.set(0, Answer::Stored);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.committed(group).await, Err(GroupError::NotCoordinator));
    rig.disks[0].change_state(|state| state.leadership.epoch = shard.leader_epoch());
    rig.loaded(&shard).await;
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_begins_anew_when_the_last_request_of_the_one_before_has_its_result() {
    let rig = Rig::active().await;
    let (group, shard) = (group_in(0), rig.shard(0));
    rig.set(0, Answer::None);
    let waiting = rig.commit(group);
    rig.unanswered(1).await;
    rig.set(0, Answer::Refused(AppendError::CutOff));
    assert_eq!(rig.committed(group).await, Err(GroupError::NotCoordinator));
    assert_eq!(waiting.await.map(|_| ()), Err(GroupError::NotCoordinator));
    let log = tempfile::NamedTempFile::new().expect("a file can be made");
    let writer = log.reopen().expect("it is there");
    let logging = tracing_subscriber::fmt().with_max_level(Level::WARN).with_writer(writer).finish();
    let _logged = tracing::subscriber::set_default(logging);
    let warnings =
        || fs::read_to_string(log.path()).expect("it is there").lines().filter(|line| line.contains("WARN")).count();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(warnings(), 0);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(warnings(), 1, "a long wait is logged once");
    assert_eq!(shard.read(|_| ()), Err(CoordinatorError::Resigned), "the batch may still come into the log");
    rig.logs.unanswered.lock().clear();
    rig.loaded(&shard).await;
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_waits_to_begin_anew_ends_at_once() {
    let rig = Rig::active().await;
    rig.set(0, Answer::Refused(AppendError::CutOff));
    assert_eq!(rig.committed(group_in(0)).await, Err(GroupError::NotCoordinator));
    let before = tokio::time::Instant::now();
    tokio::time::timeout(PATIENCE, rig.coordinators.shutdown()).await.expect("the drivers end");
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_whose_log_has_another_leader_is_none_any_more() {
    let rig = Rig::active().await;
    let groups = GROUPS.map(GroupId::from);
    for group in GROUPS {
        assert_eq!(rig.committed(group).await, Ok(()));
    }
    let listed =
        || rig.coordinators.list().map(|groups| groups.into_iter().map(|it| it.group).collect::<BTreeSet<_>>());
    let are_here = || groups.each_ref().map(|group| rig.coordinators.coordinates(group));
    assert_eq!((listed(), are_here()), (Ok(groups.clone().into()), [true, true]));
    rig.set(coordinator_partition(GROUPS[0], 2).0, Answer::Refused(AppendError::CutOff));
    for _ in 0..2 {
        assert_eq!(rig.committed(GROUPS[0]).await, Err(GroupError::NotCoordinator), "it has resigned");
    }
    assert_eq!(rig.committed(GROUPS[1]).await, Ok(()));
    assert_eq!((listed(), are_here()), (Ok([groups[1].clone()].into()), [false, true]));
}
