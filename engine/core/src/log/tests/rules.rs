//! Each rule of an append, a trim and a truncation, one at a time.

use std::time::Duration;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use rustmq_model::{TransactionEnd, TransactionMarker, TransactionVersion};

use super::super::*;
use super::batches::{at, idempotent, lead, marker, plain, transactional};

fn open() -> PartitionLog {
    PartitionLog::open(LogLimits::default(), LeaderEpoch(3), Offset::ZERO)
}

fn append(log: &mut PartitionLog, header: &BatchHeader) -> Result<i64, AppendRejection> {
    append_at(log, header, 1_000)
}

fn append_at(log: &mut PartitionLog, header: &BatchHeader, now: i64) -> Result<i64, AppendRejection> {
    let decision = log.prepare_append(None, header, Admission::Verified)?;
    log.check_invariants();
    Ok(match decision {
        AppendDecision::Append { base_offset } => {
            log.commit_append(header, base_offset, Timestamp(now));
            log.check_invariants();
            base_offset.0
        }
        AppendDecision::Duplicate { base_offset, last_offset, must_wait_for, .. } => {
            assert_eq!(must_wait_for, last_offset.plus(1));
            // The sign tells a duplicate from an append.
            -1 - base_offset.0
        }
    })
}

/// Where the epoch ended in the durable log.
fn end_of(log: &PartitionLog, epoch: i32) -> Option<EpochEnd> {
    end_offset_for(log.epochs(), LeaderEpoch(epoch), log.frontiers().durable_end)
}

fn transaction_marker(id: i64, epoch: i16, version: TransactionVersion) -> TransactionMarker {
    EndMarker { end: TransactionEnd::Abort, coordinator_epoch: 1 }.of(&marker(id, epoch), version)
}

fn end_transaction(
    log: &mut PartitionLog,
    id: i64,
    epoch: i16,
    end: TransactionEnd,
) -> Result<Option<AbortedTransaction>, AppendRejection> {
    let (header, marker) = (marker(id, epoch), EndMarker { end, coordinator_epoch: 1 });
    let base = log.end();
    log.prepare_marker(None, &header, &marker.of(&header, TransactionVersion::V0))?;
    let trace = log.commit_marker(&header, marker, base, Timestamp(1_000));
    log.check_invariants();
    Ok(trace.aborted())
}

#[test]
fn offsets_are_dense_and_visible_only_when_durable() {
    let mut log = open();
    assert_eq!(append(&mut log, &plain(3)), Ok(0));
    assert_eq!(append(&mut log, &plain(2)), Ok(3));
    assert_eq!((log.end(), log.frontiers().high_watermark), (Offset(5), Offset(0)));
    assert!(log.on_durable(Offset(3)));
    assert_eq!(log.frontiers().last_stable, Offset(3));
    assert!(!log.on_durable(Offset(3)));
    assert!(log.on_durable(Offset(99)));
    assert_eq!(log.frontiers().durable_end, Offset(5));
}

#[test]
fn an_append_from_another_leadership_is_refused() {
    let log = open();
    let check = |given, expected: Option<AppendRejection>| {
        assert_eq!(log.prepare_append(Some(LeaderEpoch(given)), &plain(1), Admission::Verified).err(), expected);
    };
    let current = LeaderEpoch(3);
    check(3, None);
    check(2, Some(AppendRejection::FencedLeaderEpoch { given: LeaderEpoch(2), current }));
    check(4, Some(AppendRejection::UnknownLeaderEpoch { given: LeaderEpoch(4), current }));
}

