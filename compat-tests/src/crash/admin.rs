//! The administrative requests of the crash proof. Each is one request on its own connection, so
//! that every result and every partition's error code is visible. Only a partition without a leader
//! is asked again.

use super::audit::TopicPartition;
use crate::client::Isolation;
use crate::versions::batch::batch_of;
use crate::wire::Wire;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

const LED_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Admin(Wire);

/// Returns the typed answer to a request in a version.
macro_rules! ask {
    ($admin:expr, $kind:ident, $version:expr, $request:expr) => {
        match $admin.0.call(ApiKey::$kind, $version, &RequestKind::$kind($request))? {
            ResponseKind::$kind(answer) => answer,
            other => bail!("another answer than {}: {other:?}", stringify!($kind)),
        }
    };
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// The partitions of each topic.
fn by_topic(places: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for place in places {
        topics.entry(&place.topic).or_default().push(place.partition);
    }
    topics
}

impl Admin {
    pub fn connect(port: u16) -> Result<Admin> {
        Ok(Admin(Wire::connect(port)?))
    }

    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        let configs = configs.iter().map(|(key, value)| {
            create_topics_request::CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        });
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = ask!(self, CreateTopics, 5, request);
        let code = answer.topics.first().map(|topic| topic.error_code);
        ensure!(code == Some(0), "creating {name}: {code:?}");
        Ok(())
    }

    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]).with_timeout_ms(30_000);
        let answer = ask!(self, DeleteTopics, 4, request);
        let code = answer.responses.first().map(|topic| topic.error_code);
        ensure!(code == Some(0), "deleting {name}: {code:?}");
        Ok(())
    }

    /// All topics except internal ones, with their numbers of partitions.
    pub fn topics(&mut self) -> Result<BTreeMap<String, usize>> {
        let answer = ask!(self, Metadata, 9, MetadataRequest::default().with_topics(None));
        let topics = answer.topics.into_iter().filter(|topic| !topic.is_internal);
        let topics = topics.filter_map(|topic| Some((topic.name?.to_string(), topic.partitions.len())));
        Ok(topics.collect())
    }

    /// Whether every partition has a leader that answers.
    pub fn is_led(&mut self, topic: &str) -> Result<bool> {
        let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let answer = ask!(self, Metadata, 9, MetadataRequest::default().with_topics(Some(vec![wanted])));
        let sound = |topic: &metadata_response::MetadataResponseTopic| {
            topic.error_code == 0 && topic.partitions.iter().all(|partition| partition.error_code == 0)
        };
        Ok(answer.topics.iter().all(sound))
    }

    /// Appends one record with acks=all, once. Returns the error code and the offset.
    pub fn produce(&mut self, place: &TopicPartition, value: &[u8]) -> Result<(i16, i64)> {
        let records = batch_of([Bytes::copy_from_slice(value)].into_iter());
        let partition =
            produce_request::PartitionProduceData::default().with_index(place.partition).with_records(Some(records));
        let topic = produce_request::TopicProduceData::default()
            .with_name(topic_name(&place.topic))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
        let answer = ask!(self, Produce, 7, request);
        let found = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let found = found.context("an answer without the partition")?;
        Ok((found.error_code, found.base_offset))
    }

    /// The end offset of each log.
    pub fn ends(&mut self, places: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.offsets(places, -1, Isolation::ReadUncommitted)
    }

    /// The last stable offset of each log.
    pub fn stable_ends(&mut self, places: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.offsets(places, -1, Isolation::ReadCommitted)
    }

    /// The start offset of each log.
    pub fn starts(&mut self, places: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.offsets(places, -2, Isolation::ReadUncommitted)
    }

    fn offsets(
        &mut self,
        places: &[TopicPartition],
        at: i64,
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        const NOT_LEADER: i16 = 6;
        let deadline = Instant::now() + LED_WITHIN;
        loop {
            let found = self.try_offsets(places, at, isolation)?;
            // After a start, Kafka reports ready before it leads its partitions again.
            let led = found.iter().all(|(_, code, _)| *code != NOT_LEADER);
            if !led && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            let refused = found.iter().find(|(_, code, _)| *code != 0);
            ensure!(refused.is_none(), "the offset at {at} is refused: {refused:?}");
            ensure!(found.len() == places.len(), "{} offsets for {} partitions", found.len(), places.len());
            return Ok(found.into_iter().map(|(place, _, offset)| (place, offset)).collect());
        }
    }

    /// The error code and the offset of each place.
    fn try_offsets(
        &mut self,
        places: &[TopicPartition],
        at: i64,
        isolation: Isolation,
    ) -> Result<Vec<(TopicPartition, i16, i64)>> {
        let topics = by_topic(places).into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|index| {
                list_offsets_request::ListOffsetsPartition::default()
                    .with_partition_index(index)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(at)
            });
            list_offsets_request::ListOffsetsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.collect())
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(isolation == Isolation::ReadCommitted))
            .with_topics(topics.collect());
        let answer = ask!(self, ListOffsets, 5, request);
        let found = answer.topics.into_iter().flat_map(|topic| {
            let name = topic.name.to_string();
            topic
                .partitions
                .into_iter()
                .map(move |p| (TopicPartition::new(&name, p.partition_index), p.error_code, p.offset))
        });
        Ok(found.collect())
    }

    /// Commits as a consumer that is no member of the group. Returns the error code of each
    /// partition.
    pub fn commit(&mut self, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<Vec<(TopicPartition, i16)>> {
        let topics = offsets.iter().map(|(place, offset)| {
            let partition = offset_commit_request::OffsetCommitRequestPartition::default()
                .with_partition_index(place.partition)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(text("")));
            offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(topic_name(&place.topic))
                .with_partitions(vec![partition])
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect());
        let answer = ask!(self, OffsetCommit, 7, request);
        let results = answer.topics.into_iter().flat_map(|topic| {
            let name = topic.name.to_string();
            topic.partitions.into_iter().map(move |p| (TopicPartition::new(&name, p.partition_index), p.error_code))
        });
        Ok(results.collect())
    }

    /// The offset that a group has committed; -1 for none. `None` while the coordinator is not
    /// ready to answer.
    pub fn committed(&mut self, group: &str, places: &[TopicPartition]) -> Result<Option<Vec<(TopicPartition, i64)>>> {
        const LOADING: i16 = 14;
        const NOT_AVAILABLE: i16 = 15;
        const NOT_COORDINATOR: i16 = 16;
        let topics = by_topic(places).into_iter().map(|(name, partitions)| {
            offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions)
        });
        let request =
            OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(topics.collect()));
        let answer = ask!(self, OffsetFetch, 5, request);
        if [LOADING, NOT_AVAILABLE, NOT_COORDINATOR].contains(&answer.error_code) {
            return Ok(None);
        }
        ensure!(answer.error_code == 0, "offsets of {group}: {}", answer.error_code);
        let mut found = Vec::new();
        for topic in answer.topics {
            for partition in topic.partitions {
                let place = TopicPartition::new(&topic.name, partition.partition_index);
                ensure!(partition.error_code == 0, "{group} in {place}: {}", partition.error_code);
                found.push((place, partition.committed_offset));
            }
        }
        Ok(Some(found))
    }
}
