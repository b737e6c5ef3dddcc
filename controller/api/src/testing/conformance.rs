//! The test suite for all controllers. It panics at the first difference. It does not restart or
//! crash a controller: implementations with a disk have their own tests for that.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustmq_controller_core::{
    BrokerRegistration, ClusterState, Command, ConfigAlteration, ConfigChange, ConfigResource, Configs,
    FeatureDirection, FeatureUpdate, GroupConfigLimits, IncarnationId, NewPartitions, NewTopic, Outcome,
    PartitionLimits, Placement, Rejection, TopicSelector,
};
use rustmq_model::{BrokerId, Timestamp, TopicId, TopicName};
use tokio::task::coop;

use crate::controller::{Controller, Submission, SubmitError};
use crate::subscription::{ClusterSnapshot, DeltaBatch, Update};
use crate::testing::Bounds;
use crate::turns::Turns;

const BOUNDS: Bounds = Bounds { commands_max: 64, batches_max: 64 };

/// A controller under test.
pub trait Subject {
    fn controller(&self) -> Arc<dyn Controller>;

    /// The turns of its commands.
    fn turns(&self) -> &Turns;

    /// Shuts the controller down.
    fn close(&self) -> impl Future<Output = ()>;
}

/// Runs every scenario, each on a new controller that has seen no command.
pub async fn check_all<S: Subject>(open: impl AsyncFn(Bounds) -> S) {
    commands_do_what_the_state_machine_decides(&open(BOUNDS).await).await;
    a_snapshot_stays_as_it_is(&open(BOUNDS).await).await;
    a_subscriber_follows_to_the_same_state(&open(BOUNDS).await).await;
    a_wait_for_an_update_may_be_given_up(&open(BOUNDS).await).await;
    a_subscriber_that_lags_resynchronizes(&open(Bounds { batches_max: 4, ..BOUNDS }).await).await;
    commands_in_flight_take_effect_one_after_the_other(&open(Bounds { commands_max: 4, ..BOUNDS }).await).await;
    commands_take_effect_in_the_order_of_their_first_polls(&open(BOUNDS).await).await;
    commands_keep_their_order_in_a_task_without_budget(&open(BOUNDS).await).await;
    a_late_command_has_no_effect_and_a_started_one_is_answered(&open(Bounds { commands_max: 1, ..BOUNDS }).await).await;
    a_submission_that_is_dropped_takes_effect(&open(BOUNDS).await).await;
    the_end_refuses_commands_and_ends_subscriptions(&open(Bounds { commands_max: 1, ..BOUNDS }).await).await;
}

/// Every kind of command, and commands that are carried out, refused for an item, refused as a
/// whole, only validated, or without an effect.
fn script() -> Vec<Command> {
    let alter = |resource: ConfigResource, name: &str, value: &str| {
        let change = ConfigChange::Replace(BTreeMap::from([(name.to_owned(), Some(value.to_owned()))]));
        Command::AlterConfigs {
            alterations: vec![ConfigAlteration { resource, change }],
            limits: GroupConfigLimits { groups_max: 1, ..GroupConfigLimits::default() },
            validate_only: false,
        }
    };
    let orders = ConfigResource::Topic(TopicName::new("topic-1").expect("the name is legal"));
    let extend = |name: &str, count| Command::CreatePartitions {
        topics: vec![NewPartitions { name: name.to_owned(), count, assignments: None }],
        limits: LIMITS,
        validate_only: false,
    };
    let delete = |topic| Command::DeleteTopics { topics: vec![topic] };
    let update = |level, validate_only| {
        let update = FeatureUpdate { level, direction: FeatureDirection::Upgrade };
        Command::UpdateFeatures { updates: BTreeMap::from([("group.version".to_owned(), update)]), validate_only }
    };
    let Command::CreateTopics { topics, limits, now, .. } = create(9) else { unreachable!("it creates a topic") };
    vec![
        Command::AllocateProducerIds { broker: BrokerId(0) },
        bootstrap("first"),
        bootstrap("second"),
        register("one"),
        register("two"),
        register("one"),
        create(1),
        create(1),
        Command::CreateTopics { topics, limits, validate_only: true, now },
        extend("topic-1", 3),
        extend("topic-1", 2),
        extend("nowhere", 2),
        alter(orders.clone(), "retention.ms", "1000"),
        alter(orders, "retention.ms", "soon"),
        alter(ConfigResource::BrokerDefault, "min.insync.replicas", "1"),
        alter(ConfigResource::Group("group-1".to_owned()), "consumer.session.timeout.ms", "50000"),
        alter(ConfigResource::Group("group-2".to_owned()), "consumer.session.timeout.ms", "50000"),
        Command::AllocateProducerIds { broker: BrokerId(1) },
        create(2),
        delete(TopicSelector::Name("topic-1".to_owned())),
        delete(TopicSelector::Id(TopicId(77))),
        update(1, true),
        update(1, false),
        update(1, false),
        update(0, false),
    ]
}

