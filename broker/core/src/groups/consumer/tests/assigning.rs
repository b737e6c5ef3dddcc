//! Targets that are computed outside of the coordinator: late, lost, and outdated ones.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::groups::request::OffsetDeleteRequest;

/// A group with member `a` in epoch 1, and with member `b` whose join waits for a target.
fn assigning() -> (Scenario, ReplyToken) {
    let mut scenario = scenario();
    assert_eq!(scenario.beat(join("a")), Ok((1, Some(set(&[0, 1, 2, 3])))));
    scenario.are_tasks_fast = false;
    let token = scenario.send(join("b"));
    assert!(scenario.is_waiting(token) && scenario.appends.is_empty() && scenario.tasks.len() == 1);
    (scenario, token)
}

#[test]
fn a_target_is_computed_while_stable_members_and_descriptions_are_served() {
    let (mut scenario, b) = assigning();
    assert_eq!(scenario.beat(keepalive("a", 1)), Ok((1, None)));
    let shown = scenario.groups().describe_consumer_group(&"g".into()).unwrap();
    assert_eq!((shown.epoch, shown.members.len(), shown.state), (1, 1, ConsumerState::Stable));
    let c = scenario.send(join("c"));
    assert_eq!(scenario.tasks.len(), 1, "a group has one task at a time");
    scenario.run_task();
    assert_eq!(scenario.answered(b).unwrap().epoch, 2);
    assert!(scenario.is_waiting(c));
    scenario.run_task();
    assert_eq!(scenario.answered(c).unwrap().epoch, 3);
}

#[test]
fn a_lost_target_takes_its_decision_back() {
    for is_reported in [true, false] {
        let (mut scenario, b) = assigning();
        let (task, work) = scenario.tasks.pop_front().unwrap();
        if is_reported {
            scenario.coordinator.on_task_done(scenario.now, task, work.lost());
            scenario.settle();
        } else {
            for _ in 0..10 {
                scenario.advance(Duration::from_secs(3));
                assert_eq!(scenario.beat(keepalive("a", 1)), Ok((1, None)));
            }
        }
        assert_eq!(scenario.answered(b), Err(GroupError::CoordinatorNotAvailable));
        assert_eq!(scenario.groups().describe_consumer_group(&"g".into()).unwrap().members.len(), 1);
        // A result that comes too late changes nothing, also while the next one is computed.
        let again = scenario.send(join("b"));
        scenario.coordinator.on_task_done(scenario.now, task, work.run());
        scenario.settle();
        assert!(scenario.is_waiting(again) && scenario.appends.is_empty());
        while !scenario.tasks.is_empty() {
            scenario.run_task();
        }
        assert_eq!(scenario.answered(again).unwrap().epoch, 2);
    }
}

#[test]
fn a_member_whose_session_ends_while_a_target_is_lost_is_fenced_later() {
    let (mut scenario, _) = assigning();
    let (task, work) = scenario.tasks.pop_front().unwrap();
    scenario.coordinator.on_task_done(scenario.now, task, work.lost());
    scenario.settle();
    scenario.advance(Duration::from_secs(50));
    assert_eq!(scenario.tasks.len(), 1, "the fence needs a target");
    let (task, work) = scenario.tasks.pop_front().unwrap();
    scenario.coordinator.on_task_done(scenario.now, task, work.lost());
    scenario.settle();
    assert_eq!((scenario.tasks.len(), scenario.groups().member_count()), (0, 1), "it is not tried again at once");
    scenario.advance(Duration::from_secs(1));
    scenario.run_task();
    assert_eq!(scenario.consumer_state(), ConsumerState::Empty);
}

#[test]
fn topics_that_change_while_a_target_is_computed_lead_to_another_one() {
    let (mut scenario, b) = assigning();
    scenario.change_topics(&[("t", T, 5)], "t");
    assert_eq!(scenario.tasks.len(), 1);
    scenario.run_task();
    assert_eq!(scenario.answered(b).unwrap().epoch, 2);
    scenario.advance(Duration::ZERO);
    scenario.run_task();
    let shown = scenario.groups().describe_consumer_group(&"g".into()).unwrap();
    assert_eq!(shown.members.iter().map(|member| member.target.len()).sum::<usize>(), 5);
}

#[test]
fn the_log_is_shortened_while_a_target_is_computed() {
    let (scenario, _) = assigning();
    let LiveRecords::Records(live) = scenario.groups().live_records(&"g".into(), RewritePoint::END) else {
        panic!("nothing is pending");
    };
    let mut sorted = (live, scenario.log);
    sorted.0.sort_by(|left, right| left.key.cmp(&right.key));
    sorted.1.sort_by(|left, right| left.key.cmp(&right.key));
    assert_eq!(sorted.0, sorted.1, "the decision has no part in the log");
}

#[test]
fn a_group_has_a_bounded_number_of_patterns_also_in_one_batch() {
    let mut scenario = scenario();
    scenario.are_tasks_fast = false;
    let first = scenario.send(join("first"));
    let with = |number: usize| ConsumerHeartbeat { regex: Some(format!("t{number}")), ..join(&format!("m{number}")) };
    let tokens: Vec<_> = (0..102).map(|number| scenario.send(with(number))).collect();
    scenario.run_task();
    scenario.answered(first).unwrap();
    scenario.run_task();
    let refused = |outcome: &Result<_, _>| matches!(outcome, Err(GroupError::InvalidRegularExpression { .. }));
    let outcomes: Vec<_> = tokens.into_iter().map(|token| scenario.answered(token)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| refused(outcome)).count(), 2);
}

#[test]
fn a_group_whose_last_offset_is_deleted_keeps_its_members_after_a_load() {
    let mut scenario = scenario();
    scenario.beat(join("a")).unwrap();
    let commit = scenario.commit_with(committing("a", 1, 5));
    scenario.committed(commit).unwrap();
    let subscribed = ConsumerHeartbeat { topics: Some(BTreeSet::new()), ..owning("a", 1, &[]) };
    scenario.beat(subscribed).unwrap();
    let deletion = OffsetDeleteRequest { group: "g".into(), partitions: vec![partition("t", 0)] };
    scenario.request(GroupRequest::DeleteOffsets(deletion));
    assert_eq!(scenario.reloaded().groups().member_count(), 1);
}
