//! Reads the workspace's manifests, and checks that each member inherits the shared lints and
//! versions.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::finding::Finding;

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

    pub fn manifest_path(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
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
