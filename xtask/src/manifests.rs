//! Reads the workspace's manifests, and checks that each member inherits the shared lints and
//! versions, and that every dependency is used.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::finding::Finding;
use crate::sources;

/// What a crate links for its features alone, so that no source names it.
const LINKED_FOR_FEATURES: &[(&str, &str)] = &[("bench", "rdkafka-sys")];

/// One crate of the workspace.
#[derive(Debug)]
pub struct Member {
    /// Folder from the workspace's root, as in `engine/core`.
    pub folder: String,
    pub manifest: Table,
}

impl Member {
    /// The names of its dependencies: those of its code and its build, or with `dev` those that
    /// only its tests have.
    pub fn dependencies(&self, dev: bool) -> BTreeSet<&str> {
        let sections: &[&str] = if dev { &["dev-dependencies"] } else { &["dependencies", "build-dependencies"] };
        let tables = sections.iter().filter_map(|section| self.manifest.get(*section).and_then(Value::as_table));
        tables.flat_map(|table| table.keys().map(String::as_str)).collect()
    }

    /// The dependencies of its code and its build that turn on this feature of theirs.
    pub fn dependencies_with(&self, feature: &str) -> Vec<&str> {
        let sections = ["dependencies", "build-dependencies"];
        let tables = sections.iter().filter_map(|section| self.manifest.get(*section).and_then(Value::as_table));
        tables.flat_map(|table| with_feature(table, feature)).collect()
    }

    /// Its features that turn on one of this name, its own or that of a dependency.
    pub fn features_with(&self, feature: &str) -> Vec<&str> {
        let turns_on = |item: &Value| item.as_str().is_some_and(|item| item.rsplit('/').next() == Some(feature));
        let features = self.manifest.get("features").and_then(Value::as_table).into_iter().flatten();
        let features = features.filter(|(_, items)| items.as_array().is_some_and(|items| items.iter().any(turns_on)));
        features.map(|(name, _)| name.as_str()).collect()
    }

    pub fn manifest_path(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }

    fn takes(&self, dependency: &str) -> bool {
        self.dependencies(false).contains(dependency) || self.dependencies(true).contains(dependency)
    }
}

/// The dependencies in a table that turn on this feature of theirs.
fn with_feature<'a>(dependencies: &'a Table, feature: &str) -> impl Iterator<Item = &'a str> {
    dependencies.iter().filter_map(move |(name, value)| {
        let features = value.get("features").and_then(Value::as_array)?;
        features.iter().any(|known| known.as_str() == Some(feature)).then_some(name.as_str())
    })
}

/// The dependencies of `[workspace.dependencies]` that turn on this feature for all members.
pub fn shared_with(root: &Path, feature: &str) -> Result<Vec<String>> {
    let workspace = read(&root.join("Cargo.toml"))?;
    let shared = workspace.get("workspace").and_then(|table| table.get("dependencies")).and_then(Value::as_table);
    Ok(shared.into_iter().flat_map(|table| with_feature(table, feature)).map(str::to_owned).collect())
}

pub fn members(root: &Path) -> Result<Vec<Member>> {
    let workspace = read(&root.join("Cargo.toml"))?;
    let folders = workspace.get("workspace").and_then(|table| table.get("members")).and_then(Value::as_array);
    let folders = folders.context("Cargo.toml names no workspace members")?;
    folders
        .iter()
        .map(|folder| {
            let folder = folder.as_str().context("a workspace member is not a string")?.to_owned();
            let manifest = read(&root.join(&folder).join("Cargo.toml"))?;
            Ok(Member { folder, manifest })
        })
        .collect()
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.parse().with_context(|| format!("parsing {}", path.display()))
}

pub fn check(member: &Member) -> Vec<Finding> {
    let path = member.manifest_path();
    let mut findings = Vec::new();
    let inherits = |section: &str, key: &str| {
        let value = member.manifest.get(section).and_then(|table| table.get(key));
        value.and_then(|value| value.get("workspace").or(Some(value))) == Some(&Value::Boolean(true))
    };
    if !inherits("lints", "workspace") {
        findings.push(Finding::of_file(&path, "add `[lints] workspace = true`"));
    }
    for key in ["version", "edition", "license"] {
        if !inherits("package", key) {
            findings.push(Finding::of_file(&path, format!("write `{key}.workspace = true`")));
        }
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(table) = member.manifest.get(section).and_then(Value::as_table) else { continue };
        for (name, value) in table {
            if value.get("workspace") != Some(&Value::Boolean(true)) {
                let message = format!("take `{name}` from [workspace.dependencies]: `{name}.workspace = true`");
                findings.push(Finding::of_file(&path, message));
            }
        }
    }
    findings
}

/// Dependencies of the crate that no source of it names.
pub fn check_use(root: &Path, member: &Member) -> Result<Vec<Finding>> {
    let texts = sources::texts(root, member)?;
    let is_named = |dependency: &str| {
        let name = dependency.replace('-', "_");
        texts.iter().any(|(_, text)| text.contains(&name))
    };
    let all = [member.dependencies(false), member.dependencies(true)].into_iter().flatten();
    let unused = all.filter(|dependency: &&str| {
        !is_named(dependency) && !LINKED_FOR_FEATURES.contains(&(member.folder.as_str(), *dependency))
    });
    let finding = |dependency| {
        Finding::of_file(&member.manifest_path(), format!("no source names `{dependency}`: remove the dependency"))
    };
    Ok(unused.map(finding).collect())
}

/// Shared versions that no member takes.
pub fn check_shared(root: &Path, members: &[Member]) -> Result<Vec<Finding>> {
    let workspace = read(&root.join("Cargo.toml"))?;
    let shared = workspace.get("workspace").and_then(|table| table.get("dependencies")).and_then(Value::as_table);
    let is_taken = |name: &str| members.iter().any(|member| member.takes(name));
    let unused = shared.into_iter().flat_map(Table::keys).filter(|name| !is_taken(name));
    Ok(unused.map(|name| Finding::of_file("Cargo.toml", format!("no crate takes `{name}`: remove it"))).collect())
}
