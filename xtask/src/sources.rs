//! Checks the source files: their sizes, their names, their opening lines, and the absence of a few
//! words.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::finding::Finding;
use crate::manifests::Member;

/// The most lines in a file: a longer one describes two nouns. Files of tests count as well.
const LINES_MAX: usize = 1_000;
const README_LINES_MAX: usize = 20;

/// File names that say nothing about the content.
const EMPTY_NAMES: &[&str] =
    &["common", "util", "utils", "helper", "helpers", "misc", "manager", "impl", "stuff", "base"];

/// Modules that only tests and fuzz targets need: a shipped build does not contain them.
const RIGS: &[&str] = &["fuzzing", "testing"];

/// Text that must not occur in code, each with its remedy. Each text is split, so that this file
/// does not contain it.
const BANNED: &[(&str, &str)] = &[
    (concat!("to", "do!("), "an unfinished path returns a typed error and is not advertised"),
    (concat!("unimpl", "emented!("), "an unfinished path returns a typed error and is not advertised"),
    (concat!("#[ig", "nore"), "a test that is not run proves nothing: make it fast, or delete it"),
    (concat!("allow(dead", "_code"), "delete what nothing uses"),
    (GETTER, "name the thing: no get_ prefix"),
];
const GETTER: &str = concat!("fn ge", "t_");

pub fn check(root: &Path, member: &Member) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, text) in texts(root, member)? {
        findings.extend(check_name(&path));
        findings.extend(check_text(&path, &text));
    }
    Ok(findings)
}

/// Each source file of the crate, by its path from `root`.
pub fn texts(root: &Path, member: &Member) -> Result<Vec<(String, String)>> {
    let read = |file: PathBuf| {
        let path = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let text = fs::read_to_string(&file).with_context(|| format!("reading {path}"))?;
        Ok((path, text))
    };
    rust_files(&root.join(&member.folder))?.into_iter().map(read).collect()
}

fn check_name(path: &str) -> Option<Finding> {
    let file = Path::new(path);
    let stem = file.file_stem()?.to_str()?;
    if EMPTY_NAMES.contains(&stem) {
        return Some(Finding::of_file(path, format!("'{stem}' names nothing: call the file after the noun in it")));
    }
    // In a crate's folder `tests`, Cargo takes any file but `mod.rs` for a test of its own.
    let has_folder = |name: &str| file.components().any(|part| part.as_os_str() == name);
    if stem == "mod" && (has_folder("src") || !has_folder("tests")) {
        return Some(Finding::of_file(path, "one style of modules: `name.rs` beside the folder `name`"));
    }
    let numbered = stem.ends_with(|last: char| last.is_ascii_digit()) && !has_folder("tests");
    numbered.then(|| Finding::of_file(path, "a trailing digit is no name: say what differs"))
}

fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings
            .push(Finding::of_file(path, format!("{lines} lines: split at the second noun ({LINES_MAX} is the most)")));
    }
    // A module of tests is described in the file that it tests.
    let is_test_module = path.ends_with("/tests.rs") || path.contains("/tests/");
    if !text.starts_with("//!") && !is_test_module {
        findings.push(Finding::of_file(path, "open the file with `//!`: what it is for, and what it does not do"));
    }
    let mut is_trait_impl = false;
    let mut before = "";
    for (index, line) in text.lines().enumerate() {
        if is_rig(line) && !before.starts_with("#[cfg(") {
            let message = "a rig of tests is compiled on demand: `#[cfg(..)]` goes on the line before it";
            findings.push(Finding { path: path.to_owned(), line: index + 1, message: message.to_owned() });
        }
        before = line.trim_start();
        if line.starts_with("impl") {
            is_trait_impl = line.contains(" for ");
        }
        for (word, remedy) in BANNED {
            // A trait of another crate may require such a name.
            let is_given_name = is_trait_impl && *word == GETTER;
            if line.contains(word) && !is_given_name {
                findings.push(Finding {
                    path: path.to_owned(),
                    line: index + 1,
                    message: format!("`{word}`: {remedy}"),
                });
            }
        }
    }
    findings
}

fn is_rig(line: &str) -> bool {
    let module =
        line.trim_start().trim_start_matches("pub ").strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
    module.is_some_and(|module| RIGS.contains(&module))
}

/// Checks that each top-level folder of crates has a short README, which names them in reading
/// order.
pub fn check_readmes(root: &Path, members: &[Member]) -> Vec<Finding> {
    let tops: BTreeSet<&str> =
        members.iter().map(|member| member.folder.split('/').next().unwrap_or_default()).collect();
    tops.into_iter()
        .filter_map(|top| {
            let path = format!("{top}/README.md");
            match fs::read_to_string(root.join(&path)) {
                Err(_) => Some(Finding::of_file(&path, "missing: name what is in the folder, in reading order")),
                Ok(text) if text.lines().count() > README_LINES_MAX => {
                    Some(Finding::of_file(&path, format!("over {README_LINES_MAX} lines: the rest belongs in docs/")))
                }
                Ok(_) => None,
            }
        })
        .collect()
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir()
                && !matches!(name, "target" | "node_modules" | "fixtures" | "corpus")
                && !name.starts_with('.')
            {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn mod_files_are_allowed_only_in_the_folder_tests_beside_src() {
        assert!(check_name("wal/tests/fixture/mod.rs").is_none());
        for file in ["wal/src/tests/fixture/mod.rs", "wal/src/disk/mod.rs"] {
            assert!(check_name(file).is_some(), "{file}");
        }
    }
}
