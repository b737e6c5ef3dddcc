//! A structure as a Rust type, and its defaults.

use std::fmt::Write as _;

use super::{Emitter, is_optional};
use crate::names;
use crate::schema::DefaultValue;

impl Emitter<'_> {
    pub(super) fn declaration(self) -> String {
        let name = &self.structure.name;
        let derived = if self.defaults_are_derived() { ", Default" } else { "" };
        let mut code = format!(
            "/// A structure of versions {} of [`{}`].\n#[derive(Clone, Debug, PartialEq{derived})]\npub struct {name} {{\n",
            self.structure.versions, self.message.name
        );
        for field in self.fields() {
            let kind = self.rust_type(&field.kind);
            let kind = if is_optional(field) { format!("Option<{kind}>") } else { kind };
            let _ = writeln!(code, "/// {}\n///\n/// Versions {}.", field.about.trim(), field.versions);
            let _ = writeln!(code, "pub {}: {kind},", names::field(&field.name));
        }
        code + "}\n"
    }

    pub(super) fn defaults(self) -> String {
        if self.defaults_are_derived() {
            return String::new();
        }
        let mut code = format!("impl Default for {} {{\nfn default() -> Self {{\nSelf {{\n", self.structure.name);
        for field in self.fields() {
            let _ = writeln!(code, "{}: {},", names::field(&field.name), self.default_value(field));
        }
        code + "}\n}\n}\n"
    }

    /// Whether the defaults of Rust's own types are those of the schema.
    fn defaults_are_derived(self) -> bool {
        self.fields().all(|field| match field.default {
            DefaultValue::Null => true,
            DefaultValue::Empty => !is_optional(field),
            DefaultValue::True | DefaultValue::Number(_) => false,
        })
    }
}
