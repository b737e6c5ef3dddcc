//! Consumer groups over their log: members, committed offsets, restarts, deletion.

use std::time::Duration;

use bytes::Bytes;
use rustmq_broker_core::groups::coordinator_partition;
use rustmq_broker_core::groups::records::{encode_offset_commit_key, encode_offset_commit_value};
use rustmq_broker_service::groups::request::{
    ClientIdentity, HeartbeatRequest, JoinRequest, Joined, LeaveRequest, LeavingMember, Protocol, SyncRequest,
};
use rustmq_broker_service::groups::{ClassicState, CommittedOffset, GroupError, GroupId, GroupState, MemberId};
use rustmq_broker_service::testing::operations::{PATIENCE, batch_of, create, named, produce};
use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
use rustmq_broker_service::*;
use rustmq_controller_api::Controller;
use rustmq_controller_core::{Command, NewTopic, Placement, TopicSelector};
use rustmq_engine_api::{Append, AppendFrontier, AppendSource};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicIdPartition, TopicName, TopicPartition};

const FAST: [(&str, &str); 2] = [("group.initial.rebalance.delay.ms", "0"), ("offsets.topic.num.partitions", "5")];

fn join_request(group: &str, member: &str) -> JoinRequest {
    JoinRequest {
        group: GroupId::from(group),
        member: MemberId::from(member),
        new_member: MemberId::from(""),
        instance: None,
        client: ClientIdentity { id: "client".to_owned(), host: "/127.0.0.1".to_owned() },
        session_timeout: Duration::from_secs(30),
        rebalance_timeout: Duration::from_secs(30),
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::from_static(b"\0\0\0\0\0\0") }],
        requires_known_member_id: true,
        supports_skip_assignment: false,
    }
}

/// Joins as a client does: first for a member id, then with it; then brings the assignment.
async fn join(rig: &InMemoryBroker, group: &str) -> Joined {
    let first = rig.session.join_group(join_request(group, "")).await;
    let Err(GroupError::MemberIdRequired { member_id }) = first else { panic!("{first:?}") };
    assert!(member_id.as_str().starts_with("client-"));
    let joined = rig.session.join_group(join_request(group, member_id.as_str()));
    let joined = tokio::time::timeout(PATIENCE, joined).await.unwrap().unwrap();
    let sync = SyncRequest {
        group: GroupId::from(group),
        member: joined.member.clone(),
        instance: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: vec![(joined.member.clone(), Bytes::from_static(b"mine"))],
    };
    let synced = tokio::time::timeout(PATIENCE, rig.session.sync_group(sync)).await.unwrap().unwrap();
    assert_eq!(synced.assignment, "mine");
    joined
}

fn heartbeat(group: &str, joined: &Joined) -> HeartbeatRequest {
    HeartbeatRequest {
        group: GroupId::from(group),
        member: joined.member.clone(),
        instance: None,
        generation: joined.generation,
    }
}

fn entry(topic: TopicRef, partition: i32, offset: i64) -> CommitEntry {
    CommitEntry {
        topic,
        partition: PartitionId(partition),
        offset: Offset(offset),
        leader_epoch: Some(LeaderEpoch(0)),
        metadata: "note".to_owned(),
    }
}

fn simple_commit(group: &str, offsets: Vec<CommitEntry>) -> GroupCommit {
    GroupCommit {
        group: GroupId::from(group),
        member: MemberId::from(""),
        instance: None,
        generation: -1,
        supports_member_epochs: true,
        retention: None,
        offsets,
    }
}

/// Committed offset and metadata of partition 0 of "orders"; waits while the coordinator loads.
async fn committed(rig: &InMemoryBroker, group: &str) -> Option<(i64, String)> {
    let group = GroupId::from(group);
    let fetch = || rig.session.fetch_offsets(&group, OffsetsWanted::These(vec![(named("orders"), PartitionId(0))]));
    let load = async {
        loop {
            match fetch() {
                Err(GroupError::CoordinatorLoadInProgress) => tokio::task::yield_now().await,
                fetched => return fetched,
            }
        }
    };
    let mut fetched = tokio::time::timeout(PATIENCE, load).await.unwrap().unwrap();
    fetched.remove(0).committed.unwrap().map(|committed| (committed.offset.0, committed.metadata))
}

async fn find(rig: &InMemoryBroker, group: &str) {
    assert_eq!(rig.session.find_coordinator(&GroupId::from(group)).await, Ok(rig.broker.id()));
    // A new coordinator loads an empty log, which takes a moment.
    assert_eq!(committed(rig, group).await, None);
}

