//! The connection that the cases share: the advertised versions, the recorded requests, and topics
//! for the cases. On Apache Kafka it waits until the coordinators and the metadata are ready;
//! RustMQ gets no such time.

use crate::server::{Target, shared, unique};
use crate::wire::Wire;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, ListOffsetsRequest, MetadataRequest, RequestKind, ResponseKind, TopicName, create_topics_request,
    delete_topics_request, list_offsets_request, metadata_request,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_kafka_codec_messages::{self as codec, Decode, Encode, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use uuid::Uuid;

/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR.
const COMING_UP: [i16; 3] = [14, 15, 16];
const NEWEST: i16 = i16::MAX;

#[derive(Debug)]
pub struct Session {
    wire: Wire,
    advertised: BTreeMap<i16, (i16, i16)>,
    asked: BTreeSet<(i16, i16)>,
}

/// A topic of one case.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: TopicName,
    pub id: Uuid,
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

impl Session {
    pub fn open() -> Session {
        let wire = Wire::connect(shared().port()).expect("the shared broker takes connections");
        let mut session = Session { wire, advertised: BTreeMap::new(), asked: BTreeSet::new() };
        let answer = ask!(session, ApiVersions, 0, ApiVersionsRequest::default());
        assert_eq!(answer.error_code, 0);
        session.advertised =
            answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        session.wait_for_coordinators();
        session
    }

    pub fn is_kafka(&self) -> bool {
        shared().target() == Target::Kafka
    }

    /// Each advertised key, with its lowest and its highest version.
    pub fn advertised(&self) -> &BTreeMap<i16, (i16, i16)> {
        &self.advertised
    }

    pub fn has_asked(&self, key: ApiKey, version: i16) -> bool {
        self.asked.contains(&(key as i16, version))
    }

    /// The versions of a key that the cases can send: those of `kafka-protocol`, or of our own
    /// codec in the cases that use it.
    pub fn encodable(key: ApiKey) -> RangeInclusive<i16> {
        let known = key.valid_versions();
        let max = match key {
            ApiKey::ApiVersions => codec::ApiKey::ApiVersions.last_stable_version(),
            ApiKey::DescribeLogDirs => codec::ApiKey::DescribeLogDirs.last_stable_version(),
            ApiKey::DeleteGroups => codec::ApiKey::DeleteGroups.last_stable_version(),
            _ => known.max,
        };
        known.min..=max
    }

    /// The version of a key that is nearest to `turn`, among those that are advertised and that the
    /// cases can send.
    pub fn nearest(&self, key: ApiKey, turn: i16) -> i16 {
        let (least, greatest) = *self.advertised.get(&(key as i16)).unwrap_or(&(0, 0));
        let encodable = Session::encodable(key);
        turn.clamp(least.max(*encodable.start()), greatest.min(*encodable.end()))
    }

    pub fn newest(&self, key: ApiKey) -> i16 {
        self.nearest(key, NEWEST)
    }

    pub fn call(&mut self, key: ApiKey, version: i16, request: &RequestKind) -> ResponseKind {
        self.asked.insert((key as i16, version));
        self.wire.call(key, version, request).unwrap_or_else(|error| panic!("{key:?} v{version}: {error:#}"))
    }

    /// As [`Self::call`], by our own codec.
    pub fn ask<M>(&mut self, version: i16, request: &M) -> M::Response
    where
        M: Request + Encode,
        M::Response: Decode,
    {
        self.asked.insert((M::KEY as i16, version));
        self.wire.ask(version, request).unwrap_or_else(|error| panic!("{} v{version}: {error:#}", M::KEY))
    }

    /// Sends a request that has no answer.
    pub fn send_silently(&mut self, key: ApiKey, version: i16, request: &RequestKind) {
        self.wire.send(key, version, request).unwrap_or_else(|error| panic!("{key:?} v{version}: {error:#}"));
    }

    /// Whether the broker closes its own connection for a frame, without an answer.
    pub fn closes(&mut self, key: ApiKey, version: i16, frame: &[u8]) -> bool {
        self.asked.insert((key as i16, version));
        let wire = Wire::connect(shared().port()).and_then(|mut wire| wire.send_frame(frame).map(|()| wire));
        wire.expect("the shared broker takes connections").is_closed()
    }

    /// Asks again while Kafka is not ready to answer. Asks RustMQ once.
    pub fn settled<T>(&mut self, mut ask: impl FnMut(&mut Session) -> T, code: impl Fn(&T) -> i16) -> T {
        loop {
            let answer = ask(self);
            if !self.is_kafka() || !COMING_UP.contains(&code(&answer)) {
                return answer;
            }
        }
    }

    /// Creates a topic, with CreateTopics in its newest version.
    pub fn topic(&mut self, partitions: i32) -> Topic {
        let name = topic_name(&unique("versions"));
        self.create(&name, partitions)
    }

    /// Creates a topic with this name, which must be free.
    pub fn create(&mut self, name: &TopicName, partitions: i32) -> Topic {
        let config = create_topics_request::CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("-1")));
        let wanted = create_topics_request::CreatableTopic::default()
            .with_name(name.clone())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(vec![config]);
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let answer = ask!(self, CreateTopics, self.newest(ApiKey::CreateTopics), request);
        assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
        self.wait_for_topic(name);
        Topic { name: name.clone(), id: answer.topics[0].topic_id }
    }

    pub fn delete(&mut self, topic: &Topic) {
        let wanted = delete_topics_request::DeleteTopicState::default().with_name(Some(topic.name.clone()));
        let request = DeleteTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let answer = ask!(self, DeleteTopics, self.newest(ApiKey::DeleteTopics), request);
        assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    }

    /// Stores one record in partition 0. Returns its offset.
    pub fn append(&mut self, topic: &Topic) -> i64 {
        super::log::store(self, topic, 1)
    }

    /// Waits until Kafka's metadata has followed a creation; ours must not need this.
    pub fn wait_for_topic(&mut self, name: &TopicName) {
        while self.is_kafka() {
            let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(name.clone()));
            let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
            let answer = ask!(self, Metadata, self.newest(ApiKey::Metadata), request);
            let topic = &answer.topics[0];
            if topic.error_code == 0 && topic.partitions.iter().all(|partition| partition.error_code == 0) {
                let partitions = topic.partitions.iter().map(|partition| partition.partition_index);
                if partitions.collect::<Vec<_>>().into_iter().all(|partition| self.is_led(name, partition)) {
                    return;
                }
            }
        }
    }

    /// Metadata may name a leader that does not know of it yet.
    fn is_led(&mut self, name: &TopicName, partition: i32) -> bool {
        let partition =
            list_offsets_request::ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-1);
        let wanted =
            list_offsets_request::ListOffsetsTopic::default().with_name(name.clone()).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
        let version = self.newest(ApiKey::ListOffsets);
        ask!(self, ListOffsets, version, request).topics[0].partitions[0].error_code == 0
    }

    /// Clients look for a coordinator before they talk to one, which creates the offsets topic.
    /// RustMQ has it at once. On Kafka this waits for each of its partitions, with enough groups to
    /// reach all of them.
    fn wait_for_coordinators(&mut self) {
        for number in 0..if self.is_kafka() { 300 } else { 1 } {
            let group = format!("warm-up-{number}");
            let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(&group)]);
            let version = self.newest(ApiKey::FindCoordinator);
            self.settled(
                |session| ask!(session, FindCoordinator, version, request.clone()),
                |found| found.coordinators[0].error_code,
            );
            let request = HeartbeatRequest::default().with_group_id(group_id(&group)).with_member_id(text("nobody"));
            let version = self.newest(ApiKey::Heartbeat);
            self.settled(|session| ask!(session, Heartbeat, version, request.clone()), |answer| answer.error_code);
        }
    }
}
