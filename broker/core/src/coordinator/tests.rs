//! Tests of the contract, on a machine that keeps one value for each name.
#![allow(clippy::unwrap_used)]

mod cells;
mod histories;

use std::time::Duration;

use rustmq_model::{Instant, LeaderEpoch, Offset, Timestamp};

use self::cells::{Ask, Cells, Rig, START, batch_of, set};
use super::*;

const LIMITS: CoordinatorLimits = CoordinatorLimits {
    waiting_max: 100,
    pending_bytes_max: 1 << 20,
    log_bytes: 1 << 20,
    rewrite_batch_bytes_max: 200,
};

fn later(by: Duration) -> Now {
    Now { instant: START.instant.plus(by), wall: START.wall }
}

#[test]
fn results_that_come_out_of_order_take_effect_in_order() {
    let mut rig = Rig::active(LIMITS);
    let (first, second) = (rig.ask(set("a", "1")), rig.ask(set("a", "2")));
    rig.commit(1);
    assert_eq!((rig.answer(first), rig.answer(second), rig.value("a")), (None, None, None));
    rig.commit(0);
    assert_eq!((rig.answer(first), rig.answer(second)), (Some(Ok(())), Some(Ok(()))));
    assert_eq!(rig.value("a").as_deref(), Some("2"));
}

#[test]
fn an_append_that_fails_undoes_its_own_effect_alone() {
    let mut rig = Rig::active(LIMITS);
    let (first, second) = (rig.ask(set("a", "1")), rig.ask(set("b", "2")));
    rig.fail(0, AppendFailure::Unavailable);
    rig.commit(0);
    assert_eq!(rig.answer(first), Some(Err(Ask::NotStored(AppendFailure::Unavailable))));
    assert_eq!(rig.answer(second), Some(Ok(())));
    assert_eq!((rig.value("a"), rig.value("b").as_deref()), (None, Some("2")));
}

#[test]
fn requests_are_refused_until_the_log_is_replayed_and_no_timer_runs() {
    let mut rig = Rig::loading(LIMITS);
    let early = rig.ask(set("a", "1"));
    assert_eq!(rig.answer(early), Some(Err(Ask::Refused(CoordinatorError::Loading))));
    assert_eq!(
        (rig.coordinator.poll_timeout(), rig.coordinator.machine().err()),
        (None, Some(CoordinatorError::Loading))
    );
    rig.coordinator.on_event(START, "b".to_owned());
    rig.coordinator.handle_timeout(later(Duration::from_secs(60)));
    rig.settle();
    rig.activate();
    let late = rig.ask(set("a", "1"));
    rig.commit(0);
    assert_eq!(rig.answer(late), Some(Ok(())));
}

#[test]
fn a_resigned_coordinator_has_forgotten_everything() {
    let mut rig = Rig::active(LIMITS);
    rig.ask(Ask::Alarm("b".to_owned(), Duration::from_secs(1)));
    let waiting = rig.ask(set("a", "1"));
    // Decided, and not handed out yet.
    let decided = ReplyToken(77);
    rig.coordinator.handle_request(START, decided, Ask::Get("a".to_owned()));
    rig.coordinator.handle_request(START, ReplyToken(78), set("c", "1"));
    rig.coordinator.resign();
    rig.settle();
    assert_eq!(rig.answer(decided), Some(Ok(())), "what was answered before stays answered");
    assert_eq!(rig.pending(), 1, "what was not handed out is not appended");
    rig.commit(0);
    rig.coordinator.on_trimmed(Ok(()));
    rig.coordinator.handle_timeout(later(Duration::from_secs(60)));
    rig.settle();
    assert_eq!((rig.answer(waiting), rig.coordinator.poll_timeout()), (None, None));
    assert_eq!(rig.coordinator.machine().err(), Some(CoordinatorError::Resigned));
    let late = rig.ask(set("a", "2"));
    assert_eq!(rig.answer(late), Some(Err(Ask::Refused(CoordinatorError::Resigned))));
}

