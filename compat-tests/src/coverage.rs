//! Measures which client exercises which API. A proxy between one client and its broker records
//! requests and answers (`recorder`), while the client makes a tour of all its operations, with
//! each answer checked (`tour`). The result is a table, which is compared with the page in `docs`
//! (`table`).

pub mod recorder;
pub mod table;
pub mod tour;

pub use recorder::Recorder;
pub use table::Table;

use crate::client::ClientKind;

/// A family of clients that share one implementation of the protocol, and count as one.
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