async fn commands_do_what_the_state_machine_decides(subject: &impl Subject) {
    let controller = subject.controller();
    let (before, mut subscription) = controller.subscribe();
    let mut model = ClusterState::clone(&before.state);
    assert_eq!(model, ClusterState::default(), "the suite needs a controller that has seen no command");
    let mut last = before.index;
    let mut is_rejected_as_a_whole = false;
    for command in script() {
        let (result, deltas) = model.apply(command.clone());
        let applied = controller.submit(command.clone(), None).await.expect("a controller that runs answers");
        assert_eq!(applied.result, result, "{command:?}");
        assert!(applied.index > last, "{} comes after {last}", applied.index);
        last = applied.index;
        is_rejected_as_a_whole |= applied.result.is_err();
        let after = controller.snapshot();
        assert!(after.index >= applied.index && *after.state == model, "the effect is shown: {command:?}");
        let shown = poll_once(pin!(subscription.next()));
        if deltas.is_empty() {
            assert!(shown.is_pending(), "nothing has changed: {command:?}, {shown:?}");
        } else {
            let batch = changed(shown);
            assert_eq!((batch.index, &*batch.deltas), (applied.index, &*deltas), "{command:?}");
        }
    }
    assert!(is_rejected_as_a_whole);
    subject.close().await;
}

async fn a_snapshot_stays_as_it_is(subject: &impl Subject) {
    let controller = subject.controller();
    founded(&*controller).await;
    let held = controller.snapshot();
    let copy = ClusterState::clone(&held.state);
    submit(&*controller, create(1)).await;
    assert_eq!(*held.state, copy);
    assert_ne!(*controller.snapshot().state, copy);
    subject.close().await;
}

async fn a_subscriber_follows_to_the_same_state(subject: &impl Subject) {
    let controller = subject.controller();
    founded(&*controller).await;
    for number in 0..3 {
        submit(&*controller, create(number)).await;
    }
    // The snapshot contains the earlier changes; the stream does not.
    let (ClusterSnapshot { index, state }, mut subscription) = controller.subscribe();
    assert_eq!(*state, *controller.snapshot().state);
    let (mut copy, mut last) = (ClusterState::clone(&state), index);
    for number in 3..9 {
        submit(&*controller, create(number)).await;
        submit(&*controller, Command::DeleteTopics { topics: vec![TopicSelector::Id(topic_id(number - 3))] }).await;
    }
    for _ in 0..12 {
        let batch = changed(poll_once(pin!(subscription.next())));
        assert!(batch.index > last && !batch.deltas.is_empty());
        last = batch.index;
        batch.deltas.iter().for_each(|delta| copy.replay(delta));
    }
    copy.check_invariants();
    let now = controller.snapshot();
    assert_eq!((&copy, last), (&*now.state, now.index));
    subject.close().await;
}

async fn a_wait_for_an_update_may_be_given_up(subject: &impl Subject) {
    let controller = subject.controller();
    founded(&*controller).await;
    let (_, mut subscription) = controller.subscribe();
    assert!(poll_once(pin!(subscription.next())).is_pending());
    let index = submit(&*controller, create(1)).await;
    assert_eq!(changed(Poll::Ready(subscription.next().await)).index, index);
    subject.close().await;
}