#[test]
fn a_task_has_an_id_of_its_own_and_a_late_result_changes_nothing() {
    let mut rig = Rig::active(LIMITS);
    let asked = [rig.ask(Ask::Fetch("a".to_owned())), rig.ask(Ask::Fetch("a".to_owned()))];
    let [(first, _), (second, _)] = rig.tasks[..] else { panic!("two tasks") };
    assert!(first < second);
    rig.coordinator.on_task_done(START, second, "2".to_owned());
    rig.coordinator.on_task_done(START, second, "again".to_owned());
    rig.settle();
    assert_eq!(rig.pending(), 1);
    rig.commit(0);
    assert_eq!(
        (rig.answer(asked[0]), rig.answer(asked[1]), rig.value("a").as_deref()),
        (None, Some(Ok(())), Some("2"))
    );
    rig.coordinator.handle_request(START, ReplyToken(77), Ask::Fetch("b".to_owned()));
    rig.coordinator.resign();
    rig.coordinator.on_task_done(START, first, "1".to_owned());
    rig.settle();
    assert_eq!((rig.tasks.len(), rig.pending()), (2, 0), "no task of a coordinator that has resigned starts or ends");
}

#[test]
fn a_load_that_ends_after_the_resignation_starts_nothing() {
    let mut rig = Rig::loading(LIMITS);
    rig.coordinator.resign();
    rig.activate();
    assert_eq!(rig.coordinator.state(), CoordinatorState::Resigned);
}

#[test]
fn a_coordinator_whose_log_has_another_leader_resigns() {
    let mut rig = Rig::active(LIMITS);
    let (first, second) = (rig.ask(set("a", "1")), rig.ask(set("b", "2")));
    rig.fail(1, AppendFailure::NotLeader);
    assert_eq!(rig.coordinator.state(), CoordinatorState::Resigned);
    rig.commit(0);
    assert_eq!((rig.answer(first), rig.answer(second)), (None, None));
}

#[test]
fn as_many_requests_wait_as_are_allowed() {
    let mut rig = Rig::active(CoordinatorLimits { waiting_max: 2, ..LIMITS });
    let waiting = [rig.ask(set("a", "1")), rig.ask(set("b", "1"))];
    let over = rig.ask(set("c", "1"));
    assert_eq!(rig.answer(over), Some(Err(Ask::Refused(CoordinatorError::Overloaded))));
    let at_once = rig.ask(Ask::Get("a".to_owned()));
    assert_eq!(rig.answer(at_once), Some(Ok(())), "it does not wait");
    rig.commit(0);
    assert_eq!(rig.answer(waiting[0]), Some(Ok(())));
    let next = rig.ask(set("c", "1"));
    assert_eq!(rig.answer(next), None);
}

#[test]
fn requests_are_refused_while_too_many_bytes_are_pending() {
    let mut rig = Rig::active(CoordinatorLimits { pending_bytes_max: 100, ..LIMITS });
    rig.ask(Ask::Alarm("b".to_owned(), Duration::from_secs(1)));
    rig.ask(set("a", &"x".repeat(100)));
    let refused = rig.ask(set("c", "1"));
    assert_eq!(rig.answer(refused), Some(Err(Ask::Refused(CoordinatorError::Overloaded))));
    let at_once = rig.ask(Ask::Get("a".to_owned()));
    assert_eq!(rig.answer(at_once), Some(Ok(())));
    rig.coordinator.handle_timeout(later(Duration::from_secs(2)));
    rig.settle();
    assert_eq!(rig.pending(), 2, "a clock does not stand still");
    rig.commit_all();
    let next = rig.ask(set("c", "1"));
    rig.commit(0);
    assert_eq!((rig.answer(next), rig.value("b").as_deref()), (Some(Ok(())), Some("alarm")));
}

#[test]
fn a_flood_of_timers_leaves_room_for_requests() {
    let mut rig = Rig::active(CoordinatorLimits { waiting_max: 10_000, ..LIMITS });
    for number in 0..TIMERS_PER_STEP + 5 {
        rig.ask(Ask::Alarm(format!("{number:05}"), Duration::from_secs(1)));
    }
    let at = later(Duration::from_secs(1));
    rig.coordinator.handle_timeout(at);
    rig.settle();
    assert_eq!(rig.pending(), TIMERS_PER_STEP);
    assert_eq!(rig.coordinator.poll_timeout(), Some(at.instant));
    rig.coordinator.handle_timeout(at);
    rig.settle();
    assert_eq!((rig.pending(), rig.coordinator.poll_timeout()), (TIMERS_PER_STEP + 5, None));
}

