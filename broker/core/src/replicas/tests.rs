#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use proptest::prelude::*;
use rustmq_controller_core::{
    BrokerRegistration, Command, ConfigAlteration, ConfigChange, ConfigEdit, ConfigResource, EditOperation,
    GroupConfigLimits, IncarnationId, NewPartitions, NewTopic, Outcome, PartitionLimits, Placement, Rejection,
    TopicSelector,
};
use rustmq_model::{LeaderEpoch, Timestamp, TopicName};

use super::*;

const NOW: Instant = Instant::from_nanos(1_000);
const ME: BrokerId = BrokerId(0);

type Action = ReplicaAction<u32, &'static str>;

/// A cluster of three brokers, and the replicas of the first one. Handles are numbered.
struct Rig {
    state: ClusterState,
    replicas: LocalReplicas<u32, &'static str>,
    next_handle: u32,
    shown: BTreeMap<TopicId, ShownTopic<u32, &'static str>>,
    on_disk: BTreeSet<TopicIdPartition>,
    /// Replicas whose opens fail while they are in this set.
    refused: BTreeSet<TopicIdPartition>,
    opened: Vec<OpenReplica>,
    configured: Vec<(TopicIdPartition, ReplicaConfig)>,
}

impl Rig {
    fn new() -> Self {
        let mut rig = Self {
            state: ClusterState::default(),
            replicas: LocalReplicas::new(ME, Arc::default()),
            next_handle: 0,
            shown: BTreeMap::new(),
            on_disk: BTreeSet::new(),
            refused: BTreeSet::new(),
            opened: Vec::new(),
            configured: Vec::new(),
        };
        for name in ["a", "b", "c"] {
            rig.register(name, 1);
        }
        rig
    }

    fn register(&mut self, name: &str, incarnation: u128) {
        let broker = BrokerRegistration {
            name: name.to_owned(),
            incarnation: IncarnationId(incarnation),
            listeners: BTreeMap::new(),
            rack: None,
        };
        self.apply(Command::RegisterBroker { broker, now: Timestamp(1) });
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let (result, deltas) = self.state.apply(command);
        self.replicas.handle_deltas(&self.state, &deltas);
        self.replicas.check_invariants();
        result.unwrap()
    }

    fn create(&mut self, name: &str, id: u128, replicas: &[&[i32]]) {
        let brokers = |ids: &&[i32]| ids.iter().copied().map(BrokerId).collect();
        let topic = NewTopic {
            name: name.to_owned(),
            id: TopicId(id),
            placement: Placement::Manual((0..).zip(replicas.iter().map(brokers)).collect()),
            configs: BTreeMap::new(),
        };
        let limits = PartitionLimits { per_topic_max: 10, per_cluster_max: 100 };
        let command = Command::CreateTopics { topics: vec![topic], limits, validate_only: false, now: Timestamp(1) };
        let Outcome::TopicsCreated(results) = self.apply(command) else { panic!("a result per topic") };
        let is_legal = matches!(results[0], Ok(_) | Err(Rejection::TopicAlreadyExists { .. }));
        assert!(is_legal, "{results:?}");
    }

    fn delete(&mut self, name: &str) {
        self.apply(Command::DeleteTopics { topics: vec![TopicSelector::Name(name.to_owned())] });
    }

    fn configure(&mut self, resource: ConfigResource, name: &str, value: &str) {
        let edit = ConfigEdit { name: name.to_owned(), operation: EditOperation::Set(value.to_owned()) };
        let alterations = vec![ConfigAlteration { resource, change: ConfigChange::Edit(vec![edit]) }];
        self.apply(Command::AlterConfigs { alterations, limits: GroupConfigLimits::default(), validate_only: false });
    }

    /// The metadata gives a partition to these brokers.
    fn give(&mut self, id: TopicIdPartition, brokers: &[BrokerId]) {
        let mut now = self.state.partition(id).unwrap().clone();
        (now.replicas, now.leader) = (brokers.to_vec(), brokers.first().copied());
        let delta = Delta::PartitionChanged { topic_id: id.topic_id, partition: id.partition, now };
        self.state.replay(&delta);
        self.replicas.handle_deltas(&self.state, &[delta]);
        self.replicas.check_invariants();
    }

