//! Offsets in transactions: from the producer's commit to what a consumer of the group fetches.

use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};
use rustmq_broker_service::testing::operations::{PATIENCE, named};
use rustmq_broker_service::transactions::*;
use rustmq_broker_service::*;
use rustmq_model::{
    Offset, PartitionId, ProducerKey, TopicName, TopicPartition, TransactionEnd, TransactionMarker, TransactionVersion,
};

use crate::transactions::{Rig, TOPIC, id};

const GROUP: &str = "readers";
/// Both protocols: with a request that adds the group, and without one.
const VERSIONS: [TransactionVersion; 2] = [TransactionVersion::V0, TransactionVersion::V2];

type Shown = Result<Option<i64>, OffsetFetchError>;

/// Asks until a coordinator serves the group.
async fn await_group(rig: &Rig) {
    let ready = async {
        loop {
            let found = rig.broker.session.find_coordinator(&GroupId::from(GROUP)).await;
            if found.is_ok() && rig.broker.session.fetch_offsets(&GroupId::from(GROUP), OffsetsWanted::All).is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.unwrap();
}

async fn start(version: TransactionVersion) -> Rig {
    let rig = Rig::start(version).await;
    await_group(&rig).await;
    rig
}

async fn add(rig: &Rig) -> Result<(), TransactionError> {
    rig.broker.session.add_offsets_to_transaction(id(), rig.producer, &GroupId::from(GROUP)).await
}

/// Begins a transaction that has the group, as far as the client has to.
async fn begin(rig: &Rig) {
    if !rig.version.bumps_epochs() {
        add(rig).await.unwrap();
    }
}

fn entry(topic: &str, partition: i32, offset: i64) -> CommitEntry {
    let (topic, partition, offset) = (named(topic), PartitionId(partition), Offset(offset));
    CommitEntry { topic, partition, offset, leader_epoch: None, metadata: String::new() }
}

fn commit_of(rig: &Rig, offsets: Vec<CommitEntry>) -> TransactionalCommit {
    let commit = GroupCommit {
        group: GroupId::from(GROUP),
        member: MemberId::from(""),
        instance: None,
        generation: -1,
        supports_member_epochs: true,
        retention: None,
        offsets,
    };
    TransactionalCommit { id: id(), producer: rig.producer, version: rig.version, commit }
}

async fn commit(rig: &Rig, partition: i32, offset: i64) -> Result<(), TransactionalOffsetError> {
    let commit = commit_of(rig, vec![entry(TOPIC, partition, offset)]);
    rig.broker.session.commit_offsets_in_transaction(commit).await.remove(0)
}

/// The offset of a partition, as any reader sees it and as one of stable offsets does.
fn fetched(rig: &Rig, partition: i32) -> (Shown, Shown) {
    let wanted = || OffsetsWanted::These(vec![(named(TOPIC), PartitionId(partition))]);
    let group = GroupId::from(GROUP);
    let offset = |mut fetched: Vec<FetchedOffset>| fetched.remove(0).committed.map(|found| found.map(|it| it.offset.0));
    let session = &rig.broker.session;
    let any = session.fetch_offsets(&group, wanted()).map(offset).unwrap();
    (any, session.fetch_stable_offsets(&group, wanted()).map(offset).unwrap())
}

#[tokio::test]
async fn offsets_show_when_their_transaction_commits_and_never_when_it_aborts() {
    for version in VERSIONS {
        let mut rig = start(version).await;
        begin(&rig).await;
        commit(&rig, 0, 5).await.unwrap();
        assert_eq!(fetched(&rig, 0), (Ok(None), Err(OffsetFetchError::Unstable)), "{version:?} is open");
        assert_eq!(fetched(&rig, 1), (Ok(None), Ok(None)), "{version:?}: another partition is stable");
        rig.end(TransactionEnd::Commit).await.unwrap();
        assert_eq!(fetched(&rig, 0), (Ok(Some(5)), Ok(Some(5))), "{version:?} is committed");
        begin(&rig).await;
        commit(&rig, 0, 9).await.unwrap();
        assert_eq!(fetched(&rig, 0), (Ok(Some(5)), Err(OffsetFetchError::Unstable)), "{version:?} is open again");
        let all = rig.broker.session.fetch_stable_offsets(&GroupId::from(GROUP), OffsetsWanted::All).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].committed, Err(OffsetFetchError::Unstable));
        rig.end(TransactionEnd::Abort).await.unwrap();
        assert_eq!(fetched(&rig, 0), (Ok(Some(5)), Ok(Some(5))), "{version:?} is aborted");
        rig.broker.stop().await;
    }
}

#[tokio::test]
async fn a_restart_keeps_offsets_pending_and_the_commit_still_shows_them() {
    let rig = start(TransactionVersion::V2).await;
    commit(&rig, 0, 5).await.unwrap();
    let Rig { broker, producer, version } = rig;
    let mut rig = Rig { broker: broker.restart().await, producer, version };
    rig.await_coordinator().await;
    await_group(&rig).await;
    assert_eq!(fetched(&rig, 0), (Ok(None), Err(OffsetFetchError::Unstable)));
    rig.end(TransactionEnd::Commit).await.unwrap();
    assert_eq!(fetched(&rig, 0), (Ok(Some(5)), Ok(Some(5))));
    rig.broker.stop().await;
}