#[tokio::test]
async fn a_commit_survives_a_restart_and_so_does_the_member() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::with_kafka(&FAST)).await;
    create(&rig.session, "orders", 2, &[]).await;
    for _ in 0..9 {
        produce(&rig.session, "orders", 0, batch_of(&["v"])).await.unwrap();
    }
    let early = rig.session.join_group(join_request("readers", "")).await;
    assert_eq!(early, Err(GroupError::NotCoordinator), "the client has to look for the coordinator first");
    find(&rig, "readers").await;
    assert_eq!(rig.session.topics(TopicSelection::All, AutoCreation::Refused).await.len(), 2);
    let joined = join(&rig, "readers").await;
    rig.session.heartbeat(&heartbeat("readers", &joined)).await.unwrap();
    let offsets = vec![
        entry(named("orders"), 0, 7),
        entry(named("nowhere"), 0, 1),
        entry(TopicRef::Id(rig.session.topic_id("orders").unwrap()), 1, -2),
        entry(named("orders"), 2, 1),
    ];
    let commit = GroupCommit {
        member: joined.member.clone(),
        generation: joined.generation,
        ..simple_commit("readers", offsets)
    };
    let outcomes = rig.session.commit_offsets(commit).await;
    assert_eq!(outcomes[0], Ok(()));
    assert!(matches!(&outcomes[1], Err(GroupOffsetError::UnknownTopic(_))));
    assert_eq!(outcomes[2], Ok(()));
    assert!(matches!(&outcomes[3], Err(GroupOffsetError::UnknownPartition(_))));
    let text = rig.metrics();
    let lag = "rustmq_consumer_lag_records{group=\"readers\",topic=\"orders\",partition=\"0\"} 2\n";
    assert!(text.contains(lag), "{text}");
    assert!(text.contains("rustmq_groups{type=\"classic\",state=\"Stable\"} 1\n"), "{text}");
    let rig = rig.restart().await;
    assert_eq!(committed(&rig, "readers").await, Some((7, "note".to_owned())));
    let all = rig.session.fetch_offsets(&GroupId::from("readers"), OffsetsWanted::All).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].committed.as_ref().unwrap().as_ref().unwrap().offset, Offset(-2));
    rig.session.heartbeat(&heartbeat("readers", &joined)).await.unwrap();
    let described = rig.session.describe_group(&GroupId::from("readers")).unwrap();
    assert_eq!((described.state, described.members.len()), (ClassicState::Stable, 1));
    rig.stop().await;
}

#[tokio::test]
async fn a_left_group_can_be_deleted_and_is_gone_for_good() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::with_kafka(&FAST)).await;
    create(&rig.session, "orders", 1, &[]).await;
    find(&rig, "readers").await;
    let joined = join(&rig, "readers").await;
    let group = GroupId::from("readers");
    assert_eq!(rig.session.delete_group(&group).await, Err(GroupError::NonEmptyGroup));
    let leaving = LeavingMember { member: joined.member.clone(), instance: None, reason: None };
    let left = rig.session.leave_group(LeaveRequest { group: group.clone(), members: vec![leaving] }).await.unwrap();
    assert_eq!(left[0].outcome, Ok(()));
    assert_eq!(
        rig.session.commit_offsets(simple_commit("readers", vec![entry(named("orders"), 0, 3)])).await,
        [Ok(())]
    );
    assert_eq!(rig.session.list_groups().unwrap()[0].state, GroupState::Classic(ClassicState::Empty));
    rig.session.delete_group(&group).await.unwrap();
    assert_eq!(committed(&rig, "readers").await, None);
    let rig = rig.restart().await;
    assert_eq!(committed(&rig, "readers").await, None);
    assert_eq!(rig.session.describe_group(&group).unwrap().state, ClassicState::Dead);
    rig.stop().await;
}

#[tokio::test]
async fn offsets_go_when_asked_and_with_their_topic() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::with_kafka(&FAST)).await;
    create(&rig.session, "orders", 2, &[]).await;
    find(&rig, "readers").await;
    let offsets = vec![entry(named("orders"), 0, 3), entry(named("orders"), 1, 4)];
    assert_eq!(rig.session.commit_offsets(simple_commit("readers", offsets)).await, [Ok(()), Ok(())]);
    let group = GroupId::from("readers");
    let partitions = vec![("orders".to_owned(), PartitionId(0)), ("nowhere".to_owned(), PartitionId(0))];
    let outcomes = rig.session.delete_offsets(group.clone(), partitions).await.unwrap();
    assert_eq!(outcomes[0], Ok(()));
    assert!(matches!(&outcomes[1], Err(GroupOffsetError::UnknownTopic(_))));
    assert_eq!(committed(&rig, "readers").await, None);
    let all = || rig.session.fetch_offsets(&group, OffsetsWanted::All).unwrap();
    assert_eq!(all().len(), 1);
    rig.session.with_timeout(PATIENCE).delete_topics(vec![named("orders")]).await.remove(0).unwrap();
    let forgotten = async {
        while !all().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    rig.stop().await;
}