    /// Carries out one action. None if there is none.
    fn step(&mut self) -> Option<Action> {
        let action = self.replicas.poll_action()?;
        match &action {
            Action::Open(opens) => {
                for open in opens {
                    self.opened.push(*open);
                    self.on_disk.insert(open.id);
                    self.next_handle += 1;
                    let result = if self.refused.contains(&open.id) { Err("refused") } else { Ok(self.next_handle) };
                    self.replicas.on_opened(NOW, open.id, result);
                }
            }
            Action::Configure { id, config } => self.configured.push((*id, *config)),
            Action::Show(shown) => {
                self.shown.insert(shown.topic.id, ShownTopic::clone(shown));
            }
            Action::Hide { id, name } => {
                assert!(self.shown.remove(id).is_none_or(|shown| shown.topic.name == *name), "it is the same topic");
            }
            Action::Delete(ids) => {
                for id in ids {
                    assert!(self.state.partition(*id).is_none(), "only what is gone is deleted");
                    let is_deleted = !self.refused.contains(id);
                    if is_deleted {
                        self.on_disk.remove(id);
                    }
                    self.replicas.on_deleted(NOW, *id, is_deleted);
                }
            }
            Action::ShowSettings(_) => {}
        }
        self.replicas.check_invariants();
        Some(action)
    }

    fn settle(&mut self) {
        while self.step().is_some() {}
    }

    fn retry(&mut self) {
        if let Some(at) = self.replicas.poll_timeout() {
            self.replicas.handle_timeout(at);
        }
    }

    /// Everything is as the metadata says.
    fn assert_followed(&self) {
        assert_eq!(self.shown.len(), self.state.topics().len());
        for topic in self.state.topics() {
            let shown = &self.shown[&topic.id];
            assert_eq!(shown.topic, *topic);
            for (replica, partition) in shown.replicas.iter().zip(&topic.partitions) {
                match (Assignment::of(partition, ME), replica) {
                    (None, Replica::Elsewhere) => {}
                    (Some(wanted), Replica::Open { assignment, .. }) => assert_eq!(*assignment, wanted),
                    other => panic!("{other:?}"),
                }
            }
        }
        let is_known = |id: &&TopicIdPartition| self.state.partition(**id).is_some();
        assert_eq!(self.on_disk.iter().filter(is_known).count(), self.on_disk.len(), "nothing else is kept");
    }
}

fn id(topic: u128, partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(topic), partition: PartitionId(partition) }
}

#[test]
fn a_topic_is_shown_when_what_is_here_of_it_is_open() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[0, 1], &[1, 0], &[1, 2]]);
    let Some(Action::Open(opens)) = rig.step() else { panic!("the replicas are opened first") };
    let roles: Vec<_> = opens.iter().map(|open| (open.id, open.assignment.role)).collect();
    assert_eq!(roles, [(id(1, 0), ReplicaRole::Leader), (id(1, 1), ReplicaRole::Follower)]);
    rig.settle();
    assert_eq!(rig.shown[&TopicId(1)].replicas[2], Replica::Elsewhere);
    rig.assert_followed();
}

#[test]
fn topics_are_opened_in_one_request_whatever_lies_between_them() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[0]]);
    rig.create("elsewhere", 2, &[&[1]]);
    rig.create("u", 3, &[&[0], &[0]]);
    let mut opens = Vec::new();
    while let Some(action) = rig.step() {
        opens.extend(if let Action::Open(open) = action { Some(open.len()) } else { None });
    }
    assert_eq!(opens, [3]);
    rig.assert_followed();
}

#[test]
fn topics_are_deleted_in_one_request_after_all_of_them_are_hidden() {
    let mut rig = Rig::new();
    for (name, id) in [("t", 1), ("u", 2)] {
        rig.create(name, id, &[&[0]]);
    }
    rig.settle();
    for name in ["t", "u"] {
        rig.delete(name);
    }
    assert!(matches!(rig.step(), Some(Action::Hide { .. })));
    assert!(matches!(rig.step(), Some(Action::Hide { .. })));
    assert_eq!(rig.step(), Some(Action::Delete(vec![id(1, 0), id(2, 0)])));
    rig.assert_followed();
}

#[test]
fn a_topic_is_shown_once_for_all_changes_of_a_command() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[1], &[1], &[1]]);
    rig.settle();
    rig.register("b", 2);
    let mut shown = 0;
    while let Some(action) = rig.step() {
        shown += usize::from(matches!(action, Action::Show(_)));
    }
    assert_eq!(shown, 1, "the epochs of all partitions have changed");
    rig.assert_followed();
}

