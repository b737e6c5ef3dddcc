//! Encodes Fetch responses of versions 4 to 18, record bytes as segments of their own, which are
//! not copied here. Kafka's `FetchResponse.json` is the source; a test holds it byte for byte
//! against a generated encoder.

use bytes::{BufMut, Bytes, BytesMut};
use rustmq_model::{LeaderEpoch, TopicId};

use crate::response::{EncodeError, Response};

/// The first version with compact lengths and tagged fields.
const FLEXIBLE_FROM: i16 = 12;

/// One fetch response.
#[derive(Clone, Debug, Default)]
pub struct FetchAnswer {
    pub error_code: i16,
    pub session_id: i32,
    pub topics: Vec<TopicAnswer>,
    /// Where the leaders named in [`PartitionAnswer::current_leader`] are.
    pub nodes: Vec<Node>,
}

/// The partitions of one topic; the name is written up to version 12, the id from 13 on.
#[derive(Clone, Debug)]
pub struct TopicAnswer {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<PartitionAnswer>,
}

/// One partition.
#[derive(Clone, Debug)]
pub struct PartitionAnswer {
    pub partition: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Producer id and first offset of each aborted transaction in the range; absent when
    /// uncommitted records are asked for.
    pub aborted: Option<Vec<(i64, i64)>>,
    /// Where the client's log parts from this one: epoch and its end (KIP-595); set for clients
    /// that name their last epoch.
    pub diverging: Option<(LeaderEpoch, i64)>,
    /// Who leads, for clients that ask the wrong broker.
    pub current_leader: Option<CurrentLeader>,
    /// Whole batches.
    pub records: Vec<Bytes>,
}

impl PartitionAnswer {
    /// An answer without records.
    #[must_use]
    pub const fn failed(partition: i32, error_code: i16) -> Self {
        Self {
            partition,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: None,
            diverging: None,
            current_leader: None,
            records: Vec::new(),
        }
    }

    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    pub broker: i32,
    pub epoch: LeaderEpoch,
}

/// A broker and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub broker: i32,
    pub host: String,
    pub port: i32,
}

/// Encodes `answer` as a response frame.
pub fn encode(correlation_id: i32, version: i16, answer: &FetchAnswer) -> Result<Response, EncodeError> {
    let flexible = version >= FLEXIBLE_FROM;
    let buffer = Response::header(correlation_id, flexible);
    let mut frame = FrameWriter { version, flexible, buffer, segments: Vec::new() };
    frame.answer(answer)?;
    frame.segments.push(frame.buffer.freeze());
    Response::seal(frame.segments, version)
}

struct FrameWriter {
    version: i16,
    flexible: bool,
    buffer: BytesMut,
    segments: Vec<Bytes>,
}

impl FrameWriter {
    fn answer(&mut self, answer: &FetchAnswer) -> Result<(), EncodeError> {
        self.buffer.put_i32(0);
        if self.version >= 7 {
            self.buffer.put_i16(answer.error_code);
            self.buffer.put_i32(answer.session_id);
        }
        self.count(answer.topics.len())?;
        for topic in &answer.topics {
            self.topic(topic)?;
        }
        if self.version >= 16 && !answer.nodes.is_empty() {
            let mut nodes =
                Self { version: self.version, flexible: true, buffer: BytesMut::new(), segments: Vec::new() };
            nodes.count(answer.nodes.len())?;
            for node in &answer.nodes {
                nodes.buffer.put_i32(node.broker);
                nodes.text(&node.host)?;
                nodes.buffer.put_i32(node.port);
                // No rack.
                nodes.buffer.put_u8(0);
                nodes.put_no_tagged_fields();
            }
            self.tagged(&[(0, nodes.buffer)])?;
        } else {
            self.put_no_tagged_fields();
        }
        Ok(())
    }

    fn topic(&mut self, topic: &TopicAnswer) -> Result<(), EncodeError> {
        if self.version >= 13 {
            self.buffer.put_slice(&topic.id.to_bytes());
        } else {
            self.text(&topic.name)?;
        }
        self.count(topic.partitions.len())?;
        for partition in &topic.partitions {
            self.partition(partition)?;
        }
        self.put_no_tagged_fields();
        Ok(())
    }

    fn partition(&mut self, partition: &PartitionAnswer) -> Result<(), EncodeError> {
        self.buffer.put_i32(partition.partition);
        self.buffer.put_i16(partition.error_code);
        self.buffer.put_i64(partition.high_watermark);
        self.buffer.put_i64(partition.last_stable_offset);
        if self.version >= 5 {
            self.buffer.put_i64(partition.log_start_offset);
        }
        match &partition.aborted {
            Some(aborted) => {
                self.count(aborted.len())?;
                for (producer_id, first_offset) in aborted {
                    self.buffer.put_i64(*producer_id);
                    self.buffer.put_i64(*first_offset);
                    self.put_no_tagged_fields();
                }
            }
            None if self.flexible => self.buffer.put_u8(0),
            None => self.buffer.put_i32(-1),
        }
        if self.version >= 11 {
            // No other replica is preferred for reading.
            self.buffer.put_i32(-1);
        }
        self.count(partition.record_bytes())?;
        self.segments.push(self.buffer.split().freeze());
        self.segments.extend(partition.records.iter().cloned());
        let mut tagged = Vec::new();
        if let Some((epoch, end_offset)) = partition.diverging {
            let mut field = BytesMut::new();
            field.put_i32(epoch.0);
            field.put_i64(end_offset);
            field.put_u8(0);
            tagged.push((0, field));
        }
        if let Some(leader) = partition.current_leader {
            let mut field = BytesMut::new();
            field.put_i32(leader.broker);
            field.put_i32(leader.epoch.0);
            field.put_u8(0);
            tagged.push((1, field));
        }
        self.tagged(&tagged)
    }

    /// The length of bytes or the count of an array.
    fn count(&mut self, count: usize) -> Result<(), EncodeError> {
        if self.flexible {
            return self.varint(count + 1);
        }
        let count = i32::try_from(count).map_err(|_| self.too_large(count))?;
        self.buffer.put_i32(count);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        if self.flexible {
            self.varint(text.len() + 1)?;
        } else {
            let length = i16::try_from(text.len()).map_err(|_| self.too_large(text.len()))?;
            self.buffer.put_i16(length);
        }
        self.buffer.put_slice(text.as_bytes());
        Ok(())
    }

    fn varint(&mut self, value: usize) -> Result<(), EncodeError> {
        let mut rest = u32::try_from(value).map_err(|_| self.too_large(value))?;
        while rest >= 0x80 {
            self.buffer.put_u8(u8::try_from(rest & 0x7f).expect("seven bits fit a byte") | 0x80);
            rest >>= 7;
        }
        self.buffer.put_u8(u8::try_from(rest).expect("less than 0x80"));
        Ok(())
    }

    /// A field with its default is not written: old clients misread it.
    fn put_no_tagged_fields(&mut self) {
        if self.flexible {
            self.buffer.put_u8(0);
        }
    }

    /// The tagged fields of a structure, by tag.
    fn tagged(&mut self, fields: &[(u8, BytesMut)]) -> Result<(), EncodeError> {
        if !self.flexible {
            return Ok(());
        }
        self.varint(fields.len())?;
        for (tag, field) in fields {
            self.buffer.put_u8(*tag);
            self.varint(field.len())?;
            self.buffer.put_slice(field);
        }
        Ok(())
    }

    fn too_large(&self, size: usize) -> EncodeError {
        EncodeError { version: self.version, reason: format!("{size} does not fit its field") }
    }
}

#[cfg(test)]
mod tests;
