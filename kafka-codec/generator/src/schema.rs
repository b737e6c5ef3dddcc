//! The checked model of a message. A schema may say nothing that this model has no place for: a
//! member that is not known would be an encoding that is not known.

mod read;

use std::fmt;

use crate::json::Malformed;
use crate::versions::Versions;

pub(crate) use read::read;

/// A request or a response.
#[derive(Clone, Debug)]
pub struct Message {
    pub key: i16,
    pub direction: Direction,
    pub name: String,
    pub versions: Versions,
    /// Versions with compact lengths and tagged fields (KIP-482).
    pub flexible: Versions,
    /// Whether Kafka may still change the last version.
    pub is_latest_unstable: bool,
    /// What the message consists of: its own fields first, then each structure that they name.
    pub structures: Vec<Structure>,
}

/// Who sends a message. A request comes before its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Request,
    Response,
}

/// Fields in the order of the wire.
#[derive(Clone, Debug)]
pub struct Structure {
    pub name: String,
    /// The versions of the message that may have it.
    pub versions: Versions,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub about: String,
    pub kind: Type,
    /// The versions of the message that have the field, if they have its structure.
    pub versions: Versions,
    /// The versions with the field in which it may be null.
    pub nullable: Versions,
    pub default: DefaultValue,
    /// Whether a version that lacks the field may leave out what it is set to.
    pub is_ignorable: bool,
    /// For a tagged field, its tag.
    pub tag: Option<u32>,
    /// Whether its bytes are worth a view of the frame.
    pub is_zero_copy: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    Text,
    Bytes,
    /// Record batches.
    Records,
    /// A structure of the same message, by its name.
    Structure(String),
    List(Box<Type>),
}

/// What a field is before it is set, and in versions that lack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// Zero, false, or nothing in it.
    Empty,
    Null,
    True,
    Number(i64),
}

/// Why the code of a schema cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    pub schema: String,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Json(Malformed),
    /// A member is missing, or not of the kind that it must be.
    Missing {
        member: &'static str,
        of: String,
    },
    Unknown {
        member: String,
        of: String,
    },
    Versions {
        text: String,
        of: String,
    },
    Type {
        text: String,
        field: String,
    },
    Default {
        text: String,
        field: String,
    },
    /// The tagged versions of a field must be all of its versions, and flexible ones.
    TaggedVersions {
        field: String,
    },
    /// A structure is named that the schema does not describe, or describes twice.
    Structure {
        name: String,
    },
    /// A request and its response have the same versions, flexible from the same one on.
    Unpaired,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.schema)?;
        match &self.problem {
            Problem::Json(Malformed { line, expected }) => write!(f, "line {line}: expected {expected}"),
            Problem::Missing { member, of } => write!(f, "{of} lacks '{member}'"),
            Problem::Unknown { member, of } => write!(f, "'{member}' of {of} is not known to the generator"),
            Problem::Versions { text, of } => write!(f, "'{text}' of {of} are no versions that it can have"),
            Problem::Type { text, field } => write!(f, "{field} has the unknown type '{text}'"),
            Problem::Default { text, field } => write!(f, "{field} has the default '{text}', which its type lacks"),
            Problem::TaggedVersions { field } => write!(f, "{field} is tagged in other versions than it exists in"),
            Problem::Structure { name } => write!(f, "the structure {name} is described not once"),
            Problem::Unpaired => write!(f, "no other message is its request or response in the same versions"),
        }
    }
}

impl std::error::Error for SchemaError {}

/// Each request is followed by its response.
pub(crate) fn check_pairs(messages: &[Message]) -> Result<(), SchemaError> {
    for pair in messages.chunks(2) {
        let is_pair = matches!(pair, [request, response]
            if (request.direction, response.direction) == (Direction::Request, Direction::Response)
                && (request.key, request.versions, request.flexible)
                    == (response.key, response.versions, response.flexible));
        if !is_pair {
            return Err(SchemaError { schema: pair[0].name.clone(), problem: Problem::Unpaired });
        }
    }
    Ok(())
}
