//! `planted [NAME...]`: shows that the crash and the power-cut test fail when they must. Each patch in `compat-tests/planted` puts one
//! bug into a scratch copy of the tree; the broker built from it must break promises that the crash test finds, or the test that the patch
//! names in a line `Found by: TEST`. The copy's crates have a version of their own, and its broker a name, so that nothing built from it takes
//! the place of the real one in the target folder that they share.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// More than a sound run needs to find nothing.
const ROUNDS: &str = "40";

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in the repository")?;
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut tried = 0;
    for entry in fs::read_dir(root.join("compat-tests/planted"))? {
        let patch = entry?.path();
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if names.is_empty() || names.contains(&name) {
            println!("{name}: {}", try_patch(root, &patch).with_context(|| name.clone())?);
            tried += 1;
        }
    }
    ensure!(tried > 0, "no planted bug of that name");
    Ok(())
}

/// What the test said about the bug.
fn try_patch(root: &Path, patch: &Path) -> Result<String> {
    // One tree for all bugs: what is the same in the next one is not compiled again.
    let tree = std::env::temp_dir().join("rustmq-planted");
    copy(root, &tree)?;
    let planted = "rustmq-planted";
    run(Command::new("patch").args(["-p1", "-i"]).arg(patch).current_dir(&tree))?;
    replace(&tree.join("node/Cargo.toml"), "name = \"rustmq\"\n", &format!("name = \"{planted}\"\n"))?;
    // Cargo tells a workspace's crates apart by name, version and path within the workspace, not by where the workspace lies.
    replace(&tree.join("Cargo.toml"), "\nversion = \"0.1.0\"\n", "\nversion = \"0.1.0-planted\"\n")?;
    let target = target_folder(root);
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--bin", planted, "--target-dir"]).arg(&target);
    run(build.current_dir(&tree))?;
    let text = fs::read_to_string(patch)?;
    let name = text.lines().find_map(|line| line.strip_prefix("Found by: ")).unwrap_or("crash");
    let mut test = Command::new("cargo");
    test.args(["test", "--release", "--test", name, "acknowledged_work"]);
    test.env("RUSTMQ_BINARY", target.join("release").join(planted)).current_dir(root);
    test.env("CRASH_ROUNDS", ROUNDS).env("POWER_CUT_ROUNDS", ROUNDS);
    let output = test.output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "the bug was not found in {ROUNDS} rounds");
    let mut lines = text.lines().skip_while(|line| !line.contains("promises are broken"));
    let Some(found) = lines.next() else { bail!("the test failed, but not by a broken promise:\n{text}") };
    Ok(format!("{found} {}", lines.next().unwrap_or_default().trim()))
}

fn replace(file: &Path, old: &str, new: &str) -> Result<()> {
    let text = fs::read_to_string(file)?;
    ensure!(text.contains(old), "{} has no {old:?}", file.display());
    Ok(fs::write(file, text.replace(old, new))?)
}

fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Copies what belongs to the repository, new files included, over what an earlier run left. What is the same keeps its time.
fn copy(root: &Path, tree: &Path) -> Result<()> {
    let listed = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root).output()?;
    ensure!(listed.status.success(), "git could not list the files");
    for file in String::from_utf8(listed.stdout)?.lines() {
        let (from, to) = (root.join(file), tree.join(file));
        // A file that was removed and not committed yet is still listed.
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        fs::write(to, bytes)?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let text = || String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, text());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proof whose bug cannot be planted any more proves nothing.
    #[test]
    fn every_planted_bug_applies_to_the_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository");
        let patches: Vec<_> = fs::read_dir(root.join("compat-tests/planted")).expect("it is there").collect();
        assert!(!patches.is_empty());
        for entry in patches {
            let patch = entry.expect("it can be listed").path();
            let mut command = Command::new("patch");
            run(command.args(["-p1", "--dry-run", "--batch", "--forward", "-i"]).arg(&patch).current_dir(root))
                .unwrap_or_else(|error| panic!("{}: {error}", patch.display()));
        }
    }
}
