//! How a structure is written: its fields, then the tagged ones that are not at their defaults.

use std::fmt::Write as _;

use super::{Emitter, condition, is_optional};
use crate::names;
use crate::schema::{Direction, Field, Type};

impl Emitter<'_> {
    pub(super) fn encoder(self) -> String {
        let gate = if self.message.direction == Direction::Request { "#[cfg(feature = \"client\")]\n" } else { "" };
        let mut code = format!(
            "{gate}impl Encode for {} {{\nfn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {{\n\
             let version = w.version();\n",
            self.structure.name
        );
        for field in self.fields().filter(|field| field.tag.is_none()) {
            let write = self.write(field);
            code.push_str(&match self.presence(field) {
                Some(condition) => format!("if {condition} {{ {write} }}{}\n", self.or_refuse(field)),
                None => write + "\n",
            });
        }
        if self.is_ever_flexible() {
            code.push_str(&self.tags_written());
        }
        code + "Ok(())\n}\n}\n"
    }

    /// What happens in a version that lacks the field: what it is set to must not be lost.
    fn or_refuse(self, field: &Field) -> String {
        if field.is_ignorable {
            return String::new();
        }
        format!(
            " else if {} {{ return Err(w.not_in_version(\"{}\")); }}",
            self.is_set(field),
            names::snake_case(&field.name)
        )
    }

    fn is_set(self, field: &Field) -> String {
        format!("differs(&self.{}, &{})", names::field(&field.name), self.default_value(field))
    }

    fn tags_written(self) -> String {
        let tagged = self.tagged_fields();
        let mut code = String::new();
        for (tag, field) in &tagged {
            let is_set = self.is_set(field);
            match self.presence(field) {
                Some(condition) => {
                    let _ = writeln!(code, "let has_{tag} = {condition} && {is_set};");
                    if !field.is_ignorable {
                        let _ = writeln!(code, "if {condition} {{ }}{}", self.or_refuse(field));
                    }
                }
                None => {
                    let _ = writeln!(code, "let has_{tag} = {is_set};");
                }
            }
        }
        let counted: Vec<String> = tagged.iter().map(|(tag, _)| format!("usize::from(has_{tag})")).collect();
        let count = if counted.is_empty() { "0".to_owned() } else { counted.join(" + ") };
        let _ = writeln!(code, "w.tag_count({count});");
        for (tag, field) in &tagged {
            let _ = writeln!(code, "if has_{tag} {{ w.tagged({tag}, |w| {{ {} Ok(()) }})?; }}", self.write(field));
        }
        code
    }

    /// The statements that write the field in a version that has it.
    fn write(self, field: &Field) -> String {
        let (name, place) = (names::snake_case(&field.name), format!("self.{}", names::field(&field.name)));
        if !is_optional(field) {
            return self.write_value(&name, &place, &format!("&{place}"), &field.kind);
        }
        let value = match &field.kind {
            Type::Records if self.message.direction == Direction::Response => {
                format!("w.nullable_records(\"{name}\", {place}.as_deref())?;")
            }
            Type::Text => format!("w.nullable_text(\"{name}\", {place}.as_deref())?;"),
            Type::Bytes | Type::Records => format!("w.nullable_bytes(\"{name}\", {place}.as_deref())?;"),
            Type::Structure(_) => format!("w.nullable_structure({place}.as_ref())?;"),
            Type::List(element) => format!(
                "w.nullable_list(\"{name}\", {place}.as_deref(), |w, it| {{ {} Ok(()) }})?;",
                self.write_value(&name, "*it", "it", element)
            ),
            number => self.write_value(&name, &format!("{place}.unwrap_or_default()"), "", number),
        };
        match condition(field.nullable, field.versions.intersection(self.structure.versions)) {
            Some(condition) => {
                format!("if {place}.is_none() && !({condition}) {{ return Err(w.null(\"{name}\")); }} {value}")
            }
            None => value,
        }
    }

    /// The statement that writes `value`, to which `reference` refers.
    fn write_value(self, name: &str, value: &str, reference: &str, kind: &Type) -> String {
        match kind {
            Type::Bool => format!("w.boolean({value});"),
            Type::Int8 => format!("w.int8({value});"),
            Type::Int16 => format!("w.int16({value});"),
            Type::Uint16 => format!("w.uint16({value});"),
            Type::Int32 => format!("w.int32({value});"),
            Type::Int64 => format!("w.int64({value});"),
            Type::Float64 => format!("w.float64({value});"),
            Type::Uuid => format!("w.uuid({value});"),
            Type::Text => format!("w.text(\"{name}\", {reference})?;"),
            Type::Records if self.message.direction == Direction::Response => {
                format!("w.nullable_records(\"{name}\", Some({reference}))?;")
            }
            Type::Bytes | Type::Records => format!("w.nullable_bytes(\"{name}\", Some({reference}))?;"),
            Type::Structure(_) => format!("Encode::encode({reference}, w)?;"),
            Type::List(element) => format!(
                "w.list(\"{name}\", {reference}, |w, it| {{ {} Ok(()) }})?;",
                self.write_value(name, "*it", "it", element)
            ),
        }
    }
}