async fn a_subscriber_that_lags_resynchronizes(subject: &impl Subject) {
    let controller = subject.controller();
    founded(&*controller).await;
    let (_, mut lagging) = controller.subscribe();
    for number in 0..20 {
        submit(&*controller, create(number)).await;
    }
    let Poll::Ready(Some(Update::Resynchronized(snapshot))) = poll_once(pin!(lagging.next())) else {
        panic!("20 changes do not fit in 4")
    };
    let now = controller.snapshot();
    assert_eq!((snapshot.index, &snapshot.state), (now.index, &now.state));
    assert!(poll_once(pin!(lagging.next())).is_pending(), "changes that the snapshot holds do not come again");
    let index = submit(&*controller, create(20)).await;
    assert_eq!(changed(poll_once(pin!(lagging.next()))).index, index);
    subject.close().await;
}

async fn commands_in_flight_take_effect_one_after_the_other(subject: &impl Subject) {
    const COMMANDS: u32 = 40;
    let controller = subject.controller();
    founded(&*controller).await;
    let (_, mut subscription) = controller.subscribe();
    let commands = (0..COMMANDS).map(|number| {
        let controller = Arc::clone(&controller);
        tokio::spawn(async move { submit(&*controller, create(number)).await })
    });
    let commands: Vec<_> = commands.collect();
    let mut answered = BTreeSet::new();
    for command in commands {
        let index = command.await.expect("the task does not panic");
        assert!(answered.insert(index), "{index} is answered twice");
    }
    let mut shown = Vec::new();
    while let Poll::Ready(update) = poll_once(pin!(subscription.next())) {
        shown.push(changed(Poll::Ready(update)).index);
    }
    assert_eq!(shown, Vec::from_iter(answered), "each once, in the order of the log");
    assert_eq!(controller.snapshot().state.topics().len(), COMMANDS as usize);
    subject.close().await;
}

async fn commands_take_effect_in_the_order_of_their_first_polls(subject: &impl Subject) {
    const COMMANDS: u32 = 40;
    let controller = subject.controller();
    founded(&*controller).await;
    let submissions = (0..COMMANDS).map(|number| controller.submit(create(number), None)).collect();
    assert_order_of_first_polls(&*controller, submissions).await;
    subject.close().await;
}

/// tokio makes a task yield after a limited number of polls. This must not change the order of its
/// commands.
async fn commands_keep_their_order_in_a_task_without_budget(subject: &impl Subject) {
    let controller = subject.controller();
    founded(&*controller).await;
    let first = controller.submit(create(0), None);
    let second = Box::pin(coop::unconstrained(controller.submit(create(1), None)));
    while coop::has_budget_remaining() {
        coop::consume_budget().await;
    }
    assert_order_of_first_polls(&*controller, vec![first, second]).await;
    subject.close().await;
}

async fn assert_order_of_first_polls(controller: &dyn Controller, mut submissions: Vec<Submission<'_>>) {
    let before = controller.snapshot().index;
    // A quick controller may answer within a first poll.
    let polled: Vec<_> = submissions.iter_mut().map(|submission| poll_once(submission.as_mut())).collect();
    let mut last = before;
    for (number, (submission, polled)) in submissions.into_iter().zip(polled).enumerate() {
        let answer = match polled {
            Poll::Ready(answer) => answer,
            Poll::Pending => submission.await,
        };
        let index = answer.expect("it runs").index;
        assert!(index > last, "command {number} is at {index}, the one before at {last}");
        last = index;
    }
}

async fn a_late_command_has_no_effect_and_a_started_one_is_answered(subject: &impl Subject) {
    let controller = subject.controller();
    founded(&*controller).await;
    let before = controller.snapshot();
    let late = async |limit| {
        let answer = controller.submit(create(1), Some(limit)).await;
        assert_eq!(answer, Err(SubmitError::Late));
    };
    late(Duration::ZERO).await;
    let turn = subject.turns().take(None).await.expect("it runs");
    late(Duration::from_millis(1)).await;
    let mut waits = pin!(controller.submit(create(1), None));
    assert!(poll_once(waits.as_mut()).is_pending());
    let after = controller.snapshot();
    assert_eq!((after.index, &after.state), (before.index, &before.state), "nothing has started");
    drop(turn);
    assert!(waits.await.is_ok());
    // Shorter than any answer takes.
    let started = controller.submit(create(2), Some(Duration::from_nanos(1))).await.expect("it has started");
    assert!(matches!(started.result, Ok(Outcome::TopicsCreated(_))), "{started:?}");
    assert_eq!(controller.snapshot().state.topics().len(), 2);
    subject.close().await;
}

