//! Members of consumer groups: several clients that must keep polling at the same time, as real
//! ones do, until the condition of the scenario holds.

use crate::client::{Client, ClientKind, Isolation, Refusal, open, parse};
use crate::record::unhex;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// The duration of one round of polling.
const ROUND_MS: u64 = 150;

/// The parameters of a member's join.
#[derive(Clone, Debug)]
pub struct Subscription<'a> {
    pub group: &'a str,
    pub topics: &'a [&'a str],
    pub strategy: &'a str,
    pub instance: Option<&'a str>,
    pub reset: &'a str,
    pub session_ms: u32,
    /// The library's default if there is none.
    pub isolation: Option<Isolation>,
    pub protocol: Protocol<'a>,
    /// Takes the place of `topics`: every topic whose whole name matches.
    pub regex: Option<&'a str>,
    /// The id of the producer that sends the member's offsets in its transactions.
    pub transactional_id: Option<&'a str>,
}

/// The protocol of a group, as the member wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol<'a> {
    /// A member assigns the partitions.
    Classic,
    /// The broker assigns them (KIP-848), by this assignor or by its default.
    Consumer { assignor: Option<&'a str> },
}

impl<'a> Subscription<'a> {
    pub fn new(group: &'a str, topics: &'a [&'a str]) -> Subscription<'a> {
        Subscription {
            group,
            topics,
            strategy: "range",
            instance: None,
            reset: "earliest",
            session_ms: 10_000,
            isolation: None,
            protocol: Protocol::Classic,
            regex: None,
            transactional_id: None,
        }
    }

    pub fn strategy(self, strategy: &'a str) -> Subscription<'a> {
        Subscription { strategy, ..self }
    }

    pub fn instance(self, instance: &'a str) -> Subscription<'a> {
        Subscription { instance: Some(instance), ..self }
    }

    pub fn reset(self, reset: &'a str) -> Subscription<'a> {
        Subscription { reset, ..self }
    }

    pub fn isolation(self, isolation: Isolation) -> Subscription<'a> {
        Subscription { isolation: Some(isolation), ..self }
    }

    pub fn protocol(self, protocol: Protocol<'a>) -> Subscription<'a> {
        Subscription { protocol, ..self }
    }

    pub fn regex(self, regex: &'a str) -> Subscription<'a> {
        Subscription { regex: Some(regex), ..self }
    }

    pub fn transactional_id(self, id: &'a str) -> Subscription<'a> {
        Subscription { transactional_id: Some(id), ..self }
    }

    /// Kafka refuses sessions below 6 s.
    pub fn session_ms(self, session_ms: u32) -> Subscription<'a> {
        Subscription { session_ms, ..self }
    }
}

/// A record as a member received it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReceivedRecord {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub value: Vec<u8>,
}

/// A member, and the records that it has received so far.
pub struct Member {
    /// For operations beside those of a member.
    pub client: Box<dyn Client>,
    pub assigned: BTreeSet<(String, i32)>,
    pub seen: Vec<ReceivedRecord>,
    /// The number of assignments and revocations; -1 if the client does not report them.
    pub rebalances: i64,
}

impl Member {
    pub fn join(kind: ClientKind, bootstrap: &str, how: &Subscription<'_>) -> Result<Member> {
        let mut client = open(kind, bootstrap)?;
        let mut request = json!({"op": "subscribe", "group": how.group, "topics": how.topics, "strategy": how.strategy,
            "reset": how.reset, "session_ms": how.session_ms});
        if let Some(instance) = how.instance {
            request["instance"] = json!(instance);
        }
        if let Some(isolation) = how.isolation {
            request["isolation"] = json!(isolation.name());
        }
        if let Protocol::Consumer { assignor } = how.protocol {
            request["protocol"] = json!("consumer");
            if let Some(assignor) = assignor {
                request["assignor"] = json!(assignor);
            }
        }
        for (key, value) in [("regex", how.regex), ("transactional_id", how.transactional_id)] {
            if let Some(value) = value {
                request[key] = json!(value);
            }
        }
        client.call(request).with_context(|| format!("{} joins", kind.name()))?;
        Ok(Member { client, assigned: BTreeSet::new(), seen: Vec::new(), rebalances: 0 })
    }

    pub fn kind(&self) -> ClientKind {
        self.client.kind()
    }

    /// Commits the positions.
    pub fn commit(&mut self) -> Result<(), Refusal> {
        self.client.call(json!({"op": "commit"})).map(|_| ())
    }

    pub fn commit_offsets(&mut self, offsets: &[(&str, i32, i64, &str)]) -> Result<(), Refusal> {
        self.client.call(json!({"op": "commit", "offsets": offsets})).map(|_| ())
    }

    pub fn committed(&mut self, topic: &str, partition: i32) -> Result<(i64, String), Refusal> {
        let answer = self.client.call(json!({"op": "committed", "partitions": [[topic, partition]]}))?;
        let offsets: Vec<(String, i32, i64, String)> = parse(answer, "offsets")?;
        offsets
            .into_iter()
            .next()
            .map(|(_, _, offset, metadata)| (offset, metadata))
            .ok_or_else(|| Refusal::new(-1, "no offset"))
    }

    pub fn leave(mut self) -> Result<(), Refusal> {
        self.client.call(json!({"op": "leave"})).map(|_| ())
    }

    /// Kills the client: the group learns of it by the missing heartbeats.
    pub fn die(mut self) {
        self.client.kill();
    }

    pub fn poll(&mut self, ms: u64) -> Result<()> {
        let answer = self.client.call(json!({"op": "poll", "ms": ms})).with_context(|| self.kind().name())?;
        self.rebalances = answer["rebalances"].as_i64().unwrap_or(-1);
        self.assigned = parse::<Vec<(String, i32)>>(answer.clone(), "assigned")?.into_iter().collect();
        for (topic, partition, offset, value) in parse::<Vec<(String, i32, i64, Option<String>)>>(answer, "records")? {
            let value = value.as_deref().and_then(unhex).unwrap_or_default();
            self.seen.push(ReceivedRecord { topic, partition, offset, value });
        }
        Ok(())
    }
}

/// Polls all members at once until `done` holds. Fails with their state if `within` has passed.
pub fn poll_until(members: &mut [Member], within: Duration, done: impl Fn(&[Member]) -> bool) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        thread::scope(|scope| -> Result<()> {
            let rounds: Vec<_> = members.iter_mut().map(|member| scope.spawn(|| member.poll(ROUND_MS))).collect();
            rounds.into_iter().try_for_each(|round| round.join().expect("polling does not panic"))
        })?;
        if done(members) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let state: Vec<Value> = members
                .iter()
                .map(|m| json!({"client": m.kind().name(), "assigned": m.assigned, "seen": m.seen.len()}))
                .collect();
            bail!("the members did not get there within {within:?}: {}", json!(state));
        }
    }
}

/// Whether the members own `partitions` partitions together, each exactly once, and every member
/// has one if there are enough.
pub fn is_balanced(members: &[Member], partitions: usize) -> bool {
    let owned: Vec<_> = members.iter().flat_map(|member| &member.assigned).collect();
    let distinct: BTreeSet<_> = owned.iter().collect();
    let everybody = partitions < members.len() || members.iter().all(|member| !member.assigned.is_empty());
    owned.len() == partitions && distinct.len() == partitions && everybody
}
