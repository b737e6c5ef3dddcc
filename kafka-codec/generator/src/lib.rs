//! Writes the Rust code of Kafka's messages from Kafka's message schemas. It runs in build scripts,
//! so it has no dependencies, and it knows nothing of how a value lies on the wire.
//!
//! Reading order: `json` (schemas are JSON with comments), `versions`, `schema` (the checked model
//! of a message), `names`, `emit` (the code).

mod emit;
mod json;
mod names;
mod schema;
mod versions;

pub use schema::{DefaultValue, Direction, Field, Message, Problem, SchemaError, Structure, Type};
pub use versions::Versions;

/// One schema: the name of its file, and its text.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// The messages that the schemas describe, by API key, each request before its response.
///
/// # Errors
///
/// A schema says something that this generator does not know, or contradicts itself.
pub fn read(sources: &[Source]) -> Result<Vec<Message>, SchemaError> {
    let read = |source: &Source| {
        schema::read(&source.text).map_err(|problem| SchemaError { schema: source.name.clone(), problem })
    };
    let mut messages = sources.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    messages.sort_by_key(|message| (message.key, message.direction));
    schema::check_pairs(&messages)?;
    Ok(messages)
}

/// The code of all messages, as the content of one file.
///
/// # Errors
///
/// As for [`read`].
pub fn generate(sources: &[Source]) -> Result<String, SchemaError> {
    Ok(emit::file(&read(sources)?))
}

#[cfg(test)]
mod tests;