#[test]
fn the_last_five_batches_of_a_producer_are_recognized() {
    let mut log = open();
    for sequence in 0..7 {
        assert_eq!(append(&mut log, &idempotent(1, 0, sequence, 1)), Ok(i64::from(sequence)));
    }
    for sequence in 2..7 {
        assert_eq!(append(&mut log, &idempotent(1, 0, sequence, 1)), Ok(-1 - i64::from(sequence)));
    }
    let expected = Sequence(7);
    for sequence in [1, 0, 8, i32::MAX] {
        let rejection =
            AppendRejection::OutOfOrderSequence { producer_id: ProducerId(1), expected, got: Sequence(sequence) };
        assert_eq!(append(&mut log, &idempotent(1, 0, sequence, 1)), Err(rejection));
    }
    // The same first sequence with another length is another batch.
    assert!(append(&mut log, &idempotent(1, 0, 6, 2)).is_err());
    assert_eq!(append(&mut log, &idempotent(1, 0, 7, 1)), Ok(7));
}

#[test]
fn sequences_wrap() {
    let mut log = open();
    assert_eq!(append(&mut log, &idempotent(1, 0, i32::MAX - 1, 3)), Ok(0));
    assert_eq!(append(&mut log, &idempotent(1, 0, 1, 1)), Ok(3));
    assert_eq!(append(&mut log, &idempotent(1, 0, i32::MAX - 1, 3)), Ok(-1));
}

#[test]
fn an_unknown_producer_starts_anywhere_and_a_new_epoch_at_zero() {
    let mut log = open();
    assert_eq!(append(&mut log, &idempotent(1, 4, 17, 2)), Ok(0));
    let out_of_order =
        AppendRejection::OutOfOrderSequence { producer_id: ProducerId(1), expected: Sequence(0), got: Sequence(19) };
    assert_eq!(append(&mut log, &idempotent(1, 5, 19, 1)), Err(out_of_order));
    assert_eq!(append(&mut log, &idempotent(1, 5, 0, 1)), Ok(2));
    let fenced = AppendRejection::InvalidProducerEpoch {
        producer_id: ProducerId(1),
        current: ProducerEpoch(5),
        got: ProducerEpoch(4),
    };
    assert_eq!(append(&mut log, &idempotent(1, 4, 17, 2)), Err(fenced));
}

#[test]
fn a_batch_that_no_client_may_write_is_refused() {
    let mut log = open();
    assert!(matches!(
        append(&mut log, &idempotent(1, 0, -1, 1)),
        Err(AppendRejection::Batch(BatchRejection::InvalidSequence { .. }))
    ));
    assert!(matches!(
        append(&mut log, &idempotent(1, -1, 0, 1)),
        Err(AppendRejection::Batch(BatchRejection::InvalidSequence { .. }))
    ));
    assert_eq!(append(&mut log, &marker(1, 0)), Err(BatchRejection::ControlBatch.into()));
    assert_eq!(append(&mut log, &plain(0)), Err(BatchRejection::RecordCount.into()));
    let mut full = PartitionLog::open(LogLimits::default(), LeaderEpoch(0), Offset(i64::MAX - 2));
    assert_eq!(append(&mut full, &plain(3)), Err(BatchRejection::RecordCount.into()));
    assert_eq!(append(&mut full, &plain(2)), Ok(i64::MAX - 2));
}

#[test]
fn producers_are_bounded_and_expire() {
    let limits = LogLimits { producers_max: 2 };
    let mut log = PartitionLog::open(limits, LeaderEpoch(0), Offset::ZERO);
    // The times that their records state do not matter.
    for (id, stated) in [(1, i64::MAX), (2, -1)] {
        let header = BatchHeader { max_timestamp: Timestamp(stated), ..idempotent(id, 0, 0, 1) };
        append_at(&mut log, &header, id * 1_000).unwrap();
    }
    assert_eq!(append(&mut log, &idempotent(3, 0, 0, 1)), Err(AppendRejection::ProducerLimit { limit: 2 }));
    let expired = log.expire_producers(Timestamp(1_500), Duration::from_millis(500), usize::MAX);
    assert_eq!(expired, [ProducerId(1)]);
    log.forget_producers(log.end(), &expired);
    assert_eq!(append(&mut log, &idempotent(3, 0, 0, 1)), Ok(2));
}

