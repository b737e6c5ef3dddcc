//! Checks the prose of comments and of Markdown pages: the width of comments, and sentences that
//! open with "Of", whose subject a reader meets only after several clauses.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::finding::Finding;
use crate::manifests::Member;
use crate::sources;

/// The most columns of a comment line. Longer lines of prose are hard to read.
const COMMENT_COLUMNS_MAX: usize = 100;
/// The pages that are checked, and the folders whose pages are.
const PAGES: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "docs", "docs/formats"];
const OPENING: &str = "a sentence opens with 'Of': begin with its subject";

pub fn check(root: &Path, member: &Member) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, text) in sources::texts(root, member)? {
        findings.extend(check_comment_width(&path, &text));
        findings.extend(check_openings(&path, &comments(&text)));
    }
    Ok(findings)
}

/// Checks the Markdown pages of the workspace, except decision records: those are not edited.
pub fn check_pages(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut check = |path: &str| -> Result<()> {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))?;
        findings.extend(check_openings(path, &text.lines().map(str::trim_start).collect::<Vec<_>>()));
        Ok(())
    };
    for page in PAGES {
        let place = root.join(page);
        if place.is_file() {
            check(page)?;
        } else if place.is_dir() {
            for entry in fs::read_dir(&place).with_context(|| format!("listing {page}"))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                    check(&format!("{page}/{name}"))?;
                }
            }
        }
    }
    Ok(findings)
}

/// Finds lines of comments that are too wide. Fenced blocks, tables and links cannot be wrapped.
fn check_comment_width(path: &str, text: &str) -> Vec<Finding> {
    let mut is_fenced = false;
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(comment) = comment(line) else {
            is_fenced = false;
            continue;
        };
        is_fenced ^= comment.starts_with("```");
        let is_whole = is_fenced || comment.starts_with('|') || comment.contains("://");
        if line.chars().count() > COMMENT_COLUMNS_MAX && !is_whole {
            let message = format!("a comment is wrapped at {COMMENT_COLUMNS_MAX} columns");
            findings.push(Finding { path: path.to_owned(), line: index + 1, message });
        }
    }
    findings
}

/// Finds sentences that open with "Of" in lines of prose. An empty line ends a paragraph, so the
/// next line begins a sentence.
fn check_openings(path: &str, lines: &[&str]) -> Vec<Finding> {
    let mut is_at_start = true;
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let line = line.trim_end();
        let prose = line.trim_start_matches(['-', '*', '|', '>', ' ']);
        let opens = (is_at_start || prose.len() < line.len()) && prose.starts_with("Of ");
        if opens || [". Of ", ": Of ", "? Of ", "; Of ", "| Of "].iter().any(|opening| line.contains(opening)) {
            findings.push(Finding { path: path.to_owned(), line: index + 1, message: OPENING.to_owned() });
        }
        is_at_start = line.is_empty() || line.ends_with(['.', '?', ':', '!']);
    }
    findings
}

/// The text of each line's comment; empty for a line of code.
fn comments(text: &str) -> Vec<&str> {
    text.lines().map(|line| comment(line).unwrap_or_default()).collect()
}

/// The text of a line that is a comment and nothing else.
fn comment(line: &str) -> Option<&str> {
    let comment = line.trim_start().strip_prefix("//")?;
    Some(comment.trim_start_matches(['/', '!']).trim_start())
}