#[test]
fn a_timer_that_is_set_again_fires_once_at_the_new_time() {
    let mut rig = Rig::active(LIMITS);
    for seconds in [1, 3] {
        rig.ask(Ask::Alarm("b".to_owned(), Duration::from_secs(seconds)));
    }
    rig.coordinator.handle_timeout(later(Duration::from_secs(2)));
    rig.settle();
    assert_eq!((rig.pending(), rig.coordinator.poll_timeout()), (0, Some(later(Duration::from_secs(3)).instant)));
    rig.coordinator.handle_timeout(later(Duration::from_secs(3)));
    rig.settle();
    assert_eq!((rig.pending(), rig.coordinator.poll_timeout()), (1, None));
}

#[test]
fn the_log_is_trimmed_when_all_that_is_live_is_committed_again() {
    let mut rig = Rig::active(CoordinatorLimits { log_bytes: 3 * Rig::BATCH_BYTES, ..LIMITS });
    rig.ask(set("quiet", "1"));
    rig.ask(set("busy", "1"));
    rig.commit_all();
    rig.ask(set("busy", "2"));
    rig.commit(0);
    assert_eq!(rig.pending(), 2, "both are written again");
    rig.commit(0);
    assert_eq!(rig.trim(), None, "one of them is not committed yet");
    rig.commit(0);
    assert_eq!(rig.trim(), Some(Offset(3)));
    rig.coordinator.on_trimmed(Ok(()));
    assert_eq!(rig.replayed().values(), [("busy".to_owned(), "2".to_owned()), ("quiet".to_owned(), "1".to_owned())]);
}

#[test]
fn a_name_that_never_rests_is_settled_by_its_first_append_after_the_start() {
    let mut rig = Rig::active(CoordinatorLimits { log_bytes: 2 * Rig::BATCH_BYTES, ..LIMITS });
    rig.ask(set("busy", "1"));
    rig.commit_all();
    for value in ["2", "3", "4"] {
        rig.ask(set("busy", value));
    }
    rig.commit(0);
    assert_eq!((rig.pending(), rig.trim()), (2, None), "3 may be lost, and 2 lies below the cut");
    rig.commit(0);
    assert_eq!((rig.pending(), rig.trim()), (1, Some(Offset(2))), "3 lies above it, whatever becomes of 4");
}

#[test]
fn appends_during_a_shortening_do_not_put_off_the_next_one() {
    let mut rig = Rig::active(CoordinatorLimits { log_bytes: 3 * Rig::BATCH_BYTES, ..LIMITS });
    rig.ask(set("quiet", "1"));
    rig.ask(set("busy", "1"));
    rig.commit_all();
    for _ in 0..10 {
        rig.ask(set("busy", "2"));
    }
    rig.commit_all();
    assert_eq!(rig.trim(), Some(Offset(3)));
    rig.coordinator.on_trimmed(Ok(()));
    rig.ask(set("busy", "3"));
    rig.commit(0);
    assert_eq!(rig.pending(), 2, "one record was written again, and the log holds 11");
    rig.commit_all();
    assert_eq!(rig.trim(), Some(Offset(14)));
    rig.coordinator.on_trimmed(Ok(()));
    for value in ["4", "5"] {
        assert_eq!(rig.pending(), 0, "two were written again: the next is due at four");
        rig.ask(set("busy", value));
        rig.commit(0);
    }
    assert_eq!(rig.pending(), 2);
}

#[test]
fn a_rewrite_that_fails_leaves_the_log_as_it_is_until_it_has_doubled() {
    let mut rig = Rig::active(CoordinatorLimits { log_bytes: Rig::BATCH_BYTES, ..LIMITS });
    rig.ask(set("a", "1"));
    rig.commit(0);
    rig.fail(0, AppendFailure::Unavailable);
    assert_eq!((rig.pending(), rig.trim()), (0, None));
    rig.ask(set("a", "2"));
    rig.commit(0);
    assert_eq!(rig.pending(), 1, "the log has doubled");
    rig.commit(0);
    assert_eq!(rig.trim(), Some(Offset(2)));
    rig.coordinator.on_trimmed(Err(TrimFailed));
    rig.ask(set("a", "3"));
    rig.commit(0);
    assert_eq!((rig.pending(), rig.trim()), (0, None), "it has not doubled since the attempt");
}

