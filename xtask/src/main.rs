//! The project's own tasks: `cargo xtask tidy` holds the tree against the house rules that a program can check.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks through them")]

mod arrows;
mod finding;
mod manifests;
mod sources;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::finding::Finding;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let outcome = match task.as_str() {
        "tidy" => tidy(Path::new(".")),
        other => Err(anyhow::anyhow!("there is no task '{other}'; there is: tidy")),
    };
    match outcome {
        Ok(findings) if findings.is_empty() => {
            println!("tidy: the tree holds to the house rules");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                eprintln!("{finding}");
            }
            eprintln!("tidy: {} findings", findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every finding in the workspace at `root`, in the order of its files.
fn tidy(root: &Path) -> Result<Vec<Finding>> {
    let members = manifests::members(root).context("reading the workspace")?;
    let mut findings = Vec::new();
    for member in &members {
        findings.extend(manifests::check(member));
        findings.extend(arrows::check(member));
        findings.extend(sources::check(root, member)?);
    }
    findings.extend(arrows::check_table(&members));
    findings.extend(sources::check_readmes(root, &members));
    findings.sort();
    Ok(findings)
}

#[cfg(test)]
mod tests;
