//! One coordinator with its callers. A request takes effect on its caller's thread, under a lock
//! that is held only for one step of the machine. Appends and trims go into a queue for the driver,
//! in order; tasks into another one.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rustmq_broker_core::coordinator::{
    Action, AppendFailure, AppendId, Committed, Coordinator, CoordinatorError, CoordinatorLimits, CoordinatorMachine,
    CoordinatorRecord, CoordinatorState, Loader, Now, Reply, ReplyToken, TaskId, TrimFailed,
};
use rustmq_model::{Instant, LeaderEpoch, Offset, ProducerKey, TopicIdPartition, TransactionMarker};
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;

/// Work on the log, which the driver takes in order.
#[derive(Debug)]
pub(super) enum LogWork {
    Append { append: AppendId, records: Vec<CoordinatorRecord>, producer: Option<ProducerKey>, is_exempt: bool },
    AppendMarker { append: AppendId, marker: TransactionMarker },
    Trim { below: Offset },
}

/// The limits of one coordinator and of its log. They follow a config of the topic, which may
/// change while the coordinator runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardLimits {
    pub(super) coordinator: CoordinatorLimits,
    /// The topic's `max.message.bytes`. It holds for new records, not for those that are rewritten.
    pub(super) batch_bytes_max: usize,
}

struct Hosted<M: CoordinatorMachine> {
    coordinator: Coordinator<M>,
    limits: ShardLimits,
    is_dismissed: bool,
    callers: HashMap<ReplyToken, oneshot::Sender<M::Outcome>>,
    next_token: u64,
    /// Bounded by the coordinator's limit on pending appends.
    work: VecDeque<LogWork>,
    /// Bounded by the machine.
    tasks: Vec<(TaskId, M::Task)>,
    /// The timeout that the driver was last notified of.
    timeout: Option<Instant>,
}

pub(crate) struct CoordinatorShard<M: CoordinatorMachine> {
    pub(super) id: TopicIdPartition,
    pub(super) clock: Clock,
    /// Notifies the driver of work, of a changed timeout, or of a resignation.
    pub(super) news: Notify,
    leader_epoch: LeaderEpoch,
    hosted: Mutex<Hosted<M>>,
}

impl<M: CoordinatorMachine> CoordinatorShard<M> {
    pub(super) fn new(id: TopicIdPartition, leader_epoch: LeaderEpoch, limits: ShardLimits, clock: Clock) -> Self {
        let hosted = Hosted {
            coordinator: Coordinator::new(leader_epoch, limits.coordinator),
            limits,
            is_dismissed: false,
            callers: HashMap::new(),
            next_token: 0,
            work: VecDeque::new(),
            tasks: Vec::new(),
            timeout: None,
        };
        Self { id, clock, news: Notify::new(), leader_epoch, hosted: Mutex::new(hosted) }
    }

    pub(super) const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Makes a request. It takes effect in this call; its answer may come later.
    pub(crate) fn request(&self, request: M::Request) -> ReplyWait<M::Outcome> {
        let (caller, wait) = oneshot::channel();
        let mut hosted = self.hosted.lock();
        let token = ReplyToken(hosted.next_token);
        hosted.next_token += 1;
        hosted.callers.insert(token, caller);
        hosted.coordinator.handle_request(self.clock.now(), token, request);
        self.settle(&mut hosted);
        ReplyWait(wait)
    }