#[test]
fn the_last_stable_offset_stops_at_the_first_open_transaction() {
    let mut log = open();
    append(&mut log, &plain(2)).unwrap();
    append(&mut log, &transactional(1, 0, 0, 2)).unwrap();
    append(&mut log, &transactional(2, 0, 0, 1)).unwrap();
    let last_stable = |log: &mut PartitionLog| {
        log.on_durable(log.end());
        log.frontiers().last_stable.0
    };
    assert_eq!(last_stable(&mut log), 2);
    let outside = AppendRejection::from(TransactionRejection::OutsideTransaction { producer_id: ProducerId(1) });
    assert_eq!(append(&mut log, &idempotent(1, 0, 2, 1)), Err(outside));
    let (first_offset, last_offset, stable) = (Offset(2), Offset(5), Offset(4));
    let aborted = AbortedTransaction { producer_id: ProducerId(1), first_offset, last_offset, last_stable: stable };
    assert_eq!(end_transaction(&mut log, 1, 0, TransactionEnd::Abort), Ok(Some(aborted)));
    // The transaction has ended, but not on every replica.
    assert_eq!(log.frontiers().last_stable, Offset(2));
    assert_eq!(last_stable(&mut log), 4);
    assert_eq!(end_transaction(&mut log, 2, 1, TransactionEnd::Commit), Ok(None));
    assert_eq!(last_stable(&mut log), 7);
    // The marker raised the epoch of producer 2: its old one is fenced, the new one starts at 0.
    assert!(matches!(append(&mut log, &transactional(2, 0, 1, 1)), Err(AppendRejection::InvalidProducerEpoch { .. })));
    assert_eq!(append(&mut log, &transactional(2, 1, 0, 1)), Ok(7));
    let stale = EndMarker { end: TransactionEnd::Commit, coordinator_epoch: 0 };
    let header = marker(2, 1);
    let rejection = log.prepare_marker(None, &header, &stale.of(&header, TransactionVersion::V0)).unwrap_err();
    let fenced = TransactionRejection::FencedCoordinator { producer_id: ProducerId(2), current: 1, got: 0 };
    assert_eq!(rejection, fenced.into());
}

#[test]
fn a_trim_stops_at_the_high_watermark_and_shows_when_it_is_durable() {
    let mut log = open();
    append(&mut log, &plain(10)).unwrap();
    log.on_durable(Offset(10));
    append(&mut log, &plain(10)).unwrap();
    let high_watermark = Offset(10);
    assert_eq!(log.trim(Offset(11)), Err(RejectedTrim { requested: Offset(11), high_watermark }));
    assert_eq!(log.trim(Offset(4)), Ok(Some(Offset(4))));
    assert_eq!((log.frontiers().log_start, log.decided_log_start()), (Offset(0), Offset(4)));
    assert_eq!(log.trim(Offset(3)), Ok(None), "it is decided already");
    assert_eq!(log.decided_log_start(), Offset(4));
    assert!(log.on_trim_durable(Offset(4)));
    assert_eq!(log.frontiers().log_start, Offset(4));
    assert_eq!(log.trim(Offset(3)), Ok(None));
    assert!(!log.on_trim_durable(Offset(4)));
}

#[test]
fn a_trim_lifts_the_last_stable_offset_when_it_is_durable() {
    let mut log = open();
    append(&mut log, &transactional(1, 0, 0, 2)).unwrap();
    append(&mut log, &plain(8)).unwrap();
    log.on_durable(Offset(10));
    log.trim(Offset(4)).unwrap();
    log.check_invariants();
    assert_eq!(log.frontiers().last_stable, Offset(0), "a restart may find the log without the trim");
    // An append meanwhile does not move it either.
    append(&mut log, &plain(1)).unwrap();
    log.on_durable(Offset(11));
    assert_eq!(log.frontiers().last_stable, Offset(0));
    assert!(log.on_trim_durable(Offset(4)));
    log.check_invariants();
    assert_eq!((log.frontiers().log_start, log.frontiers().last_stable), (Offset(4), Offset(4)));
}