#[tokio::test]
async fn a_commit_that_the_transaction_coordinator_does_not_confirm_is_refused() {
    let rig = start(TransactionVersion::V0).await;
    assert_eq!(commit(&rig, 0, 5).await, Err(TransactionError::NotInTransaction.into()), "the group was not added");
    add(&rig).await.unwrap();
    let other = ProducerKey { epoch: rustmq_model::ProducerEpoch(7), ..rig.producer };
    let stale = Rig { producer: other, ..rig };
    assert_eq!(commit(&stale, 0, 5).await, Err(TransactionError::ProducerFenced.into()));
    assert_eq!(fetched(&stale, 0), (Ok(None), Ok(None)), "nothing is pending");
    stale.broker.stop().await;
}

#[tokio::test]
async fn a_fenced_producer_does_not_disturb_the_transaction_of_its_successor() {
    for version in VERSIONS {
        let mut rig = start(version).await;
        let fenced = rig.producer;
        rig.producer = rig.init(None).await.unwrap();
        begin(&rig).await;
        commit(&rig, 0, 5).await.unwrap();
        let mut late = commit_of(&rig, vec![entry(TOPIC, 0, 1), entry(TOPIC, 1, 1)]);
        late.producer = fenced;
        let refused = rig.broker.session.commit_offsets_in_transaction(late).await;
        assert_eq!(refused, vec![Err(TransactionError::ProducerFenced.into()); 2], "{version:?}");
        rig.end(TransactionEnd::Commit).await.unwrap();
        assert_eq!(fetched(&rig, 0), (Ok(Some(5)), Ok(Some(5))), "{version:?}");
        assert_eq!(fetched(&rig, 1), (Ok(None), Ok(None)), "{version:?}");
        rig.broker.stop().await;
    }
}

#[tokio::test]
async fn each_partition_has_a_result_and_a_refused_request_begins_no_transaction() {
    let mut rig = start(TransactionVersion::V2).await;
    let session = rig.broker.session.clone();
    let unknown = session.commit_offsets_in_transaction(commit_of(&rig, vec![entry(TOPIC, 9, 1)])).await;
    assert!(
        matches!(unknown[..], [Err(TransactionalOffsetError::Offset(GroupOffsetError::UnknownPartition(_)))]),
        "{unknown:?}"
    );
    let mut nameless = commit_of(&rig, vec![entry(TOPIC, 0, 1)]);
    nameless.commit.group = GroupId::from("");
    let refused = session.commit_offsets_in_transaction(nameless).await;
    assert_eq!(refused, [Err(GroupError::InvalidGroupId.into())]);
    assert_eq!(session.describe_transaction(&id()).unwrap().state, TransactionState::Empty);
    let mixed = vec![entry("absent", 0, 1), entry(TOPIC, 0, 5), entry(TOPIC, 9, 1)];
    let results = session.commit_offsets_in_transaction(commit_of(&rig, mixed)).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
    rig.end(TransactionEnd::Commit).await.unwrap();
    assert_eq!(fetched(&rig, 0).0, Ok(Some(5)));
    rig.broker.stop().await;
}

#[tokio::test]
async fn a_producer_that_states_a_member_is_checked_against_the_group() {
    let rig = start(TransactionVersion::V2).await;
    let mut stated = commit_of(&rig, vec![entry(TOPIC, 0, 1)]);
    stated.commit.generation = 3;
    let refused = rig.broker.session.commit_offsets_in_transaction(stated.clone()).await;
    assert_eq!(refused, [Err(GroupError::GroupIdNotFound.into())], "no group has had a generation");
    commit(&rig, 0, 5).await.unwrap();
    stated.commit.member = MemberId::from("gone");
    stated.commit.instance = Some(InstanceId::from("gone"));
    let refused = rig.broker.session.commit_offsets_in_transaction(stated).await;
    assert_eq!(refused, [Err(GroupError::UnknownMemberId.into())]);
    rig.broker.stop().await;
}

#[tokio::test]
async fn an_operator_ends_a_transaction_that_hangs_in_a_partition_of_groups() {
    let rig = start(TransactionVersion::V0).await;
    begin(&rig).await;
    commit(&rig, 0, 5).await.unwrap();
    let found = rig.broker.session.describe_transaction(&id()).unwrap();
    let partition = found.partitions[0].clone();
    assert_eq!(partition.topic.as_str(), "__consumer_offsets");
    let marker = TransactionMarker {
        producer: rig.producer,
        end: TransactionEnd::Abort,
        coordinator_epoch: 0,
        version: TransactionVersion::V0,
    };
    let absent = TopicPartition { topic: TopicName::new("__consumer_offsets").unwrap(), partition: PartitionId(9_999) };
    let data = TopicPartition { topic: TopicName::new(TOPIC).unwrap(), partition: PartitionId(0) };
    // The results have the order of the request, whoever writes the markers.
    let results = rig.broker.session.write_markers(marker, &[data, absent, partition]).await;
    assert_eq!((&results[0], &results[2]), (&Ok(()), &Ok(())));
    assert!(matches!(results[1], Err(MarkerError::Locate(LocateError::UnknownPartition(_)))), "{results:?}");
    assert_eq!(fetched(&rig, 0), (Ok(None), Ok(None)));
    rig.broker.stop().await;
}