    /// Reads committed state.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&M) -> T) -> Result<T, CoordinatorError> {
        self.hosted.lock().coordinator.machine().map(read)
    }

    pub(crate) fn on_event(&self, event: M::Event) {
        self.step(|coordinator, now| coordinator.on_event(now, event));
    }

    /// Ends the leadership: the coordinator resigns, waiting callers are answered, and the driver
    /// ends.
    pub(crate) fn dismiss(&self) {
        let mut hosted = self.hosted.lock();
        hosted.is_dismissed = true;
        hosted.coordinator.resign();
        self.settle(&mut hosted);
    }

    /// Replaces the limits. They hold for records that are given to the log from now on.
    pub(super) fn set_limits(&self, limits: ShardLimits) {
        let mut hosted = self.hosted.lock();
        hosted.limits = limits;
        hosted.coordinator.set_limits(limits.coordinator);
    }

    /// Makes one input without a reply.
    fn step(&self, input: impl FnOnce(&mut Coordinator<M>, Now)) {
        let mut hosted = self.hosted.lock();
        input(&mut hosted.coordinator, self.clock.now());
        self.settle(&mut hosted);
    }

    /// Executes the coordinator's actions: sends replies, and queues work on the log.
    fn settle(&self, hosted: &mut Hosted<M>) {
        while let Some(action) = hosted.coordinator.poll_action() {
            match action {
                Action::Reply(Reply { token, outcome }) => {
                    let caller = hosted.callers.remove(&token).expect("each token is answered once");
                    if caller.send(outcome).is_err() {
                        tracing::trace!(partition = %self.id, "a request was answered after its connection had gone");
                    }
                }
                Action::Start { task, work } => hosted.tasks.push((task, work)),
                Action::Append { append, records, producer, is_exempt } => {
                    hosted.work.push_back(LogWork::Append { append, records, producer, is_exempt });
                }
                Action::AppendMarker { append, marker } => {
                    hosted.work.push_back(LogWork::AppendMarker { append, marker });
                }
                Action::TrimLog { below } => hosted.work.push_back(LogWork::Trim { below }),
            }
        }
        let has_resigned = hosted.coordinator.state() == CoordinatorState::Resigned;
        if has_resigned {
            // Dropping a caller's sender answers it with `Resigned`.
            (hosted.callers, hosted.work, hosted.tasks) = (HashMap::new(), VecDeque::new(), Vec::new());
        }
        let waiting = hosted.coordinator.waiting_count();
        assert_eq!(hosted.callers.len(), waiting, "a caller waits here for each request that waits in the coordinator");
        let timeout = hosted.coordinator.poll_timeout();
        if has_resigned || !hosted.work.is_empty() || !hosted.tasks.is_empty() || timeout != hosted.timeout {
            hosted.timeout = timeout;
            self.news.notify_one();
        }
    }
}

/// The driver's side.
impl<M: CoordinatorMachine> CoordinatorShard<M> {
    /// Makes the coordinator resign although its leadership goes on: its log cannot be loaded.
    pub(super) fn resign(&self) {
        self.step(|coordinator, _| coordinator.resign());
    }

    /// Replaces a coordinator that has resigned by itself with a new one. Does nothing after a
    /// dismissal.
    pub(super) fn restart(&self) {
        let mut hosted = self.hosted.lock();
        if !hosted.is_dismissed {
            hosted.coordinator = Coordinator::new(self.leader_epoch, hosted.limits.coordinator);
        }
    }

    pub(super) async fn dismissed(&self) {
        while !self.hosted.lock().is_dismissed {
            self.news.notified().await;
        }
    }

    pub(super) async fn resigned(&self) {
        while self.state() != CoordinatorState::Resigned {
            self.news.notified().await;
        }
    }

    pub(super) fn state(&self) -> CoordinatorState {
        self.hosted.lock().coordinator.state()
    }

    pub(super) fn activate(&self, loader: Loader<M>) {
        self.step(|coordinator, now| coordinator.activate(now, loader));
    }

    pub(super) fn handle_timeout(&self) {
        self.step(|coordinator, now| coordinator.handle_timeout(now));
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.hosted.lock().coordinator.poll_timeout()
    }

    pub(super) fn batch_bytes_max(&self) -> usize {
        self.hosted.lock().limits.batch_bytes_max
    }

    /// Takes up to `count` of the oldest pieces of work.
    pub(super) fn take_work(&self, count: usize) -> Vec<LogWork> {
        let mut hosted = self.hosted.lock();
        let count = count.min(hosted.work.len());
        hosted.work.drain(..count).collect()
    }

    /// Takes all tasks that have not been started.
    pub(super) fn take_tasks(&self) -> Vec<(TaskId, M::Task)> {
        std::mem::take(&mut self.hosted.lock().tasks)
    }

    pub(super) fn on_task_done(&self, task: TaskId, result: M::TaskResult) {
        self.step(|coordinator, now| coordinator.on_task_done(now, task, result));
    }

    pub(super) fn on_append_completed(&self, append: AppendId, result: Result<Committed, AppendFailure>) {
        self.step(|coordinator, now| coordinator.on_append_completed(now, append, result));
    }

    pub(super) fn on_trimmed(&self, result: Result<(), TrimFailed>) {
        self.step(|coordinator, _| coordinator.on_trimmed(result));
    }
}

impl<M: CoordinatorMachine> std::fmt::Debug for CoordinatorShard<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoordinatorShard").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The pending answer to a request that has taken effect. Dropping it changes nothing.
#[derive(Debug)]
pub(crate) struct ReplyWait<O>(oneshot::Receiver<O>);

impl<O> Future for ReplyWait<O> {
    /// [`CoordinatorError::Resigned`] if the coordinator resigned before it answered.
    type Output = Result<O, CoordinatorError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.map_err(|_| CoordinatorError::Resigned))
    }
}
