//! Changes the finalized levels of features (KIP-584). Whether a build supports a level is not
//! decided here: builds differ, and every copy of the state must decide alike.

use std::collections::BTreeMap;

use crate::{ClusterState, Delta, FeatureDirection, FeatureUpdate, InvalidUpdateReason, Outcome, Rejection};

impl ClusterState {
    /// The epoch rises only if a level changes: otherwise clients would process the same features
    /// again.
    pub(crate) fn update_features(
        &mut self,
        updates: BTreeMap<String, FeatureUpdate>,
        deltas: &mut Vec<Delta>,
    ) -> Result<Outcome, Rejection> {
        if self.cluster_id().is_none() {
            // The bootstrap would later replace these levels under the same epoch.
            return Err(Rejection::NotBootstrapped);
        }
        let mut features = self.features().clone();
        for (feature, update) in updates {
            let level = update.level;
            if let Err(reason) = judge(self.feature_level(&feature), update) {
                return Err(Rejection::InvalidFeatureUpdate { feature, level, reason });
            }
            if level == 0 {
                features.remove(&feature);
            } else {
                features.insert(feature, level);
            }
        }
        if features != *self.features() {
            self.commit(Delta::FeaturesChanged { features, epoch: self.features_epoch() + 1 }, deltas);
        }
        Ok(Outcome::FeaturesUpdated)
    }
}

const fn judge(current: i16, FeatureUpdate { level, direction }: FeatureUpdate) -> Result<(), InvalidUpdateReason> {
    match direction {
        _ if level < 0 => Err(InvalidUpdateReason::NegativeLevel),
        FeatureDirection::Upgrade if level < current => Err(InvalidUpdateReason::NoUpgrade { current }),
        FeatureDirection::Downgrade if level > current => Err(InvalidUpdateReason::NoDowngrade { current }),
        FeatureDirection::Upgrade | FeatureDirection::Downgrade => Ok(()),
    }
}
