//! Random histories: a load of the log at any moment, shortened or not, finds all written values.

use proptest::prelude::*;

use super::cells::{Ask, Rig, set};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u8),
    Remove(u8),
    Commit(u8),
    Fail,
    Trim,
    FailTrim,
    Timers,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, any::<u8>()).prop_map(|(name, value)| Step::Set(name, value)),
        1 => (0..4_u8).prop_map(Step::Remove),
        8 => any::<u8>().prop_map(Step::Commit),
        1 => Just(Step::Fail),
        2 => Just(Step::Trim),
        1 => Just(Step::FailTrim),
        1 => Just(Step::Timers),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_log_holds_what_was_written_at_any_moment(
        steps in proptest::collection::vec(step(), 0..120), log_batches in 1..12_u64,
    ) {
        let mut rig = Rig::active(CoordinatorLimits { log_bytes: log_batches * Rig::BATCH_BYTES, ..LIMITS });
        let mut asked = Vec::new();
        for step in steps {
            let newest = rig.pending().checked_sub(1);
            match (step, newest) {
                (Step::Set(name, value), _) => asked.push(rig.ask(set(&name.to_string(), &value.to_string()))),
                (Step::Remove(name), _) => asked.push(rig.ask(Ask::Set(name.to_string(), None))),
                // Mostly the oldest.
                (Step::Commit(choice), Some(newest)) => rig.commit(usize::from(choice / 128 * choice) % (newest + 1)),
                (Step::Fail, Some(newest)) if !rig.is_written(newest) => rig.fail(newest, AppendFailure::Unavailable),
                (Step::Commit(_) | Step::Fail, _) => {}
                (Step::Trim, _) => {
                    if rig.trim().is_some() {
                        rig.coordinator.on_trimmed(Ok(()));
                    }
                }
                (Step::FailTrim, _) => rig.fail_trim(),
                (Step::Timers, _) => rig.coordinator.handle_timeout(START),
            }
            rig.settle();
            let written: Vec<_> = rig.written.clone().into_iter().collect();
            prop_assert_eq!(rig.replayed().values(), written);
        }
        rig.commit_all();
        let written: Vec<_> = rig.written.clone().into_iter().collect();
        prop_assert_eq!(rig.coordinator.machine().unwrap().values(), written);
        for token in asked {
            prop_assert!(rig.answer(token).is_some(), "every token is answered once all results are known");
        }
    }
}
