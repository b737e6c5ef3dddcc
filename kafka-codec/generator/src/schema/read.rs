//! From a schema's text to the model. Structures stand where they are used, or under
//! `commonStructs`; the model has them in one list, and knows for each the versions that use it.

use super::{DefaultValue, Direction, Field, Message, Problem, Structure, Type};
use crate::json::{self, Value};
use crate::versions::Versions;

/// What may stand in a schema, and in a field. What changes no encoding is not read.
const MESSAGE_MEMBERS: &[&str] = &[
    "apiKey",
    "type",
    "name",
    "validVersions",
    "flexibleVersions",
    "latestVersionUnstable",
    "fields",
    "commonStructs",
    "listeners",
];
const FIELD_MEMBERS: &[&str] = &[
    "name",
    "type",
    "versions",
    "nullableVersions",
    "tag",
    "taggedVersions",
    "default",
    "ignorable",
    "zeroCopy",
    "fields",
    "about",
    "entityType",
    "mapKey",
];

pub(crate) fn read(text: &str) -> Result<Message, Problem> {
    let schema = json::parse(text).map_err(Problem::Json)?;
    let schema = Object::new(&schema, "the schema")?;
    schema.allow(MESSAGE_MEMBERS)?;
    let name = schema.text("name")?.to_owned();
    let direction = match schema.text("type")? {
        "request" => Direction::Request,
        "response" => Direction::Response,
        other => return Err(Problem::Type { text: other.to_owned(), field: name }),
    };
    let versions = schema.versions("validVersions")?;
    let mut structures = Structures { list: Vec::new() };
    structures.add(&name, schema.list("fields")?)?;
    for shared in schema.optional_list("commonStructs")? {
        let shared = Object::new(shared, "a common structure")?;
        structures.add(shared.text("name")?, shared.list("fields")?)?;
    }
    structures.mark_used(&name, versions)?;
    Ok(Message {
        key: schema.number("apiKey")?,
        direction,
        versions,
        flexible: flexible_versions(&schema)?,
        is_latest_unstable: schema.flag("latestVersionUnstable")?,
        structures: structures.used(flexible_versions(&schema)?)?,
        name,
    })
}

/// Once a message is flexible, it stays so: the header's form follows from one number.
fn flexible_versions(schema: &Object<'_>) -> Result<Versions, Problem> {
    let flexible = schema.versions("flexibleVersions")?;
    if flexible.is_empty() || flexible.last == Versions::LAST {
        return Ok(flexible);
    }
    Err(Problem::Versions { text: flexible.to_string(), of: "flexibleVersions".to_owned() })
}

struct Structures {
    list: Vec<Structure>,
}

impl Structures {
    fn add(&mut self, name: &str, fields: &[Value]) -> Result<(), Problem> {
        if self.list.iter().any(|known| known.name == name) {
            return Err(Problem::Structure { name: name.to_owned() });
        }
        let index = self.list.len();
        self.list.push(Structure { name: name.to_owned(), versions: Versions::NONE, fields: Vec::new() });
        for field in fields {
            let field = Object::new(field, "a field")?;
            let read = read_field(&field)?;
            if let (Some(inner), nested @ [_, ..]) = (structure_of(&read.kind), field.optional_list("fields")?) {
                self.add(inner, nested)?;
            }
            self.list[index].fields.push(read);
        }
        Ok(())
    }

    /// Notes that the structure may occur in `versions`, and what it names with it.
    fn mark_used(&mut self, name: &str, versions: Versions) -> Result<(), Problem> {
        let found = self.list.iter().position(|known| known.name == name);
        let index = found.ok_or_else(|| Problem::Structure { name: name.to_owned() })?;
        if self.list[index].versions.covers(versions) {
            return Ok(());
        }
        self.list[index].versions = self.list[index].versions.hull(versions);
        let inner: Vec<(String, Versions)> = self.list[index]
            .fields
            .iter()
            .filter_map(|field| Some((structure_of(&field.kind)?.to_owned(), field.versions.intersection(versions))))
            .filter(|(_, versions)| !versions.is_empty())
            .collect();
        inner.into_iter().try_for_each(|(name, versions)| self.mark_used(&name, versions))
    }

    /// The structures that some version has, and of those the fields that some version has.
    fn used(mut self, flexible: Versions) -> Result<Vec<Structure>, Problem> {
        self.list.retain(|structure| !structure.versions.is_empty());
        for structure in &mut self.list {
            for field in &mut structure.fields {
                field.versions = field.versions.intersection(structure.versions);
                field.nullable = field.nullable.intersection(field.versions);
                if field.tag.is_some() && !flexible.covers(field.versions) {
                    return Err(Problem::TaggedVersions { field: field.name.clone() });
                }
            }
            structure.fields.retain(|field| !field.versions.is_empty());
        }
        Ok(self.list)
    }
}

