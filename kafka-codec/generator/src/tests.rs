#![allow(clippy::unwrap_used)]

use crate::schema::{Direction, Problem};
use crate::{Source, Versions, generate, read};

/// A request whose fields stand for all that a schema can say, and its response.
fn sources(fields: &str) -> Vec<Source> {
    let message = |kind: &str, name: &str, fields: &str| Source {
        name: format!("{name}.json"),
        text: format!(
            "// A licence.\n{{ \"apiKey\": 7, \"type\": \"{kind}\", \"name\": \"{name}\", \"validVersions\": \"1-5\",
              \"flexibleVersions\": \"3+\", \"fields\": [{fields}],
              \"commonStructs\": [{{ \"name\": \"Place\", \"fields\": [
                {{ \"name\": \"Port\", \"type\": \"uint16\", \"versions\": \"0+\" }}] }}] }}"
        ),
    };
    vec![message("response", "MoveResponse", ""), message("request", "MoveRequest", fields)]
}

fn field(members: &str) -> String {
    format!("{{ \"name\": \"Field\", {members} }}")
}

/// The code of one structure's trait, without its layout.
fn code(fields: &str, implemented: &str) -> String {
    let code = generate(&sources(fields)).unwrap();
    let begin = code.find(&format!("impl {implemented} {{")).unwrap_or_else(|| panic!("{implemented} in {code}"));
    let code = &code[begin..];
    let code = &code[..code.find("\n}\n}\n").unwrap()];
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn problem(fields: &str) -> Problem {
    generate(&sources(fields)).unwrap_err().problem
}

/// What reads the field, and what writes it.
fn check(members: &str, read: &str, written: &str) {
    let field = field(members);
    let decoder = code(&field, "Decode for MoveRequest");
    assert!(decoder.contains(read), "{members}: {read}\nin {decoder}");
    let encoder = code(&field, "Encode for MoveRequest");
    assert!(encoder.contains(written), "{members}: {written}\nin {encoder}");
}

#[test]
fn each_type_is_read_and_written_by_its_own_method() {
    for (kind, method) in [
        ("bool", "boolean"),
        ("int8", "int8"),
        ("int16", "int16"),
        ("uint16", "uint16"),
        ("int32", "int32"),
        ("int64", "int64"),
        ("float64", "float64"),
        ("uuid", "uuid"),
    ] {
        let members = format!("\"type\": \"{kind}\", \"versions\": \"0+\"");
        check(&members, &format!("field: r.{method}(\"field\")?,"), &format!("w.{method}(self.field);"));
    }
    let typed = |kind: &str| format!("\"type\": \"{kind}\", \"versions\": \"0+\"");
    check(&typed("string"), "field: r.text(\"field\")?,", "w.text(\"field\", &self.field)?;");
    check(&typed("bytes"), "field: r.bytes(\"field\")?,", "w.nullable_bytes(\"field\", Some(&self.field))?;");
    check(&typed("Place"), "field: Place::decode(r)?,", "Encode::encode(&self.field, w)?;");
    let list = "w.list(\"field\", &self.field, |w, it| { w.int32(*it); Ok(()) })?;";
    check(&typed("[]int32"), "field: r.list(\"field\", |r| r.int32(\"field\"))?,", list);
    let list = "w.list(\"field\", &self.field, |w, it| { Encode::encode(it, w)?; Ok(()) })?;";
    check(&typed("[]Place"), "field: r.list(\"field\", |r| Place::decode(r))?,", list);
}

#[test]
fn records_are_views_and_other_bytes_only_where_the_schema_asks() {
    check("\"type\": \"records\", \"versions\": \"0+\"", "field: r.view(\"field\")?,", "w.nullable_bytes(");
    check("\"type\": \"bytes\", \"versions\": \"0+\", \"zeroCopy\": true", "r.view(\"field\")?,", "w.nullable_bytes(");
    let mut sources = sources("");
    let response = field("\"type\": \"records\", \"versions\": \"0+\", \"nullableVersions\": \"0+\"");
    sources[0].text = sources[0].text.replace("\"fields\": []", &format!("\"fields\": [{response}]"));
    let code = generate(&sources).unwrap();
    assert!(code.contains("pub field: Option<Vec<Bytes>>,"), "{code}");
    assert!(code.contains("w.nullable_records(\"field\", self.field.as_deref())?;"), "{code}");
    assert!(code.contains("field: r.nullable_view(\"field\")?.map(|view| vec![view]),"), "{code}");
}

#[test]
fn a_field_is_read_and_written_in_its_versions_and_else_at_its_default() {
    let members = |versions: &str| format!("\"type\": \"int32\", \"versions\": \"{versions}\", \"default\": \"-1\"");
    let lost = "else if differs(&self.field, &-1) { return Err(w.not_in_version(\"field\")); }";
    for (versions, condition) in
        [("2+", "version >= 2"), ("0-3", "version <= 3"), ("2-4", "(2..=4).contains(&version)"), ("5", "version >= 5")]
    {
        let read = format!("field: if {condition} {{ r.int32(\"field\")? }} else {{ -1 }},");
        check(&members(versions), &read, &format!("if {condition} {{ w.int32(self.field); }} {lost}"));
    }
    check(
        &members("0-5"),
        "field: r.int32(\"field\")?,",
        "let version = w.version(); w.int32(self.field); w.tag_count",
    );
    let ignorable = format!("{}, \"ignorable\": true", members("2+"));
    check(&ignorable, "version >= 2", "if version >= 2 { w.int32(self.field); } w.tag_count(0);");
    assert!(!generate(&sources(&field(&members("6+")))).unwrap().contains("pub field"), "no version has it");
}

#[test]
fn null_is_refused_in_versions_that_do_not_allow_it() {
    let members = |nullable: &str| {
        format!(
            "\"type\": \"string\", \"versions\": \"0+\", \"nullableVersions\": \"{nullable}\", \"default\": \"null\""
        )
    };
    let write = "w.nullable_text(\"field\", self.field.as_deref())?;";
    check(&members("0+"), "field: r.nullable_text(\"field\")?,", &format!("let version = w.version(); {write}"));
    let refused = format!("if self.field.is_none() && !(version >= 4) {{ return Err(w.null(\"field\")); }} {write}");
    check(&members("4+"), "field: null_if(version >= 4, \"field\", r.nullable_text(\"field\")?)?,", &refused);
    let structure = "\"type\": \"Place\", \"versions\": \"0+\", \"nullableVersions\": \"0+\", \"default\": \"null\"";
    check(structure, "r.nullable_structure(\"field\")?,", "w.nullable_structure(self.field.as_ref())?;");
    let list = "\"type\": \"[]string\", \"versions\": \"0+\", \"nullableVersions\": \"0+\"";
    check(
        list,
        "r.nullable_list(\"field\", |r| r.text(\"field\"))?,",
        "w.nullable_list(\"field\", self.field.as_deref(),",
    );
}

#[test]
fn tagged_fields_come_last_and_only_when_they_are_set() {
    let members =
        "\"type\": \"int64\", \"versions\": \"4+\", \"taggedVersions\": \"4+\", \"tag\": 2, \"default\": \"-1\"";
    let write = "let has_2 = version >= 4 && differs(&self.field, &-1); if version >= 4 { } \
                 else if differs(&self.field, &-1) { return Err(w.not_in_version(\"field\")); } \
                 w.tag_count(usize::from(has_2)); if has_2 { w.tagged(2, |w| { w.int64(self.field); Ok(()) })?; }";
    check(members, "match tag { 2 if version >= 4 => it.field = r.int64(\"field\")?, _ => return Ok(false), }", write);
    let inflexible = members.replace("4+", "2+");
    assert_eq!(problem(&field(&inflexible)), Problem::TaggedVersions { field: "Field".to_owned() });
    let partly = members.replace("\"versions\": \"4+\"", "\"versions\": \"3+\"");
    assert_eq!(problem(&field(&partly)), Problem::TaggedVersions { field: "Field".to_owned() });
}

#[test]
fn a_structure_has_the_versions_that_use_it() {
    let inner = "\"fields\": [{ \"name\": \"Port\", \"type\": \"int32\", \"versions\": \"3+\" }]";
    let old = format!("\"type\": \"Inner\", \"versions\": \"1-2\", {inner}");
    let new = format!("\"type\": \"Inner\", \"versions\": \"4+\", {inner}");
    assert!(generate(&sources(&field(&old))).unwrap().contains("pub struct Inner {\n}"), "no version has its field");
    check(&new, "if version >= 4 { Inner::decode(r)? }", "if version >= 4 { Encode::encode(&self.field, w)?; }");
    assert!(code(&field(&new), "Decode for Inner").contains("port: r.int32(\"port\")?,"), "each version has it");
    let message = &read(&sources(&field(&new))).unwrap()[0];
    assert_eq!(
        (message.direction, message.structures[1].versions),
        (Direction::Request, Versions { first: 4, last: 5 })
    );
}

#[test]
fn what_the_generator_does_not_know_is_refused() {
    let (of, member) = ("Field".to_owned(), "compressed".to_owned());
    let unknown = field("\"type\": \"int32\", \"versions\": \"0+\", \"compressed\": true");
    assert_eq!(problem(&unknown), Problem::Unknown { member, of: of.clone() });
    let mistyped = Problem::Type { text: "int33".to_owned(), field: of.clone() };
    assert_eq!(problem(&field("\"type\": \"int33\", \"versions\": \"0+\"")), mistyped);
    let versions = Problem::Versions { text: "3-1".to_owned(), of: of.clone() };
    assert_eq!(problem(&field("\"type\": \"int32\", \"versions\": \"3-1\"")), versions);
    let default = Problem::Default { text: "some".to_owned(), field: of.clone() };
    assert_eq!(problem(&field("\"type\": \"string\", \"versions\": \"0+\", \"default\": \"some\"")), default);
    let missing = Problem::Missing { member: "versions", of };
    assert_eq!(problem(&field("\"type\": \"int32\"")), missing);
    let structure = Problem::Structure { name: "Elsewhere".to_owned() };
    assert_eq!(problem(&field("\"type\": \"Elsewhere\", \"versions\": \"0+\"")), structure);
    let mut sources = sources("");
    sources[0].text = sources[0].text.replace("1-5", "1-4");
    let error = generate(&sources).unwrap_err();
    assert_eq!((error.schema.as_str(), error.problem), ("MoveRequest", Problem::Unpaired));
}

#[test]
fn the_table_of_apis_names_what_the_schemas_say() {
    let code = generate(&sources("")).unwrap();
    assert!(code.contains("\nMove 7 1 5 3 false MoveRequest MoveResponse;\n"), "{code}");
}