#[test]
fn a_replica_goes_on_in_the_new_leader_epoch() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[0, 1]]);
    rig.create("u", 2, &[&[0]]);
    rig.settle();
    let before = rig.shown.clone();
    // This broker comes back without its data.
    rig.register("a", 2);
    let Some(Action::Open(opens)) = rig.step() else { panic!("both are opened again") };
    assert_eq!(rig.shown, before, "what was shown stays until then");
    let assignments: Vec<_> = opens.iter().map(|open| (open.assignment.role, open.assignment.leader_epoch)).collect();
    assert_eq!(assignments, [(ReplicaRole::Follower, LeaderEpoch(1)), (ReplicaRole::Leader, LeaderEpoch(1))]);
    rig.settle();
    rig.assert_followed();
}

#[test]
fn a_change_that_does_not_concern_a_replica_leaves_it_open() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[0]]);
    rig.settle();
    rig.configure(ConfigResource::Topic(TopicName::new("t").unwrap()), "max.message.bytes", "5000");
    let more = NewPartitions { name: "t".to_owned(), count: 2, assignments: Some(vec![vec![ME]]) };
    let limits = PartitionLimits { per_topic_max: 10, per_cluster_max: 100 };
    rig.apply(Command::CreatePartitions { topics: vec![more], limits, validate_only: false });
    rig.settle();
    assert_eq!(rig.opened.iter().map(|open| open.id).collect::<Vec<_>>(), [id(1, 0), id(1, 1)]);
    assert_eq!((rig.configured.len(), rig.shown[&TopicId(1)].config.max_message_bytes), (0, 5000));
    rig.assert_followed();
}

#[test]
fn retention_is_told_to_what_is_open_and_only_if_it_changes() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[0], &[1]]);
    rig.settle();
    rig.configure(ConfigResource::Topic(TopicName::new("t").unwrap()), "retention.ms", "5000");
    rig.settle();
    let [(configured, config)] = rig.configured[..] else { panic!("{:?}", rig.configured) };
    assert_eq!((configured, config.retention_time), (id(1, 0), Some(Duration::from_secs(5))));
    rig.configure(ConfigResource::BrokerDefault, "log.retention.ms", "7000");
    rig.configure(ConfigResource::Broker(BrokerId(1)), "log.retention.ms", "8000");
    rig.settle();
    assert_eq!(rig.configured.len(), 1, "the topic's own retention rules, and the other broker's is not ours");
    rig.configure(ConfigResource::Broker(ME), "log.retention.bytes", "9000");
    rig.settle();
    assert_eq!(rig.configured[1].1.retention_bytes, Some(9000));
}

#[test]
fn what_is_refused_is_shown_and_tried_again() {
    let mut rig = Rig::new();
    rig.refused = BTreeSet::from([id(1, 1)]);
    rig.create("t", 1, &[&[0], &[0]]);
    rig.settle();
    assert_eq!(rig.shown[&TopicId(1)].replicas[1], Replica::Failed("refused"));
    rig.replicas.handle_timeout(NOW);
    assert_eq!(rig.replicas.poll_action(), None, "not before the pause is over");
    rig.retry();
    rig.settle();
    assert_eq!(rig.opened.len(), 3);
    rig.refused.clear();
    rig.retry();
    rig.settle();
    assert_eq!((rig.opened.len(), rig.replicas.poll_timeout()), (4, None));
    rig.assert_followed();
}

#[test]
fn a_deleted_topic_is_hidden_and_its_data_go() {
    let mut rig = Rig::new();
    rig.refused = BTreeSet::from([id(1, 1)]);
    rig.create("t", 1, &[&[0], &[0], &[1]]);
    rig.settle();
    rig.delete("t");
    assert!(matches!(rig.step(), Some(Action::Hide { .. })), "nobody uses what is being deleted");
    rig.settle();
    assert_eq!(rig.on_disk, BTreeSet::from([id(1, 1)]), "its deletion is refused as well");
    rig.refused.clear();
    rig.retry();
    rig.settle();
    assert_eq!(rig.replicas.poll_timeout(), None);
    rig.assert_followed();
}

#[test]
fn a_topic_that_is_deleted_while_it_is_opened_leaves_nothing() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[0]]);
    rig.delete("t");
    rig.create("t", 2, &[&[0]]);
    rig.settle();
    assert_eq!(rig.shown.keys().collect::<Vec<_>>(), [&TopicId(2)]);
    rig.assert_followed();
}