#[test]
fn a_truncation_leaves_the_log_as_it_was_at_the_cut() {
    let mut log = open();
    append(&mut log, &transactional(1, 0, 0, 2)).unwrap();
    append(&mut log, &plain(2)).unwrap();
    log.follow_watermark(WatermarkRule::Acknowledged(Offset(3)));
    log.on_durable(Offset(4));
    log.trim(Offset(1)).unwrap();
    let at_cut = log.clone();
    append(&mut log, &idempotent(2, 0, 0, 1)).unwrap();
    append(&mut log, &transactional(1, 0, 2, 1)).unwrap();
    end_transaction(&mut log, 1, 0, TransactionEnd::Abort).unwrap();
    assert_eq!(log.prepare_truncation(Offset(7)), Ok(false));
    lead(&mut log, 5).unwrap();
    log.on_durable(Offset(7));
    log.trim(Offset(3)).unwrap();
    let high_watermark = Offset(3);
    assert_eq!(log.prepare_truncation(Offset(2)), Err(RejectedTruncation { requested: Offset(2), high_watermark }));
    assert_eq!((log.prepare_truncation(Offset(7)), log.prepare_truncation(Offset(4))), (Ok(true), Ok(true)));

    log.begin_cut();
    assert_eq!(log.prepare_append(None, &plain(1), Admission::Verified), Err(AppendRejection::BeingCut));
    let marker_now = log.prepare_marker(None, &marker(1, 0), &transaction_marker(1, 0, TransactionVersion::V0));
    assert_eq!(marker_now, Err(AppendRejection::BeingCut));
    assert!(!log.follow_watermark(WatermarkRule::Sole), "the high watermark stands still during a cut");
    let mut cut = at_cut;
    cut.continue_cut(&log, Timestamp(2_000));
    cut.check_invariants();
    assert_eq!((cut.end(), cut.leader_epoch(), cut.decided_log_start()), (Offset(4), LeaderEpoch(5), Offset(3)));
    assert_eq!(cut.frontiers().durable_end, Offset(4));
    assert!(cut.producers().find(ProducerId(2)).is_none());
    assert_eq!(end_of(&cut, 5), None, "it began above the cut");
    assert!(cut.is_being_cut());
    assert!(cut.end_cut());
    assert_eq!(cut.frontiers().high_watermark, Offset(4));
    // The transaction is open again, and continues after its first batch.
    assert_eq!(append(&mut cut, &transactional(1, 0, 2, 1)), Ok(4));
    assert_eq!(end_transaction(&mut cut, 1, 0, TransactionEnd::Commit), Ok(None));
    assert_eq!(cut.end(), Offset(6));
}

#[test]
fn a_cut_that_is_given_up_releases_the_watermark() {
    let mut log = open();
    append(&mut log, &plain(4)).unwrap();
    log.begin_cut();
    assert!(log.on_durable(Offset(4)));
    assert_eq!(log.frontiers().high_watermark, Offset(0));
    assert!(log.end_cut());
    assert_eq!(log.frontiers().high_watermark, Offset(4));
    assert!(!log.end_cut());
}

#[test]
fn a_watermark_waits_for_the_other_replicas_and_never_falls() {
    let mut log = open();
    append(&mut log, &plain(9)).unwrap();
    log.follow_watermark(WatermarkRule::Acknowledged(Offset(2)));
    log.on_durable(Offset(5));
    assert_eq!(log.frontiers().high_watermark, Offset(2));
    assert!(!log.follow_watermark(WatermarkRule::Acknowledged(Offset(1))));
    assert!(log.follow_watermark(WatermarkRule::Acknowledged(Offset(7))), "as far as it is durable here");
    assert_eq!(log.frontiers().high_watermark, Offset(5));
    log.on_durable(Offset(9));
    assert_eq!(log.frontiers().high_watermark, Offset(7));
}

