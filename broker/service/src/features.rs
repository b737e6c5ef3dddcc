//! Features of the cluster (KIP-584): the levels that this broker supports, the finalized ones, and
//! their updates.
//!
//! A finalized level says which behaviour clients and coordinators may count on. The controller
//! keeps it, and a change reaches clients with a higher epoch. A data folder keeps its levels under
//! a newer build, until an operator upgrades them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rustmq_broker_core::ErrorKind;
use rustmq_controller_core::{Command, FeatureUpdate, Outcome};

use crate::command::CommandError;
use crate::session::Session;
use crate::topics::Mode;

/// A feature that this broker supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    pub name: &'static str,
    /// The supported levels. A new cluster begins at the last one; 0 means that the feature is off.
    pub levels: RangeInclusive<i16>,
}

/// The features of the cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFeatures {
    pub supported: &'static [SupportedFeature],
    /// Levels by name. A feature of level 0 is not among them.
    pub finalized: BTreeMap<String, i16>,
    /// Rises when `finalized` changes, and is the same on all brokers.
    pub epoch: i64,
}

/// Why no level is changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateFeaturesError {
    #[error("This cluster has no feature '{feature}'.")]
    UnknownFeature { feature: String },
    #[error("This cluster supports the levels {min} to {max} of feature '{feature}', and not level {level}.")]
    UnsupportedLevel { feature: &'static str, level: i16, min: i16, max: i16 },
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl UpdateFeaturesError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownFeature { .. } | Self::UnsupportedLevel { .. } => ErrorKind::Invalid,
            Self::Command(error) => error.kind(),
        }
    }
}

impl Session {
    #[must_use]
    pub fn features(&self) -> ClusterFeatures {
        let view = self.broker.view.read();
        ClusterFeatures {
            supported: self.broker.config.features,
            finalized: view.state.features().clone(),
            epoch: view.state.features_epoch(),
        }
    }

    /// Whether clients may use the consumer protocol (KIP-848): from level 1 of `group.version` on.
    #[must_use]
    pub fn has_consumer_protocol(&self) -> bool {
        self.broker.view.read().state.feature_level("group.version") >= 1
    }

    /// Changes the finalized levels of these features, all of them or none.
    ///
    /// # Errors
    /// This fails with an [`UpdateFeaturesError`] if the cluster does not support one of the
    /// levels, or if the controller refuses the change.
    pub async fn update_features(
        &self,
        updates: BTreeMap<String, FeatureUpdate>,
        mode: Mode,
    ) -> Result<(), UpdateFeaturesError> {
        for (feature, update) in &updates {
            self.check_support(feature, update.level)?;
        }
        let command = Command::UpdateFeatures { updates, validate_only: mode.is_validate_only() };
        match self.broker.submit(command).await? {
            Outcome::FeaturesUpdated => Ok(()),
            other => Err(CommandError::unexpected(&other).into()),
        }
    }

    fn check_support(&self, feature: &str, level: i16) -> Result<(), UpdateFeaturesError> {
        let known = self.broker.config.features.iter().find(|known| known.name == feature);
        let unknown = || UpdateFeaturesError::UnknownFeature { feature: feature.to_owned() };
        let SupportedFeature { name, levels } = known.ok_or_else(unknown)?;
        if levels.contains(&level) {
            return Ok(());
        }
        let (min, max) = (*levels.start(), *levels.end());
        Err(UpdateFeaturesError::UnsupportedLevel { feature: name, level, min, max })
    }
}