#[test]
fn a_snapshot_brings_what_was_missed() {
    let mut rig = Rig::new();
    rig.create("gone", 1, &[&[0]]);
    rig.create("kept", 2, &[&[0]]);
    rig.settle();
    rig.state.apply(Command::DeleteTopics { topics: vec![TopicSelector::Name("gone".to_owned())] }).0.unwrap();
    // Data of a topic that was deleted before this broker came up, and of one it has still.
    rig.on_disk.insert(id(9, 0));
    let on_disk = rig.on_disk.iter().copied().collect();
    rig.replicas.handle_snapshot(&rig.state, on_disk);
    rig.settle();
    assert_eq!(rig.opened.len(), 2, "what is open stays open");
    rig.assert_followed();
}

#[test]
fn the_data_of_a_replica_elsewhere_stay() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[1]]);
    rig.on_disk.insert(id(1, 0));
    rig.replicas.handle_snapshot(&rig.state, vec![id(1, 0)]);
    rig.settle();
    assert_eq!(rig.on_disk, BTreeSet::from([id(1, 0)]));
    rig.delete("t");
    rig.settle();
    assert_eq!(rig.on_disk, BTreeSet::new(), "they go with their topic");
}

#[test]
fn the_data_of_a_replica_that_has_moved_away_go_with_their_topic() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[0, 1]]);
    rig.settle();
    rig.give(id(1, 0), &[BrokerId(1)]);
    rig.settle();
    assert_eq!(rig.shown[&TopicId(1)].replicas, [Replica::Elsewhere]);
    assert_eq!(rig.on_disk, BTreeSet::from([id(1, 0)]), "moving it says when they may go");
    rig.delete("t");
    rig.settle();
    rig.assert_followed();
}

#[test]
fn a_replica_that_comes_back_while_it_is_opened_is_used() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[&[0, 1]]);
    rig.give(id(1, 0), &[BrokerId(1)]);
    rig.give(id(1, 0), &[ME, BrokerId(1)]);
    rig.settle();
    rig.assert_followed();
}

#[derive(Clone, Debug)]
enum Change {
    Create(u8, [bool; 2]),
    Delete(u8),
    Retention(u8, u16),
    Lose(bool),
    Snapshot,
    Step,
    Refuse(u8),
    Retry,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..3_u8, any::<[bool; 2]>()).prop_map(|(name, both)| Change::Create(name, both)),
        2 => (0..3_u8).prop_map(Change::Delete),
        1 => (0..3_u8, 1..9_u16).prop_map(|(name, ms)| Change::Retention(name, ms)),
        2 => any::<bool>().prop_map(Change::Lose),
        1 => Just(Change::Snapshot),
        6 => Just(Change::Step),
        1 => (0..4_u8).prop_map(Change::Refuse),
        1 => Just(Change::Retry),
    ]
}

proptest! {
    /// Changes come while others are carried out; some are refused. In the end all is as the
    /// metadata says.
    #[test]
    fn any_course_of_changes_is_followed(changes in proptest::collection::vec(change(), 0..60)) {
        let mut rig = Rig::new();
        let (mut next_id, mut incarnation) = (1, 1);
        for change in changes {
            match change {
                Change::Create(name, both) => {
                    let replicas = both.map(|both| if both { &[0, 1][..] } else { &[1, 2][..] });
                    rig.create(&name.to_string(), next_id, &replicas);
                    next_id += 1;
                }
                Change::Delete(name) => rig.delete(&name.to_string()),
                Change::Retention(name, ms) => {
                    let topic = ConfigResource::Topic(TopicName::new(&name.to_string()).unwrap());
                    rig.configure(topic, "retention.ms", &ms.to_string());
                }
                Change::Lose(mine) => {
                    incarnation += 1;
                    rig.register(if mine { "a" } else { "b" }, incarnation);
                }
                Change::Snapshot => {
                    let on_disk = rig.on_disk.iter().copied().collect();
                    rig.replicas.handle_snapshot(&rig.state, on_disk);
                }
                Change::Step => {
                    rig.step();
                }
                Change::Refuse(back) => {
                    rig.refused.insert(id(next_id.saturating_sub(u128::from(back)), 0));
                }
                Change::Retry => rig.retry(),
            }
            rig.replicas.check_invariants();
        }
        rig.refused.clear();
        for _ in 0..3 {
            rig.settle();
            rig.retry();
        }
        rig.settle();
        prop_assert_eq!(rig.replicas.poll_timeout(), None);
        rig.assert_followed();
    }
}
