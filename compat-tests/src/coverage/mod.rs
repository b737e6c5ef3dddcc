//! Which client exercises which API, by measurement: a proxy between one client and its broker
//! records what is asked and answered (`recorder`), while the client makes a tour of all that it
//! can do, each answer checked (`tour`). What was seen becomes a table, which the page in `docs` is
//! held against (`table`).

pub mod recorder;
pub mod table;
pub mod tour;

pub use recorder::Recorder;
pub use table::Table;

use crate::client::ClientKind;

/// Clients that share one implementation of the protocol, and count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Librdkafka,
    Java,
    Franz,
    KafkaPython,
    Aiokafka,
    Kafkajs,
}

impl Family {
    pub const ALL: [Family; 6] =
        [Family::Librdkafka, Family::Java, Family::Franz, Family::KafkaPython, Family::Aiokafka, Family::Kafkajs];

    pub fn name(self) -> &'static str {
        match self {
            Family::Librdkafka => "librdkafka",
            Family::Java => "Java",
            Family::Franz => "franz-go",
            Family::KafkaPython => "kafka-python",
            Family::Aiokafka => "aiokafka",
            Family::Kafkajs => "kafkajs",
        }
    }

    pub fn clients(self) -> &'static [ClientKind] {
        match self {
            Family::Librdkafka => &[ClientKind::Kcat, ClientKind::Rdkafka, ClientKind::Confluent],
            Family::Java => &[ClientKind::Java],
            Family::Franz => &[ClientKind::Franz],
            Family::KafkaPython => &[ClientKind::KafkaPython],
            Family::Aiokafka => &[ClientKind::Aiokafka],
            Family::Kafkajs => &[ClientKind::Kafkajs],
        }
    }
}
