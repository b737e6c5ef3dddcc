//! The transactional producer of the `rdkafka` crate.

use super::{Deliveries, NativeProducer, PATIENCE, positions, send_all};
use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use serde_json::{Value, json};
use std::sync::mpsc::channel;

/// A producer that has its transactional id.
pub struct Transactional(NativeProducer);

impl Transactional {
    /// Starts the producer of the request's id, which fences earlier ones.
    pub fn initialise(mut config: ClientConfig, request: &Value) -> Result<Transactional> {
        config.set("transactional.id", request["id"].as_str().context("no id")?);
        config.set("reconnect.backoff.max.ms", "200");
        if let Some(timeout) = request["timeout_ms"].as_u64() {
            config.set("transaction.timeout.ms", timeout.to_string()).set("message.timeout.ms", timeout.to_string());
        }
        let (sender, deliveries) = channel();
        let producer: rdkafka::producer::ThreadedProducer<Deliveries> =
            config.create_with_context(Deliveries(sender))?;
        producer.init_transactions(PATIENCE)?;
        Ok(Transactional((producer, deliveries)))
    }

    /// Executes an operation on the producer. `member` is the client's member of the group whose
    /// offsets are sent, and `stranger` makes a consumer of a group without being its member.
    pub fn call(
        &self,
        request: &Value,
        member: Option<&BaseConsumer>,
        stranger: impl Fn(&str) -> Result<BaseConsumer>,
    ) -> Result<Value> {
        let producer = &self.0.0;
        match request["op"].as_str().unwrap_or_default() {
            "begin_transaction" => producer.begin_transaction()?,
            "send" => return send_all(&self.0, request),
            "send_offsets" => {
                let offsets = positions(request["offsets"].as_array().context("no offsets")?)?;
                let metadata = match member {
                    Some(member) => member.group_metadata(),
                    None => stranger(request["group"].as_str().context("no group")?)?.group_metadata(),
                };
                producer.send_offsets_to_transaction(
                    &offsets,
                    &metadata.context("no metadata of the group")?,
                    PATIENCE,
                )?;
            }
            "commit_transaction" => producer.commit_transaction(PATIENCE)?,
            _ => producer.abort_transaction(PATIENCE)?,
        }
        Ok(json!({}))
    }
}
