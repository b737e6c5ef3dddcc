//! The project's own tasks. `cargo xtask tidy` checks the rules of the house style that a program
//! can check, `cargo xtask test-repeat` finds tests that pass by luck, and `cargo xtask planted`
//! finds proofs that miss the bug that they should find.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks through them")]

mod arrows;
mod finding;
mod import_cycles;
mod manifests;
mod planted;
mod prose;
mod sessions;
mod sources;
mod test_repeat;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::finding::Finding;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let root = Path::new(".");
    let outcome = match task.as_str() {
        "tidy" => report(root),
        "test-repeat" => test_repeat::Options::parse(arguments).and_then(|options| test_repeat::run(root, &options)),
        "planted" => planted::run(root, arguments),
        other => {
            let (repeat, planted) = (test_repeat::USAGE, planted::USAGE);
            Err(anyhow::anyhow!("there is no task '{other}'; there are: tidy, {repeat}, {planted}"))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report(root: &Path) -> Result<()> {
    let findings = tidy(root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    ensure!(findings.is_empty(), "tidy: {} findings", findings.len());
    println!("tidy: the tree holds to the house rules");
    Ok(())
}

/// Every finding in the workspace at `root`, in the order of its files.
fn tidy(root: &Path) -> Result<Vec<Finding>> {
    let members = manifests::members(root).context("reading the workspace")?;
    let mut findings = Vec::new();
    for member in &members {
        findings.extend(manifests::check(member));
        findings.extend(arrows::check(member));
        findings.extend(arrows::check_test_feature(member));
        findings.extend(arrows::check_words(root, member)?);
        findings.extend(sources::check(root, member)?);
        findings.extend(import_cycles::check(root, member)?);
        findings.extend(manifests::check_use(root, member)?);
        findings.extend(prose::check(root, member)?);
        findings.extend(sessions::check(root, member)?);
    }
    findings.extend(arrows::check_shared_test_feature(root)?);
    findings.extend(manifests::check_shared(root, &members)?);
    findings.extend(arrows::check_table(&members));
    findings.extend(sources::check_readmes(root, &members));
    findings.extend(prose::check_pages(root)?);
    findings.sort();
    Ok(findings)
}

#[cfg(test)]
mod tests;
