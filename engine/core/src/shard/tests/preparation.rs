//! Preparations of slots, and requests that wait for one.

use std::time::Duration;

use super::driver::{Driver, Preparing, Setting};
use crate::shard::error::OpenError;
use crate::shard::request::LogConfig;
use crate::shard::{Preparation, Urgency};

#[test]
fn a_refused_preparation_is_requested_again_in_the_next_turn() {
    let mut driver = Driver::new(Setting { preparing: Preparing::Refused, ..Setting::default() });
    for turn in 1..=3 {
        driver.turn();
        assert_eq!(driver.preparations_asked, 2 * turn, "two at a time, once a turn");
    }
    let refused = driver.open(&[0], 0);
    driver.turn();
    assert_eq!(refused.answer().unwrap()[..], [Err(OpenError::Full)]);
    driver.setting.preparing = Preparing::Soon;
    let opened = driver.open(&[0], 0);
    driver.turn();
    driver.settle();
    assert!(opened.answer().is_some_and(|results| results[0].is_err()), "no slot is reserved yet");
    let opened = driver.open(&[0], 0);
    driver.settle();
    assert!(opened.answer().unwrap()[0].is_ok());
}

#[test]
fn a_failed_preparation_is_requested_again_in_the_next_turn() {
    let mut driver = Driver::new(Setting { preparing: Preparing::ByTest, ..Setting::default() });
    driver.turn();
    let asked = driver.preparations_asked;
    driver.turn();
    assert_eq!(driver.preparations_asked, asked, "they are under way");
    driver.fail_preparations();
    assert_eq!(driver.preparations_asked, asked);
    // The next turn by the clock may be far away.
    driver.turn();
    assert!(driver.preparations_asked > asked);
}

#[test]
fn a_request_that_waits_for_a_slot_holds_up_those_behind_it() {
    let mut driver = Driver::new(Setting { preparing: Preparing::ByTest, ..Setting::default() });
    let opened = driver.open(&[0], 0);
    let configured = driver.configure(0, LogConfig::unlimited());
    driver.turn();
    assert_eq!(driver.urgency, Urgency::Awaited);
    assert!(!driver.shard.awaits_requests());
    while !opened.is_answered() {
        assert!(!configured.is_answered());
        driver.prepare();
        driver.turn();
        if configured.is_answered() {
            break;
        }
    }
    driver.settle();
    assert!(opened.answer().unwrap()[0].is_ok() && configured.is_answered());
    driver.prepare();
    driver.turn();
    assert_eq!(driver.urgency, Urgency::Paced);
}

#[test]
fn slots_are_filled_only_while_segments_last_long() {
    let preparations_after = |lasted: Duration| {
        // One segment per batch.
        let mut driver = Driver::with(1, Setting::default());
        driver.append(0, &[7_000; 4]);
        driver.settle();
        driver.setting.preparing = Preparing::ByTest;
        driver.turn_in(lasted);
        driver.append(0, &[7_000]);
        driver.settle();
        let mut asked = Vec::new();
        for _ in 0..10 {
            asked.extend(driver.preparations.iter().map(|(_, preparation)| *preparation));
            driver.prepare();
            driver.turn();
        }
        asked
    };
    let filled = |over| Preparation::Filled { over };
    assert!(preparations_after(Duration::from_secs(2)).contains(&filled(Duration::from_secs(1))));
    assert!(
        preparations_after(Duration::from_secs(60)).contains(&filled(Duration::from_secs(5))),
        "five seconds is the most"
    );
    let quick = preparations_after(Duration::from_millis(100));
    assert!(!quick.is_empty() && quick.iter().all(|preparation| *preparation == Preparation::Reserved), "{quick:?}");
}
