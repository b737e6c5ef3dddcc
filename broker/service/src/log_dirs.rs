//! The size of the data folder, by partition.

use std::collections::{HashMap, HashSet};

use rustmq_model::{PartitionId, TopicPartition};

use crate::session::Session;

#[derive(Clone, Debug)]
pub enum LogDirSelection {
    All,
    /// Partitions by topic name.
    These(Vec<(String, Vec<PartitionId>)>),
}

/// The data folder. Partitions share its files, so that the size of a partition is that of its
/// batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    pub path: String,
    /// The size of the file system; `None` if it cannot be read.
    pub total_bytes: Option<u64>,
    pub usable_bytes: Option<u64>,
    /// Each partition with its bytes, in order.
    pub partitions: Vec<(TopicPartition, u64)>,
}

impl Session {
    /// The folders of this broker: there is one.
    #[must_use]
    pub fn log_dirs(&self, selection: &LogDirSelection) -> Vec<LogDir> {
        let mut partitions = self.broker.open_partitions();
        if let LogDirSelection::These(topics) = selection {
            // A request may name a topic more than once.
            let mut wanted: HashMap<&str, HashSet<PartitionId>> = HashMap::new();
            for (name, ids) in topics {
                wanted.entry(name).or_default().extend(ids);
            }
            partitions.retain(|(partition, _)| {
                wanted.get(partition.topic.as_str()).is_some_and(|ids| ids.contains(&partition.partition))
            });
        }
        partitions.sort_by(|(one, _), (other, _)| one.cmp(other));
        let dir = &self.broker.config.data_dir;
        let space = rustix::fs::statvfs(dir).ok();
        vec![LogDir {
            path: dir.display().to_string(),
            total_bytes: space.as_ref().map(|space| space.f_blocks.saturating_mul(space.f_frsize)),
            usable_bytes: space.as_ref().map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
            partitions: partitions.into_iter().map(|(partition, reader)| (partition, reader.size_bytes())).collect(),
        }]
    }
}