async fn a_submission_that_is_dropped_takes_effect(subject: &impl Subject) {
    let controller = subject.controller();
    founded(&*controller).await;
    let (_, mut subscription) = controller.subscribe();
    drop(controller.submit(create(1), None));
    // It is dropped after its first poll, with its answer or before it.
    drop(poll_once(controller.submit(create(2), None).as_mut()));
    let index = changed(Poll::Ready(subscription.next().await)).index;
    let state = controller.snapshot().state;
    let names: Vec<_> = state.topics().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["topic-2"], "the other was dropped before it had a turn");
    assert!(submit(&*controller, create(3)).await > index, "the turn has ended");
    subject.close().await;
}

async fn the_end_refuses_commands_and_ends_subscriptions(subject: &impl Subject) {
    let controller = subject.controller();
    founded(&*controller).await;
    let (_, mut subscription) = controller.subscribe();
    let index = submit(&*controller, create(1)).await;
    let turn = subject.turns().take(None).await.expect("it runs");
    let mut waits = pin!(controller.submit(create(2), None));
    assert!(poll_once(waits.as_mut()).is_pending());
    subject.close().await;
    let is_stopped = |answer| matches!(answer, Err(SubmitError::Stopped { .. }));
    assert!(is_stopped(waits.await));
    drop(turn);
    assert!(is_stopped(controller.submit(create(3), None).await));
    assert!(is_stopped(controller.submit(create(3), Some(Duration::from_secs(600))).await));
    assert_eq!(changed(Poll::Ready(subscription.next().await)).index, index);
    assert!(subscription.next().await.is_none());
    let (snapshot, mut subscription) = controller.subscribe();
    assert_eq!(snapshot.state.topics().len(), 1, "the state stays readable");
    assert!(subscription.next().await.is_none());
}

const LIMITS: PartitionLimits = PartitionLimits { per_topic_max: 1_000, per_cluster_max: 100_000 };

fn bootstrap(cluster_id: &str) -> Command {
    let features = BTreeMap::from([("group.version".to_owned(), 0)]);
    Command::Bootstrap { cluster_id: cluster_id.to_owned(), features, broker_defaults: Configs::new() }
}

fn register(name: &str) -> Command {
    let broker = BrokerRegistration {
        name: name.to_owned(),
        incarnation: IncarnationId(u128::MAX),
        listeners: BTreeMap::new(),
        rack: None,
    };
    Command::RegisterBroker { broker, now: Timestamp(1) }
}

fn topic_id(number: u32) -> TopicId {
    TopicId(u128::MAX - u128::from(number))
}

fn create(number: u32) -> Command {
    let topic = NewTopic {
        name: format!("topic-{number}"),
        id: topic_id(number),
        placement: Placement::Manual(BTreeMap::from([(0, vec![BrokerId(0)])])),
        configs: BTreeMap::from([("retention.ms".to_owned(), Some("60000".to_owned()))]),
    };
    Command::CreateTopics { topics: vec![topic], limits: LIMITS, validate_only: false, now: Timestamp(2) }
}

/// Submits a command that changes something. Returns its index.
async fn submit(controller: &dyn Controller, command: Command) -> u64 {
    let applied = controller.submit(command, None).await.expect("a controller that runs answers");
    match applied.result.expect("the command is not rejected") {
        Outcome::TopicsCreated(items) => assert_carried_out(items),
        Outcome::TopicsDeleted(items) => assert_carried_out(items),
        _ => {}
    }
    applied.index
}

fn assert_carried_out<T>(items: Vec<Result<T, Rejection>>) {
    for item in items {
        assert_eq!(item.err(), None);
    }
}

/// Founds the cluster, with one broker.
async fn founded(controller: &dyn Controller) {
    submit(controller, bootstrap("a-cluster")).await;
    submit(controller, register("one")).await;
}

fn changed(update: Poll<Option<Update>>) -> DeltaBatch {
    match update {
        Poll::Ready(Some(Update::Changed(batch))) => batch,
        other => panic!("a change is shown before it is answered: {other:?}"),
    }
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