#[test]
fn a_log_that_is_reset_starts_empty_and_keeps_its_leader_epoch() {
    let mut log = open();
    append(&mut log, &transactional(1, 0, 0, 2)).unwrap();
    log.on_durable(Offset(2));
    log.follow(LeaderEpoch(8)).unwrap();
    for at in [1, 70] {
        log.reset(Offset(at));
        log.check_invariants();
        assert_eq!(*log.frontiers(), Frontiers::at(Offset(at)));
        assert_eq!((log.leader_epoch(), log.epochs()), (LeaderEpoch(8), &[][..]));
        assert!(log.producers().is_empty());
    }
    assert_eq!(append(&mut log, &transactional(1, 0, 0, 1)), Ok(70));
}

#[test]
fn a_leadership_begins_once_and_never_goes_back() {
    let mut log = open();
    append(&mut log, &plain(4)).unwrap();
    assert_eq!(lead(&mut log, 3), Ok(None));
    let current = LeaderEpoch(3);
    assert_eq!(lead(&mut log, 2), Err(RejectedEpoch { given: LeaderEpoch(2), current }));
    let begun = EpochStart { epoch: LeaderEpoch(6), start: Offset(4) };
    assert_eq!(lead(&mut log, 6), Ok(Some(begun)));
    log.on_durable(Offset(4));
    assert_eq!(end_of(&log, 3), Some(EpochEnd { epoch: current, end_offset: Offset(4) }));
    assert_eq!(end_of(&log, 6), Some(EpochEnd { epoch: LeaderEpoch(6), end_offset: Offset(4) }));
    assert_eq!(end_of(&log, 7), None);
}

#[test]
fn an_epoch_that_a_follower_hears_of_enters_its_history_with_a_batch() {
    let mut log = open();
    append(&mut log, &plain(4)).unwrap();
    let known = log.epochs().to_vec();
    log.follow(LeaderEpoch(5)).unwrap();
    log.check_invariants();
    assert_eq!((log.leader_epoch(), log.epochs()), (LeaderEpoch(5), &known[..]));
    assert_eq!(end_of(&log, 5), None);
    let current = LeaderEpoch(5);
    assert_eq!(log.follow(LeaderEpoch(4)), Err(RejectedEpoch { given: LeaderEpoch(4), current }));
    assert!(log.prepare_append(Some(LeaderEpoch(3)), &plain(1), Admission::Verified).is_err());
    append(&mut log, &plain(2)).unwrap();
    let begun = EpochStart { epoch: LeaderEpoch(5), start: Offset(4) };
    assert_eq!(log.epochs(), [known[0], begun]);
}

#[test]
fn a_log_without_a_leadership_knows_no_epoch() {
    let mut log = PartitionLog::open(LogLimits::default(), LeaderEpoch::NONE, Offset(7));
    log.check_invariants();
    assert_eq!((log.leader_epoch(), log.epochs()), (LeaderEpoch::NONE, &[][..]));
    assert_eq!(end_of(&log, 0), None);
    let begun = |epoch| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(7) };
    assert_eq!(lead(&mut log, 0), Ok(Some(begun(0))));
    assert_eq!(lead(&mut log, 2), Ok(Some(begun(2))), "the epoch before it has no records");
    assert_eq!(log.epochs(), [begun(2)]);
}

/// Decides about an abort marker, and appends it if it is to be written.
fn abort_by(log: &mut PartitionLog, epoch: i16, version: TransactionVersion) -> Result<bool, AppendRejection> {
    let decision = log.prepare_marker(None, &marker(1, epoch), &transaction_marker(1, epoch, version))?;
    let is_written = matches!(decision, AppendDecision::Append { .. });
    if is_written {
        let marker_of = EndMarker { end: TransactionEnd::Abort, coordinator_epoch: 1 };
        log.commit_marker(&marker(1, epoch), marker_of, log.end(), Timestamp(1_000));
        log.check_invariants();
    }
    Ok(is_written)
}

