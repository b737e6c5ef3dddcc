//! The code of messages. It says which field follows which, in which versions, and what its default
//! is. How a value lies on the wire is said by the methods that it calls, in the crate that this
//! code becomes part of.

mod decode;
mod encode;
mod structure;

use std::fmt::Write as _;

use crate::names;
use crate::schema::{DefaultValue, Direction, Field, Message, Structure, Type};
use crate::versions::Versions;

/// Everything: a module for each message, and the table of APIs as a macro that calls another one
/// with it.
pub fn file(messages: &[Message]) -> String {
    let mut code = String::new();
    for message in messages {
        let module = names::snake_case(&message.name);
        let _ = writeln!(code, "pub use {module}::{};", message.name);
        let _ = writeln!(code, "/// The structures of [`{}`].", message.name);
        let _ = writeln!(code, "pub mod {module} {{\nuse super::*;");
        for structure in &message.structures {
            let emitter = Emitter { message, structure };
            code.push_str(&emitter.declaration());
            code.push_str(&emitter.defaults());
            code.push_str(&emitter.encoder());
            code.push_str(&emitter.decoder());
        }
        code.push_str("}\n");
    }
    code.push_str(&api_table(messages));
    code
}

/// A row for each API: its name, key, first and last version, first flexible version, whether its
/// last version may still change, its request and its response.
fn api_table(messages: &[Message]) -> String {
    let mut rows = String::new();
    for pair in messages.chunks_exact(2) {
        let [request, response] = pair else { continue };
        let name = request.name.strip_suffix("Request").unwrap_or(&request.name);
        let Message { key, versions: Versions { first, last }, flexible, is_latest_unstable, .. } = request;
        let flexible_from = flexible.first;
        let _ = writeln!(
            rows,
            "{name} {key} {first} {last} {flexible_from} {is_latest_unstable} {} {};",
            request.name, response.name
        );
    }
    format!(
        "/// Calls a macro with a row for each API: name, key, first version, last version, first\n\
         /// flexible version, whether the last version is unstable, request, response.\n\
         #[macro_export]\nmacro_rules! for_each_api {{ ($call:ident) => {{ $call! {{\n{rows}}} }}; }}\n"
    )
}

/// Writes the code of one structure.
#[derive(Clone, Copy)]
struct Emitter<'a> {
    message: &'a Message,
    structure: &'a Structure,
}

impl<'a> Emitter<'a> {
    fn fields(self) -> impl Iterator<Item = &'a Field> {
        self.structure.fields.iter()
    }

    /// By tag.
    fn tagged_fields(self) -> Vec<(u32, &'a Field)> {
        let mut tagged: Vec<_> = self.fields().filter_map(|field| Some((field.tag?, field))).collect();
        tagged.sort_by_key(|(tag, _)| *tag);
        tagged
    }

    /// Whether tagged fields may stand at its end.
    fn is_ever_flexible(self) -> bool {
        !self.message.flexible.intersection(self.structure.versions).is_empty()
    }

    /// The condition for a version of the structure to have the field; `None` if each one does.
    fn presence(self, field: &Field) -> Option<String> {
        condition(field.versions, self.structure.versions)
    }

    /// The type of what the field holds when it is not null.
    fn rust_type(self, kind: &Type) -> String {
        match kind {
            Type::Bool => "bool".to_owned(),
            Type::Int8 => "i8".to_owned(),
            Type::Int16 => "i16".to_owned(),
            Type::Uint16 => "u16".to_owned(),
            Type::Int32 => "i32".to_owned(),
            Type::Int64 => "i64".to_owned(),
            Type::Float64 => "f64".to_owned(),
            Type::Uuid => "Uuid".to_owned(),
            Type::Text => "String".to_owned(),
            Type::Bytes => "Bytes".to_owned(),
            // Sent in the pieces in which they lie in memory, received in one.
            Type::Records if self.message.direction == Direction::Response => "Vec<Bytes>".to_owned(),
            Type::Records => "Bytes".to_owned(),
            Type::Structure(name) => name.clone(),
            Type::List(element) => format!("Vec<{}>", self.rust_type(element)),
        }
    }

    fn default_value(self, field: &Field) -> String {
        match field.default {
            DefaultValue::Null => "None".to_owned(),
            DefaultValue::True => "true".to_owned(),
            DefaultValue::Number(number) => number.to_string(),
            DefaultValue::Empty if is_optional(field) => format!("Some({})", self.empty(&field.kind)),
            DefaultValue::Empty => self.empty(&field.kind),
        }
    }

    fn empty(self, kind: &Type) -> String {
        match kind {
            Type::Bool => "false".to_owned(),
            Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64 => "0".to_owned(),
            Type::Float64 => "0.0".to_owned(),
            Type::Uuid => "Uuid::nil()".to_owned(),
            Type::Text => "String::new()".to_owned(),
            Type::Records if self.message.direction == Direction::Response => "Vec::new()".to_owned(),
            Type::Bytes | Type::Records => "Bytes::new()".to_owned(),
            Type::Structure(name) => format!("{name}::default()"),
            Type::List(_) => "Vec::new()".to_owned(),
        }
    }
}

/// Whether the field is an `Option`.
fn is_optional(field: &Field) -> bool {
    field.default == DefaultValue::Null || !field.nullable.is_empty()
}

/// The condition for a version out of `all` to be one of `some`; `None` if each one is.
fn condition(some: Versions, all: Versions) -> Option<String> {
    let Versions { first, last } = some.intersection(all);
    match (first <= all.first, last >= all.last) {
        (true, true) => None,
        _ if some.intersection(all).is_empty() => Some("false".to_owned()),
        (false, true) => Some(format!("version >= {first}")),
        (true, false) => Some(format!("version <= {last}")),
        (false, false) => Some(format!("({first}..={last}).contains(&version)")),
    }
}
