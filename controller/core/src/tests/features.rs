//! Finalized features: their levels, and the epoch under which clients see them.

use super::*;

const UP: FeatureDirection = FeatureDirection::Upgrade;
const DOWN: FeatureDirection = FeatureDirection::Downgrade;

fn founded() -> ClusterState {
    let mut state = cluster(1);
    let (cluster_id, broker_defaults) = ("c".to_owned(), Configs::new());
    let features = BTreeMap::from([("a".to_owned(), 1)]);
    state.apply(Command::Bootstrap { cluster_id, features, broker_defaults }).0.unwrap();
    state
}

fn update(updates: &[(&str, i16, FeatureDirection)], validate_only: bool) -> Command {
    let own = |(name, level, direction): &(&str, i16, FeatureDirection)| {
        ((*name).to_owned(), FeatureUpdate { level: *level, direction: *direction })
    };
    Command::UpdateFeatures { updates: updates.iter().map(own).collect(), validate_only }
}

/// Applies the updates. Returns the levels and the epoch after them, with the number of deltas.
fn levels_after(
    state: &mut ClusterState,
    updates: &[(&str, i16, FeatureDirection)],
) -> (Vec<(String, i16)>, i64, usize) {
    let (result, deltas) = state.apply(update(updates, false));
    assert_eq!(result, Ok(Outcome::FeaturesUpdated), "{updates:?}");
    let features = state.features().iter().map(|(name, level)| (name.clone(), *level)).collect();
    (features, state.features_epoch(), deltas.len())
}

#[test]
fn the_epoch_rises_when_a_level_changes_and_is_kept() {
    let mut state = founded();
    let own = |levels: &[(&str, i16)]| levels.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
    assert_eq!(levels_after(&mut state, &[("a", 1, UP), ("b", 2, UP)]), (own(&[("a", 1), ("b", 2)]), 1, 1));
    assert_eq!(levels_after(&mut state, &[("a", 1, UP), ("b", 2, DOWN)]), (own(&[("a", 1), ("b", 2)]), 1, 0));
    assert_eq!(levels_after(&mut state, &[("a", 0, DOWN), ("b", 3, UP)]), (own(&[("b", 3)]), 2, 1));
    assert_eq!((state.feature_level("a"), state.feature_level("b")), (0, 3));
    let image = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<ClusterState>(&image).unwrap(), state);
}

#[test]
fn a_snapshot_from_before_there_were_epochs_has_the_first() {
    let state = founded();
    let image = serde_json::to_string(&state).unwrap();
    assert!(!image.contains("features_epoch"), "{image}");
    assert_eq!(serde_json::from_str::<ClusterState>(&image).unwrap(), state);
}

#[test]
fn one_update_that_is_refused_refuses_all() {
    let mut state = founded();
    let before = state.clone();
    let mut check = |updates: &[(&str, i16, FeatureDirection)], feature: &str, level, reason| {
        let rejection = Rejection::InvalidFeatureUpdate { feature: feature.to_owned(), level, reason };
        for validate_only in [true, false] {
            let (result, deltas) = state.apply(update(updates, validate_only));
            assert_eq!((result, deltas), (Err(rejection.clone()), vec![]), "{updates:?}");
        }
        assert_eq!(state, before);
    };
    let current = 1;
    check(&[("a", 0, UP), ("b", 1, UP)], "a", 0, InvalidUpdateReason::NoUpgrade { current });
    check(&[("a", 2, DOWN), ("b", 1, UP)], "a", 2, InvalidUpdateReason::NoDowngrade { current });
    check(&[("a", 2, UP), ("b", 1, DOWN)], "b", 1, InvalidUpdateReason::NoDowngrade { current: 0 });
    check(&[("a", -1, DOWN)], "a", -1, InvalidUpdateReason::NegativeLevel);
    check(&[("b", -1, UP)], "b", -1, InvalidUpdateReason::NegativeLevel);
    assert_eq!(state.apply(update(&[("a", 2, UP)], true)), (Ok(Outcome::FeaturesUpdated), vec![]));
    assert_eq!(state, before, "it was only validated");
    assert_eq!(cluster(1).apply(update(&[("a", 2, UP)], false)).0, Err(Rejection::NotBootstrapped));
}