fn read_field(field: &Object<'_>) -> Result<Field, Problem> {
    field.allow(FIELD_MEMBERS)?;
    let name = field.text("name")?.to_owned();
    let kind = read_type(field.text("type")?).ok_or_else(|| Problem::Type {
        text: field.text("type").unwrap_or_default().to_owned(),
        field: name.clone(),
    })?;
    let versions = field.versions("versions")?;
    let tag = match field.member("tag") {
        Some(_) if field.versions("taggedVersions")? != versions => {
            return Err(Problem::TaggedVersions { field: name });
        }
        Some(_) => Some(field.number("tag")?),
        None => None,
    };
    Ok(Field {
        about: field.member("about").map_or(Ok(""), |_| field.text("about"))?.to_owned(),
        default: read_default(field, &kind)?,
        nullable: field
            .member("nullableVersions")
            .map_or(Ok(Versions::NONE), |_| field.versions("nullableVersions"))?,
        is_ignorable: field.flag("ignorable")?,
        is_zero_copy: field.flag("zeroCopy")?,
        name,
        kind,
        versions,
        tag,
    })
}

fn read_type(text: &str) -> Option<Type> {
    if let Some(element) = text.strip_prefix("[]") {
        return Some(Type::List(Box::new(read_type(element)?)));
    }
    Some(match text {
        "bool" => Type::Bool,
        "int8" => Type::Int8,
        "int16" => Type::Int16,
        "uint16" => Type::Uint16,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "float64" => Type::Float64,
        "uuid" => Type::Uuid,
        "string" => Type::Text,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        name if name.starts_with(|first: char| first.is_ascii_uppercase()) => Type::Structure(name.to_owned()),
        _ => return None,
    })
}

/// A default is written as what it is, or as text of it.
fn read_default(field: &Object<'_>, kind: &Type) -> Result<DefaultValue, Problem> {
    let text = match field.member("default") {
        None => return Ok(DefaultValue::Empty),
        Some(Value::Text(text) | Value::Number(text)) => text.as_str(),
        Some(Value::Bool(true)) => "true",
        Some(Value::Bool(false)) => "false",
        Some(_) => return Err(Problem::Missing { member: "default", of: field.of.to_owned() }),
    };
    let number = || match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let default = match (kind, text) {
        (Type::Text | Type::Bytes | Type::Records | Type::List(_) | Type::Structure(_), "null") => {
            Some(DefaultValue::Null)
        }
        (Type::Text, "") | (Type::Bool, "false") => Some(DefaultValue::Empty),
        (Type::Bool, "true") => Some(DefaultValue::True),
        (Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64, _) => {
            number().map(|number| match number {
                0 => DefaultValue::Empty,
                number => DefaultValue::Number(number),
            })
        }
        _ => None,
    };
    default
        .ok_or_else(|| Problem::Default { text: text.to_owned(), field: field.text("name").unwrap_or("").to_owned() })
}

/// The structure that a value consists of, or a list's elements do.
fn structure_of(kind: &Type) -> Option<&str> {
    match kind {
        Type::Structure(name) => Some(name),
        Type::List(element) => structure_of(element),
        _ => None,
    }
}

/// An object of the schema, and what it is, for errors.
struct Object<'a> {
    members: &'a [(String, Value)],
    of: &'a str,
}

impl<'a> Object<'a> {
    fn new(value: &'a Value, of: &'a str) -> Result<Self, Problem> {
        let Value::Object(members) = value else {
            return Err(Problem::Missing { member: "members", of: of.to_owned() });
        };
        let named = Self { members, of };
        let name = named.text("name").unwrap_or(of);
        Ok(Self { members, of: name })
    }

    fn allow(&self, known: &[&str]) -> Result<(), Problem> {
        let stranger = self.members.iter().find(|(name, _)| !known.contains(&name.as_str()));
        stranger.map_or(Ok(()), |(name, _)| Err(Problem::Unknown { member: name.clone(), of: self.of.to_owned() }))
    }

    fn member(&self, name: &str) -> Option<&'a Value> {
        self.members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn missing(&self, member: &'static str) -> Problem {
        Problem::Missing { member, of: self.of.to_owned() }
    }

    fn text(&self, name: &'static str) -> Result<&'a str, Problem> {
        let Some(Value::Text(text)) = self.member(name) else { return Err(self.missing(name)) };
        Ok(text)
    }

    fn list(&self, name: &'static str) -> Result<&'a [Value], Problem> {
        let Some(Value::List(list)) = self.member(name) else { return Err(self.missing(name)) };
        Ok(list)
    }

    fn optional_list(&self, name: &'static str) -> Result<&'a [Value], Problem> {
        self.member(name).map_or(Ok(&[]), |_| self.list(name))
    }

    fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<N, Problem> {
        let Some(Value::Number(digits)) = self.member(name) else { return Err(self.missing(name)) };
        digits.parse().map_err(|_| self.missing(name))
    }

    /// False where it is not said. Some schemas write it as text.
    fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.member(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::Text(flag)) if flag == "true" || flag == "false" => Ok(flag == "true"),
            Some(_) => Err(self.missing(name)),
        }
    }

    fn versions(&self, name: &'static str) -> Result<Versions, Problem> {
        let text = self.text(name)?;
        Versions::parse(text).ok_or_else(|| Problem::Versions { text: text.to_owned(), of: self.of.to_owned() })
    }
}
