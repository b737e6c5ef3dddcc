//! One coordinator with its callers. Requests take effect on the caller's thread, under a lock that
//! is held for the machine's step only; appends and trims go into a queue, in order, for
//! the driver.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rustmq_broker_core::coordinator::{
    Action, AppendFailure, AppendId, Committed, Coordinator, CoordinatorLimits, CoordinatorMachine, CoordinatorRecord,
    CoordinatorState, Loader, Now, Refusal, Reply, ReplyToken, TrimFailed,
};
use rustmq_model::{Instant, LeaderEpoch, Offset, TopicIdPartition};
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;

/// Work on the log for the driver, in the order of the queue.
#[derive(Debug)]
pub(super) enum LogWork {
    Append { append: AppendId, records: Vec<CoordinatorRecord>, is_rewrite: bool },
    Trim { below: Offset },
}

struct Hosted<M: CoordinatorMachine> {
    coordinator: Coordinator<M>,
    is_dismissed: bool,
    callers: HashMap<ReplyToken, oneshot::Sender<M::Outcome>>,
    next_token: u64,
    /// Bounded by the coordinator's limits on pending appends.
    work: VecDeque<LogWork>,
    /// The time that the driver was last told to wake up at.
    timeout: Option<Instant>,
}

pub(crate) struct CoordinatorShard<M: CoordinatorMachine> {
    pub(super) id: TopicIdPartition,
    pub(super) clock: Clock,
    /// The driver has work, another time to wake up at, or nothing to do any more.
    pub(super) news: Notify,
    leader_epoch: LeaderEpoch,
    limits: CoordinatorLimits,
    hosted: Mutex<Hosted<M>>,
}

impl<M: CoordinatorMachine> CoordinatorShard<M> {
    pub(super) fn new(
        id: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        limits: CoordinatorLimits,
        clock: Clock,
    ) -> Self {
        let hosted = Hosted {
            coordinator: Coordinator::new(leader_epoch, limits),
            is_dismissed: false,
            callers: HashMap::new(),
            next_token: 0,
            work: VecDeque::new(),
            timeout: None,
        };
        Self { id, clock, news: Notify::new(), leader_epoch, limits, hosted: Mutex::new(hosted) }
    }

    pub(super) const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// A request takes effect; its answer may have to be waited for.
    pub(crate) fn ask(&self, request: M::Request) -> ReplyWait<M::Outcome> {
        let (caller, wait) = oneshot::channel();
        let mut hosted = self.hosted.lock();
        let token = ReplyToken(hosted.next_token);
        hosted.next_token += 1;
        hosted.callers.insert(token, caller);
        hosted.coordinator.handle_request(self.clock.now(), token, request);
        self.settle(&mut hosted);
        ReplyWait(wait)
    }

    /// Looks at what is committed.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, Refusal> {
        self.hosted.lock().coordinator.machine().map(look)
    }

    pub(crate) fn tell(&self, event: M::Event) {
        self.step(|coordinator, now| coordinator.on_event(now, event));
    }

    /// The leadership has ended: the coordinator resigns, callers are told, the driver ends.
    pub(crate) fn dismiss(&self) {
        let mut hosted = self.hosted.lock();
        hosted.is_dismissed = true;
        hosted.coordinator.resign();
        self.settle(&mut hosted);
    }

    /// One input of the coordinator that nobody waits for.
    fn step(&self, input: impl FnOnce(&mut Coordinator<M>, Now)) {
        let mut hosted = self.hosted.lock();
        input(&mut hosted.coordinator, self.clock.now());
        self.settle(&mut hosted);
    }

    /// Carries out what the coordinator wants, as far as no log is needed.
    fn settle(&self, hosted: &mut Hosted<M>) {
        while let Some(action) = hosted.coordinator.poll_action() {
            match action {
                Action::Reply(Reply { token, outcome }) => {
                    let caller = hosted.callers.remove(&token).expect("each token is answered once");
                    if caller.send(outcome).is_err() {
                        tracing::trace!(partition = %self.id, "a request was answered after its connection had gone");
                    }
                }
                Action::Append { append, records, is_rewrite } => {
                    hosted.work.push_back(LogWork::Append { append, records, is_rewrite });
                }
                Action::TrimLog { below } => hosted.work.push_back(LogWork::Trim { below }),
            }
        }
        let has_resigned = hosted.coordinator.state() == CoordinatorState::Resigned;
        if has_resigned {
            // A wait whose other end is dropped says that this is not the coordinator.
            (hosted.callers, hosted.work) = (HashMap::new(), VecDeque::new());
        }
        let timeout = hosted.coordinator.poll_timeout();
        if has_resigned || !hosted.work.is_empty() || timeout != hosted.timeout {
            hosted.timeout = timeout;
            self.news.notify_one();
        }
    }
}

/// The driver's side.
impl<M: CoordinatorMachine> CoordinatorShard<M> {
    /// The log does not serve the coordinator, though nobody has dismissed it.
    pub(super) fn resign(&self) {
        self.step(|coordinator, _| coordinator.resign());
    }

    /// A new coordinator takes the place of one that has resigned by itself. Does nothing after a
    /// dismissal.
    pub(super) fn begin_anew(&self) {
        let mut hosted = self.hosted.lock();
        if !hosted.is_dismissed {
            hosted.coordinator = Coordinator::new(self.leader_epoch, self.limits);
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

    /// Up to `count` of the oldest pieces of work.
    pub(super) fn take_work(&self, count: usize) -> Vec<LogWork> {
        let mut hosted = self.hosted.lock();
        let count = count.min(hosted.work.len());
        hosted.work.drain(..count).collect()
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

/// The pending answer to a request, which has taken effect already. Dropping it changes nothing.
#[derive(Debug)]
pub(crate) struct ReplyWait<O>(oneshot::Receiver<O>);

impl<O> Future for ReplyWait<O> {
    /// [`Refusal::Resigned`] if the coordinator has resigned before it answered.
    type Output = Result<O, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.map_err(|_| Refusal::Resigned))
    }
}