#[test]
fn a_step_of_shortening_leaves_room_for_requests() {
    let (count, count_u64) = (1500, 1500);
    let limits = CoordinatorLimits { log_bytes: (count_u64 + 1) * Rig::BATCH_BYTES, waiting_max: 10_000, ..LIMITS };
    let mut rig = Rig::active(limits);
    let set_all = |rig: &mut Rig, value: &str| {
        for number in 0..count {
            rig.ask(set(&format!("{number:05}"), value));
        }
    };
    set_all(&mut rig, "1");
    rig.commit_all();
    rig.ask(set("last", "1"));
    set_all(&mut rig, "2");
    // The first result begins the shortening. The others take effect all at once, and settle all
    // names but one.
    rig.commit(0);
    while rig.pending() > 1 {
        rig.commit(rig.pending() - 1);
    }
    rig.commit(0);
    assert_eq!(rig.coordinator.poll_timeout(), Some(Instant::from_nanos(0)), "more names than one step asks for");
    while rig.coordinator.poll_timeout().is_some() {
        rig.coordinator.handle_timeout(START);
        rig.settle();
    }
    rig.commit_all();
    assert_eq!(rig.trim(), Some(Offset(count + 1)));
    assert_eq!(rig.replayed().values().len(), 1501);
}

#[test]
fn a_load_passes_over_what_is_damaged_or_below_the_log_start() {
    let mut batches = [batch_of(3, &[("a", "1"), ("b", "1")]), batch_of(5, &[("", "1")]), batch_of(6, &[("c", "1")])];
    let mut torn = batches[2].to_vec();
    *torn.last_mut().unwrap() = 0x7f;
    batches[2] = torn.into();
    let log = LogRange { log_start: Offset(4), local_start: Offset(4), log_end: Offset(8) };
    let mut loader = Loader::new(Cells::default(), log, 1 << 20).unwrap();
    let mut faults = Vec::new();
    loader.replay(&batches, |fault| faults.push(fault)).unwrap();
    assert_eq!((loader.position(), loader.is_complete()), (Offset(7), false));
    let [ReplayFault::Record { offset: Offset(5), .. }, ReplayFault::Batch { base_offset: Offset(6), .. }] = faults[..]
    else {
        panic!("{faults:?}")
    };
    loader.replay(&[batch_of(7, &[("d", "1")])], |fault| panic!("{fault:?}")).unwrap();
    assert!(loader.is_complete());
    assert!(loader.replay(&[bytes::Bytes::from_static(b"no batch")], |fault| panic!("{fault:?}")).is_err());
    assert_eq!(loader.position(), Offset(8));
    let mut coordinator = Coordinator::new(LeaderEpoch(0), LIMITS);
    coordinator.activate(Now { instant: Instant::from_nanos(1), wall: Timestamp(1) }, loader);
    let values = coordinator.machine().unwrap().values();
    assert_eq!(values, [("b".to_owned(), "1".to_owned()), ("d".to_owned(), "1".to_owned())]);
}

#[test]
#[should_panic(expected = "all of its log is replayed")]
fn nothing_is_served_from_half_a_log() {
    let log = LogRange { log_start: Offset(0), local_start: Offset(0), log_end: Offset(1) };
    Coordinator::new(LeaderEpoch(0), LIMITS).activate(START, Loader::new(Cells::default(), log, 1 << 20).unwrap());
}

#[test]
fn a_log_in_the_object_tier_is_not_loaded() {
    let (log_start, local_start) = (Offset(0), Offset(1));
    let log = LogRange { log_start, local_start, log_end: Offset(1) };
    let loader = Loader::new(Cells::default(), log, 1 << 20);
    assert_eq!(loader.map(|_| ()), Err(LogNotLocal { log_start, local_start }));
}

#[test]
fn a_load_passes_over_what_its_log_has_lost() {
    let log = LogRange { log_start: Offset(0), local_start: Offset(0), log_end: Offset(9) };
    let mut loader = Loader::new(Cells::default(), log, 1 << 20).unwrap();
    loader.replay(&[batch_of(0, &[("a", "1")])], |fault| panic!("{fault:?}")).unwrap();
    loader.pass_over(Offset(7));
    assert_eq!((loader.position(), loader.is_complete()), (Offset(7), false));
    loader.pass_over(Offset(3));
    assert_eq!(loader.position(), Offset(7), "a load does not go back");
    loader.replay(&[batch_of(7, &[("b", "1"), ("c", "1")])], |fault| panic!("{fault:?}")).unwrap();
    let mut coordinator = Coordinator::new(LeaderEpoch(0), LIMITS);
    coordinator.activate(START, loader);
    assert_eq!(coordinator.machine().unwrap().values().len(), 3);
}