/// Appends a commit that names no topic id, as records from before there were any do.
async fn append_commit_without_id(rig: &InMemoryBroker, group: &str, topic: &str, offset: i64) {
    let partition = TopicPartition { topic: TopicName::new(topic).unwrap(), partition: PartitionId(0) };
    let committed = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
        committed_at: Timestamp(1_700_000_000_000),
        expires_at: None,
        topic_id: TopicId::ZERO,
    };
    let (key, value) = (encode_offset_commit_key(group, &partition), encode_offset_commit_value(&committed));
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(committed.committed_at, Some(&key.unwrap()), Some(&value.unwrap()), &[]);
    let batch = batch.build();
    let topic_id = rig.session.topic_id("__consumer_offsets").unwrap();
    let id = TopicIdPartition { topic_id, partition: coordinator_partition(group, 5) };
    let header = BatchHeader::parse(&batch).unwrap();
    let wait = rig
        .engine
        .append(vec![Append {
            id,
            leader_epoch: None,
            batch,
            header,
            source: AppendSource::Client(None),
            until: AppendFrontier::DurableEnd,
        }])
        .await;
    wait.wait().await.remove(0).unwrap();
}

/// The state that a crash leaves between the deletion of topics and the tombstones of their
/// offsets.
#[tokio::test]
async fn offsets_of_a_deleted_topic_are_not_those_of_another_under_its_name() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::with_kafka(&FAST)).await;
    find(&rig, "readers").await;
    for topic in ["orders", "gone", "kept"] {
        create(&rig.session, topic, 1, &[]).await;
        let commit = simple_commit("readers", vec![entry(named(topic), 0, 7)]);
        assert_eq!(rig.session.commit_offsets(commit).await, [Ok(())]);
    }
    append_commit_without_id(&rig, "old", "orders", 3).await;
    append_commit_without_id(&rig, "old", "gone", 3).await;
    rig.broker.shutdown().await;

    let deleted = ["orders", "gone"].map(|name| TopicSelector::Name(name.to_owned()));
    rig.controller.submit(Command::DeleteTopics { topics: deleted.to_vec() }, None).await.unwrap().result.unwrap();
    let again = NewTopic {
        name: "orders".to_owned(),
        id: TopicId(77),
        placement: Placement::Count { partitions: 1, replication_factor: 1 },
        configs: std::collections::BTreeMap::new(),
    };
    let now = Timestamp(1_700_000_000_000);
    let limits = BrokerLimits::default().partitions;
    let creation = Command::CreateTopics { topics: vec![again], limits, validate_only: false, now };
    rig.controller.submit(creation, None).await.unwrap().result.unwrap();
    let rig = rig.restart().await;
    assert_eq!(committed(&rig, "readers").await, None, "it was committed for the topic that is gone");
    let names = |group: &str| -> Vec<TopicRef> {
        let all = rig.session.fetch_offsets(&GroupId::from(group), OffsetsWanted::All).unwrap();
        all.into_iter().map(|fetched| fetched.topic).collect()
    };
    assert_eq!(names("readers"), [named("kept")]);
    assert_eq!(committed(&rig, "old").await, Some((3, String::new())), "it names no topic but this one");
    assert_eq!(names("old"), [named("orders")]);
    let text = rig.metrics();
    assert!(!text.contains("group=\"readers\",topic=\"orders\""), "{text}");
    let commit = simple_commit("readers", vec![entry(named("orders"), 0, 9)]);
    assert_eq!(rig.session.commit_offsets(commit).await, [Ok(())]);
    assert_eq!(committed(&rig, "readers").await, Some((9, "note".to_owned())));
    rig.stop().await;
}

#[tokio::test]
async fn a_partition_that_is_asked_for_twice_is_answered_twice() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::with_kafka(&FAST)).await;
    create(&rig.session, "orders", 1, &[]).await;
    find(&rig, "readers").await;
    let commit = simple_commit("readers", vec![entry(named("orders"), 0, 3)]);
    assert_eq!(rig.session.commit_offsets(commit).await, [Ok(())]);
    let id = TopicRef::Id(rig.session.topic_id("orders").unwrap());
    let asked = [named("orders"), id, named("orders"), named("nowhere"), TopicRef::Id(TopicId(7))];
    let wanted = asked.iter().map(|topic| (topic.clone(), PartitionId(0))).collect();
    let fetched = rig.session.fetch_offsets(&GroupId::from("readers"), OffsetsWanted::These(wanted)).unwrap();
    assert_eq!(fetched.iter().map(|one| one.topic.clone()).collect::<Vec<_>>(), asked);
    let offsets: Vec<_> =
        fetched.into_iter().map(|one| one.committed.map(|found| found.map(|found| found.offset.0))).collect();
    let unknown = Err(UnknownTopic::Id(TopicId(7)).into());
    assert_eq!(offsets, [Ok(Some(3)), Ok(Some(3)), Ok(Some(3)), Ok(None), unknown]);
    rig.stop().await;
}