#[test]
fn a_marker_of_version_2_needs_a_higher_epoch_unless_it_is_repeated() {
    use TransactionVersion::{V0, V1, V2};
    let check = |written: Option<(i16, bool)>, epoch, version, expected: Option<bool>| {
        let mut log = open();
        if let Some((epoch, is_open)) = written {
            append(&mut log, &transactional(1, epoch, 0, 1)).unwrap();
            if !is_open {
                end_transaction(&mut log, 1, epoch, TransactionEnd::Commit).unwrap();
            }
        }
        assert_eq!(abort_by(&mut log, epoch, version).ok(), expected, "{written:?} {epoch} {version:?}");
    };
    for version in [V0, V1] {
        check(Some((3, true)), 2, version, None);
        check(Some((3, true)), 3, version, Some(true));
        check(Some((3, false)), 3, version, Some(true));
        check(Some((3, true)), 4, version, Some(true));
    }
    check(None, 3, V2, Some(true));
    check(Some((3, true)), 2, V2, None);
    check(Some((3, true)), 3, V2, None);
    check(Some((3, false)), 3, V2, Some(false));
    check(Some((3, true)), 4, V2, Some(true));
    check(Some((i16::MAX, true)), i16::MAX, V2, Some(true));
    check(Some((i16::MAX, false)), i16::MAX, V2, Some(false));
}

#[test]
fn a_marker_of_version_2_fences_the_epochs_below_its_own() {
    let mut log = open();
    append(&mut log, &transactional(1, 0, 0, 1)).unwrap();
    assert_eq!(abort_by(&mut log, 1, TransactionVersion::V2), Ok(true));
    let late = append(&mut log, &transactional(1, 0, 1, 1));
    assert!(matches!(late, Err(AppendRejection::InvalidProducerEpoch { .. })), "{late:?}");
    assert_eq!(append(&mut log, &transactional(1, 1, 0, 1)), Ok(2));
    // The marker comes again: it must not end the next transaction.
    assert!(abort_by(&mut log, 1, TransactionVersion::V2).is_err());
    assert_eq!(log.producers().find(ProducerId(1)).unwrap().open_transaction, Some(Offset(2)));
}

#[test]
fn no_limit_on_producers_refuses_a_marker() {
    let limits = LogLimits { producers_max: 1 };
    let mut log = PartitionLog::open(limits, LeaderEpoch(3), Offset::ZERO);
    append(&mut log, &transactional(2, 0, 0, 1)).unwrap();
    assert_eq!(abort_by(&mut log, 0, TransactionVersion::V0), Ok(true));
    assert_eq!(log.producers().len(), 1, "its producer is not remembered");
}

#[test]
fn a_replay_remembers_the_producers_that_the_log_remembered_whatever_its_limit_is_now() {
    let abort = EndMarker { end: TransactionEnd::Abort, coordinator_epoch: 1 };
    let logs = |limit: usize, limit_at_replay: usize| {
        let open = |producers_max| PartitionLog::open(LogLimits { producers_max }, LeaderEpoch(3), Offset::ZERO);
        let (mut log, mut replayed) = (open(limit), open(limit_at_replay));
        for producer in [7, 8, 9] {
            let (header, base) = (marker(producer, 0), log.end());
            let trace = log.commit_marker(&header, abort, base, Timestamp::NONE);
            let replayed_marker = ReplayedMarker { marker: abort, trace };
            replayed.replay_batch(&at(header, base.0, 3), Some(replayed_marker), Gaps::Refused).unwrap();
        }
        let ids = |log: &PartitionLog| log.producers().iter().map(|(id, _)| id.0).collect::<Vec<_>>();
        (ids(&log), ids(&replayed))
    };
    assert_eq!(logs(2, 10), (vec![7, 8], vec![7, 8]));
    assert_eq!(logs(10, 2), (vec![7, 8, 9], vec![7, 8, 9]));
}

