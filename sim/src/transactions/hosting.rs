//! The driver of the coordinators: carries out what they want of their logs, fires their timers,
//! and brings requests to them.

use std::time::Duration;

use rustmq_broker_core::coordinator::{AppendFailure, Committed, TrimFailed};
use rustmq_broker_core::groups::GroupError;
use rustmq_broker_core::transactions::MarkerOutcome;
use rustmq_engine_core::log::{Admission, AppendRejection};
use rustmq_model::TransactionVersion;

use super::batches::Batch;
use super::coordinators::{Host, HostId, Hosted, Hosts, LogWork, Output};
use super::environment::{Caller, Environment, Event, Waiter};
use super::events::Named;
use super::partition::Term;
use super::producers::{Answer, Refusal};

/// One of the events of a coordinator.
pub fn step_host<M: Hosted>(env: &mut Environment, hosts: &mut Hosts<M>, partition: usize, id: HostId, event: Event) {
    let now = env.now();
    let Some(host) = hosts.find(id) else { return };
    match event {
        Event::Timer { at, .. } => host.on_timer(now, at),
        Event::Appended { append, result, .. } => host.on_appended(now, append, result),
        Event::Trimmed { result, .. } => host.on_trimmed(result),
        Event::Resign { .. } => host.resign(),
        Event::Load { .. } => {
            let Some(leader) = env.partitions[partition].leader_of(host.term) else { return };
            if !host.load(leader, &env.setting, now) {
                env.events.note(Named::LoadWaited);
                env.schedule.after(Duration::from_millis(1), event);
                return;
            }
            env.trace("loaded", &[("partition", partition as u64), ("host", id.number.into())]);
        }
        _ => unreachable!("it is none of a coordinator"),
    }
}

/// Carries out what coordinators want of their log. Returns the rest of their outputs.
pub fn outputs_of<M: Hosted>(
    env: &mut Environment,
    hosts: &mut Hosts<M>,
    partition: usize,
) -> Vec<(HostId, Output<M>)> {
    let mut rest = Vec::new();
    for id in hosts.ids() {
        let host = hosts.find(id).expect("it was listed just now");
        let term = host.term;
        for output in host.take_outputs() {
            match output {
                Output::Log(work) => write(env, id, term, partition, work),
                output => rest.push((id, output)),
            }
        }
        forget(env, hosts, id);
        if let Some(host) = hosts.find(id) {
            schedule_timer(env, host);
        }
    }
    rest
}

fn schedule_timer<M: Hosted>(env: &mut Environment, host: &mut Host<M>) {
    let id = host.id;
    if let Some(at) = host.next_timer(env.schedule.now()) {
        env.schedule.at(at, Event::Timer { host: id, at });
    }
}

/// Refuses the callers of a coordinator that has resigned, and drops it.
fn forget<M: Hosted>(env: &mut Environment, hosts: &mut Hosts<M>, id: HostId) {
    let Some(host) = hosts.find(id) else { return };
    if !host.has_resigned() {
        return;
    }
    for caller in host.take_callers() {
        match caller {
            Caller::Producer { producer, number, .. } => {
                env.answer(producer, number, Answer::Refused(Refusal::Retry));
            }
            Caller::Call(call) => env.report(Event::Confirmed { call, refusal: Some(Refusal::Retry) }),
            Caller::Port(delivery) => env.report_marker(delivery, MarkerOutcome::LeaderUnknown),
            Caller::Consumer { consumer, number } => {
                let result = Err(GroupError::NotCoordinator);
                env.send(Event::HeartbeatAnswer { consumer, number, result });
            }
        }
    }
    hosts.remove(id);
}

/// Writes to the log of a coordinator.
fn write(env: &mut Environment, host: HostId, term: Term, partition: usize, work: LogWork) {
    let is_led = env.partitions[partition].leader_of(term).is_some();
    let now = env.now().wall;
    let (append, batch, result) = match work {
        LogWork::Trim { below } => {
            let is_done = is_led && !env.fails(env.setting.refused);
            if is_done && env.partitions[partition].trim(below) {
                env.events.note(Named::Shortened);
                env.sync(partition);
            }
            let result = if is_done { Ok(()) } else { Err(TrimFailed) };
            env.report(Event::Trimmed { host, result });
            return;
        }
        LogWork::Append { append, .. } | LogWork::Marker { append, .. } if !is_led => {
            env.report(Event::Appended { host, append, result: Err(AppendFailure::NotLeader) });
            return;
        }
        LogWork::Append { append, .. } | LogWork::Marker { append, .. } if env.fails(env.setting.refused) => {
            env.events.note(Named::AppendRefused);
            env.report(Event::Appended { host, append, result: Err(AppendFailure::Unavailable) });
            return;
        }
        LogWork::Append { append, records, producer } => {
            let batch = Batch::of_records(&records, producer, now);
            (append, batch.clone(), env.append(partition, batch, Admission::Coordinator))
        }
        LogWork::Marker { append, marker } => {
            (append, Batch::of_marker(&marker, now), env.append_marker(partition, &marker))
        }
    };
    match result {
        Ok(until) => {
            let committed = Committed { next_offset: until, bytes: batch.bytes.len() as u64 };
            env.wait(partition, until, Waiter::Coordinator { host, append, committed });
        }
        Err(rejection) => {
            let failure = match rejection {
                AppendRejection::InvalidProducerEpoch { .. } => AppendFailure::InvalidProducerEpoch,
                _ => AppendFailure::Unavailable,
            };
            env.report(Event::Appended { host, append, result: Err(failure) });
        }
    }
}

/// The coordinator that a request of this version reaches: the present one, or one that has been
/// followed. Below version 2 it is always the present one: see the fault model.
pub fn route<'a, M: Hosted>(
    env: &mut Environment,
    hosts: &'a mut Hosts<M>,
    partition: usize,
    version: TransactionVersion,
) -> Option<&'a mut Host<M>> {
    let term = env.partitions[partition].leader().map(|leader| leader.term);
    let current = term.and_then(|term| hosts.of_term(term));
    let ids = hosts.ids();
    let stale = ids.first().copied().filter(|first| Some(*first) != current);
    let is_stale = stale.is_some() && version.bumps_epochs() && env.rng.coin();
    let id = if is_stale { stale } else { current }?;
    if is_stale {
        env.events.note(Named::Unaware);
    }
    hosts.find(id)
}
