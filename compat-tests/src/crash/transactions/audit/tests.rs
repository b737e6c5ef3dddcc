#![allow(clippy::unwrap_used)]
use super::*;

const FIRST: Transaction = Transaction { producer: 1, number: 1 };

fn visible(transaction: Transaction, index: u16) -> Visible {
    let piece = Piece { transaction, index, count: 2 };
    Visible { partition: 0, offset: i64::from(index), piece: Some(piece) }
}

/// The violations after these records of one transaction were read.
fn judged(outcome: Outcome, indexes: &[u16]) -> Vec<Violation> {
    let mut audit = Audit::default();
    audit.note(FIRST, outcome);
    let found: Vec<Visible> = indexes.iter().map(|index| visible(FIRST, *index)).collect();
    let mut violations = audit.read(&found);
    violations.extend(audit.judge());
    violations
}

#[test]
fn a_whole_committed_transaction_and_an_invisible_aborted_one_pass() {
    assert_eq!(judged(Outcome::Committed, &[0, 1]), []);
    assert_eq!(judged(Outcome::Aborted, &[]), []);
}

#[test]
fn a_commit_without_an_answer_may_be_whole_or_invisible() {
    assert_eq!(judged(Outcome::Unknown, &[0, 1]), []);
    assert_eq!(judged(Outcome::Unknown, &[]), []);
}

#[test]
fn each_broken_promise_is_found() {
    assert_eq!(judged(Outcome::Committed, &[]), [Violation::Lost { transaction: FIRST }]);
    assert_eq!(judged(Outcome::Aborted, &[0, 1]), [Violation::Dirty { transaction: FIRST }]);
    for outcome in [Outcome::Committed, Outcome::Unknown] {
        assert_eq!(judged(outcome, &[1]), [Violation::Torn { transaction: FIRST, found: 1, count: 2 }]);
    }
    assert_eq!(judged(Outcome::Committed, &[0, 1, 1]), [Violation::Repeated { transaction: FIRST, index: 1 }]);
}

#[test]
fn a_record_of_no_transaction_is_foreign() {
    let mut audit = Audit::default();
    let nobody = Visible { partition: 3, offset: 7, piece: None };
    let expected = |partition, offset| [Violation::Foreign { partition, offset }];
    assert_eq!(audit.read(&[nobody]), expected(3, 7));
    assert_eq!(audit.read(&[visible(FIRST, 0)]), expected(0, 0));
    assert_eq!(audit.records(), 0);
}

#[test]
fn the_last_visible_transaction_is_of_its_own_producer() {
    let mut audit = Audit::default();
    for (producer, number) in [(1, 1), (1, 5), (1, 9), (2, 20)] {
        audit.note(Transaction { producer, number }, Outcome::Unknown);
    }
    let pieces = [(1, 1), (1, 5), (2, 20)].map(|(producer, number)| visible(Transaction { producer, number }, 0));
    audit.read(&pieces);
    assert_eq!((audit.last_visible(1), audit.last_visible(2), audit.last_visible(3)), (Some(5), Some(20), None));
    assert_eq!(audit.records(), 3);
    audit.forget_visible();
    assert_eq!((audit.last_visible(1), audit.records()), (None, 0));
}