#[test]
fn a_transaction_begins_only_if_it_was_verified() {
    let decide = |log: &PartitionLog, header: &BatchHeader| {
        let needed = log.prepare_verification(None, header).map(|decision| decision == VerificationDecision::Needed);
        (needed, log.prepare_append(None, header, Admission::Unverified).is_ok())
    };
    let mut log = open();
    let unverified = AppendRejection::from(TransactionRejection::Unverified { producer_id: ProducerId(1) });
    assert_eq!(decide(&log, &transactional(1, 0, 0, 1)), (Ok(true), false));
    assert_eq!(log.prepare_append(None, &transactional(1, 0, 0, 1), Admission::Unverified), Err(unverified));
    assert_eq!(decide(&log, &idempotent(1, 0, 0, 1)), (Ok(false), true));
    assert_eq!(decide(&log, &plain(1)), (Ok(false), true));
    append(&mut log, &transactional(1, 0, 0, 1)).unwrap();
    // It goes on in the open transaction, or repeats a batch.
    assert_eq!(decide(&log, &transactional(1, 0, 1, 1)), (Ok(false), true));
    assert_eq!(decide(&log, &transactional(1, 0, 0, 1)), (Ok(false), true));
    // The next epoch waits for the marker of the open transaction.
    assert_eq!(decide(&log, &transactional(1, 1, 0, 1)), (Ok(true), false));
    let earlier = AppendRejection::from(TransactionRejection::EarlierOpen { producer_id: ProducerId(1) });
    assert_eq!(append(&mut log, &transactional(1, 1, 0, 1)), Err(earlier));
    assert_eq!(abort_by(&mut log, 1, TransactionVersion::V2), Ok(true));
    assert_eq!(decide(&log, &transactional(1, 1, 0, 1)), (Ok(true), false));
    // A batch that would be refused is refused at its verification.
    assert!(decide(&log, &transactional(1, 1, 5, 1)).0.is_err());
    let mut orphan = plain(1);
    orphan.attributes = orphan.attributes.with_transactional();
    assert_eq!(log.prepare_verification(None, &orphan), Err(BatchRejection::NoProducer.into()));
    assert_eq!(append(&mut log, &orphan), Err(BatchRejection::NoProducer.into()));
}

#[test]
fn only_a_coordinator_writes_for_a_producer_without_sequences() {
    let mut log = open();
    let unnumbered = transactional(7, 2, -1, 1);
    let refused = log.prepare_append(None, &unnumbered, Admission::Verified);
    assert!(matches!(refused, Err(AppendRejection::Batch(BatchRejection::InvalidSequence { .. }))), "{refused:?}");
    for base in 0..3 {
        let decision = log.prepare_append(None, &unnumbered, Admission::Coordinator);
        assert_eq!(decision, Ok(AppendDecision::Append { base_offset: Offset(base) }), "none repeats another");
        log.commit_append(&unnumbered, Offset(base), Timestamp(1_000));
        log.check_invariants();
    }
    let fenced = log.prepare_append(None, &transactional(7, 1, -1, 1), Admission::Coordinator);
    assert!(matches!(fenced, Err(AppendRejection::InvalidProducerEpoch { .. })), "{fenced:?}");
    let merged = log.prepare_append(None, &transactional(7, 3, -1, 1), Admission::Coordinator);
    assert_eq!(merged, Err(TransactionRejection::EarlierOpen { producer_id: ProducerId(7) }.into()));
    let without_epoch = log.prepare_append(None, &transactional(8, -1, -1, 1), Admission::Coordinator);
    assert!(without_epoch.is_err(), "{without_epoch:?}");
}
