//! How a structure is read. Fields are read as the literal of the structure is evaluated, in its
//! order; tagged fields come after it.

use std::fmt::Write as _;

use super::{Emitter, condition, is_optional};
use crate::names;
use crate::schema::{Direction, Field, Type};

impl Emitter<'_> {
    pub(super) fn decoder(self) -> String {
        let gate = if self.message.direction == Direction::Response { "#[cfg(feature = \"client\")]\n" } else { "" };
        let name = &self.structure.name;
        let mut code = format!(
            "{gate}impl Sealed for {name} {{}}\n\
             {gate}impl Decode for {name} {{\nfn decode(r: &mut Reader) -> Result<Self, DecodeError> {{\n\
             let version = r.version();\nlet mut it = Self {{\n"
        );
        for field in self.fields() {
            let _ = writeln!(code, "{}: {},", names::field(&field.name), self.initial(field));
        }
        code.push_str("};\n");
        if self.is_ever_flexible() {
            code.push_str(&self.tags_read());
        }
        code + "Ok(it)\n}\n}\n"
    }

    fn initial(self, field: &Field) -> String {
        if field.tag.is_some() {
            return self.default_value(field);
        }
        let read = self.read(field);
        match self.presence(field) {
            Some(condition) => format!("if {condition} {{ {read} }} else {{ {} }}", self.default_value(field)),
            None => read,
        }
    }

    fn tags_read(self) -> String {
        let tagged = self.tagged_fields();
        if tagged.is_empty() {
            return "r.skip_tagged_fields()?;\n".to_owned();
        }
        let mut code = "r.tagged_fields(|r, tag| {\nmatch tag {\n".to_owned();
        for (tag, field) in tagged {
            let guard = self.presence(field).map_or(String::new(), |condition| format!(" if {condition}"));
            let _ = writeln!(code, "{tag}{guard} => it.{} = {},", names::field(&field.name), self.read(field));
        }
        code + "_ => return Ok(false),\n}\nOk(true)\n})?;\n"
    }

    /// The expression that reads the field in a version that has it.
    fn read(self, field: &Field) -> String {
        let name = names::snake_case(&field.name);
        if !is_optional(field) {
            return format!("{}?", self.read_value(&name, field, &field.kind));
        }
        let value = match &field.kind {
            Type::Records if self.message.direction == Direction::Response => {
                format!("r.nullable_view(\"{name}\")?.map(|view| vec![view])")
            }
            Type::Records => format!("r.nullable_view(\"{name}\")?"),
            Type::Bytes if field.is_zero_copy => format!("r.nullable_view(\"{name}\")?"),
            Type::Text => format!("r.nullable_text(\"{name}\")?"),
            Type::Bytes => format!("r.nullable_bytes(\"{name}\")?"),
            Type::Structure(_) => format!("r.nullable_structure(\"{name}\")?"),
            Type::List(element) => {
                format!("r.nullable_list(\"{name}\", |r| {})?", self.read_value(&name, field, element))
            }
            number => format!("Some({}?)", self.read_value(&name, field, number)),
        };
        match condition(field.nullable, field.versions.intersection(self.structure.versions)) {
            Some(condition) => format!("null_if({condition}, \"{name}\", {value})?"),
            None => value,
        }
    }

    /// The expression that reads a value which is not null, as a result.
    fn read_value(self, name: &str, field: &Field, kind: &Type) -> String {
        match kind {
            Type::Bool => format!("r.boolean(\"{name}\")"),
            Type::Int8 => format!("r.int8(\"{name}\")"),
            Type::Int16 => format!("r.int16(\"{name}\")"),
            Type::Uint16 => format!("r.uint16(\"{name}\")"),
            Type::Int32 => format!("r.int32(\"{name}\")"),
            Type::Int64 => format!("r.int64(\"{name}\")"),
            Type::Float64 => format!("r.float64(\"{name}\")"),
            Type::Uuid => format!("r.uuid(\"{name}\")"),
            Type::Text => format!("r.text(\"{name}\")"),
            Type::Bytes if field.is_zero_copy => format!("r.view(\"{name}\")"),
            Type::Bytes => format!("r.bytes(\"{name}\")"),
            Type::Records if self.message.direction == Direction::Response => {
                format!("r.view(\"{name}\").map(|view| vec![view])")
            }
            Type::Records => format!("r.view(\"{name}\")"),
            Type::Structure(structure) => format!("{structure}::decode(r)"),
            Type::List(element) => format!("r.list(\"{name}\", |r| {})", self.read_value(name, field, element)),
        }
    }
}
