//! Shows that the proofs fail when they must. Each patch in `compat-tests/planted` or `sim/planted`
//! puts one bug into a scratch copy of the tree. Its line `Found by:` names the proof that must
//! find the bug in programs built from that copy. `crash` (the default) and `power_cut` are tests,
//! which must find a broken promise of the broker. `node within N`, `cluster within N` and
//! `transactions within N` are simulations, one of whose first N seeds must fail. The copy shares
//! the target folder with the real tree; its crates have another version and its programs other
//! names, so that neither replaces the real ones.

use std::collections::BTreeSet;
use std::fs::{self, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

pub const USAGE: &str = "planted FOLDER [--of-commit | NAME...]";

/// The rounds of a test: enough that a missed bug is not mere chance.
const ROUNDS: &str = "40";
/// The number of seeds in one run of the simulation. Each run ends before its failures are read.
const SEEDS: u64 = 100;

/// Tries all bugs in the folder, or those with these names, or with `--of-commit` a single one,
/// which the commit's id selects: over many commits, every bug is tried.
pub fn run(root: &Path, mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let root = &root.canonicalize().context("finding the workspace")?;
    let mut patches = patches(&root.join(arguments.next().context(USAGE)?).join("planted"))?;
    let names: Vec<String> = arguments.collect();
    if names == ["--of-commit"] {
        let turn = commit_number(root)? % patches.len();
        patches = vec![patches.swap_remove(turn)];
    } else if !names.is_empty() {
        patches.retain(|patch| names.contains(&name(patch)));
    }
    ensure!(!patches.is_empty(), "no planted bug of that name");
    // All bugs share one tree, so that unchanged crates are compiled once.
    let tree = std::env::temp_dir().join("rustmq-planted");
    // Another run would change the tree or the program meanwhile. This run holds the lock until it
    // has tried its last bug.
    let _lock = lock(&tree.with_extension("lock"))?;
    for patch in patches {
        println!("{}: {}", name(&patch), try_patch(root, &tree, &patch).with_context(|| name(&patch))?);
    }
    Ok(())
}

/// The name of the bug that the patch plants.
fn name(patch: &Path) -> String {
    patch.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A number that is as good as random for each commit. Counting the commits would need their
/// history, which a shallow clone lacks.
fn commit_number(root: &Path) -> Result<usize> {
    let head = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root).output()?;
    ensure!(head.status.success(), "git could not name the commit");
    let head = String::from_utf8(head.stdout)?;
    usize::from_str_radix(head.get(..7).context("a commit's name is longer")?, 16)
        .context("a commit's name is a number")
}

fn patches(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = || format!("listing {}", folder.display());
    let listed = fs::read_dir(folder).with_context(listing)?;
    let mut patches = listed.map(|entry| Ok(entry.with_context(listing)?.path())).collect::<Result<Vec<_>>>()?;
    patches.sort();
    Ok(patches)
}

/// Returns how the bug was found. Fails if it was not.
fn try_patch(root: &Path, tree: &Path, patch: &Path) -> Result<String> {
    copy(root, tree)?;
    execute(Command::new("patch").args(["-p1", "-i"]).arg(patch).current_dir(tree))?;
    // Cargo identifies a workspace's crates by name, version and path within the workspace, but not
    // by the path of the workspace.
    replace(&tree.join("Cargo.toml"), "\nversion = \"0.1.0\"\n", "\nversion = \"0.1.0-planted\"\n")?;
    let text = fs::read_to_string(patch).with_context(|| format!("reading {}", patch.display()))?;
    let finder = text.lines().find_map(|line| line.strip_prefix("Found by: ")).unwrap_or("crash");
    match finder.split_once(" within ") {
        Some((scenario, seeds)) => simulate(root, tree, scenario, seeds.parse().context("a number of seeds")?),
        None => test(root, tree, finder),
    }
}

/// Locks the file, and says so if it must wait for that.
fn lock(path: &Path) -> Result<fs::File> {
    let file = fs::File::create(path).with_context(|| format!("making {}", path.display()))?;
    let locked = match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            println!("another run holds {}: waiting until it ends", path.display());
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
    };
    locked.with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// Builds the program from the copy, under another name.
fn build(root: &Path, tree: &Path, manifest: &str, name: &str) -> Result<PathBuf> {
    let planted = &format!("{name}-planted");
    let bin = |name: &str| format!("[[bin]]\nname = \"{name}\"\n");
    replace(&tree.join(manifest), &bin(name), &bin(planted))?;
    let target = target_folder(root);
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--bin", planted, "--target-dir"]).arg(&target);
    execute(build.current_dir(tree))?;
    Ok(target.join("release").join(planted))
}

fn simulate(root: &Path, tree: &Path, scenario: &str, seeds: u64) -> Result<String> {
    let simulation = build(root, tree, "sim/Cargo.toml", "rustmq-sim")?;
    for first in (0..seeds).step_by(usize::try_from(SEEDS)?) {
        let mut run = Command::new(&simulation);
        let count = SEEDS.min(seeds - first);
        let output = run.args([scenario, "--first", &first.to_string(), "--seeds", &count.to_string()]).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        if let Some((_, found)) = text.split_once("seed ") {
            return Ok(format!("found by seed {}", found.lines().take(2).collect::<Vec<_>>().join(" ")));
        }
        ensure!(output.status.success(), "the simulation failed, but not by a broken promise:\n{text}");
    }
    bail!("the bug was not found by {seeds} seeds")
}

fn test(root: &Path, tree: &Path, name: &str) -> Result<String> {
    let broker = build(root, tree, "node/Cargo.toml", "rustmq")?;
    let mut test = Command::new("cargo");
    test.args(["test", "--release", "--test", name, "acknowledged_work"]);
    test.env("RUSTMQ_BINARY", broker).current_dir(root);
    test.env("CRASH_ROUNDS", ROUNDS).env("POWER_CUT_ROUNDS", ROUNDS);
    let output = test.output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "the bug was not found in {ROUNDS} rounds");
    let mut lines = text.lines().skip_while(|line| !line.contains("promises are broken"));
    let Some(found) = lines.next() else { bail!("the test failed, but not by a broken promise:\n{text}") };
    Ok(format!("{found} {}", lines.next().unwrap_or_default().trim()))
}

fn replace(file: &Path, old: &str, new: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    ensure!(text.contains(old), "{} has no {old:?}", file.display());
    fs::write(file, text.replace(old, new)).with_context(|| format!("writing {}", file.display()))
}

fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Removes what the repository does not have, then copies its files, new ones included. Unchanged
/// files keep their modification time, so that cargo does not compile them again.
fn copy(root: &Path, tree: &Path) -> Result<()> {
    let listed = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root).output()?;
    ensure!(listed.status.success(), "git could not list the files");
    let listed = String::from_utf8(listed.stdout)?;
    // Git still lists a file whose removal is not committed.
    let files: Vec<&str> = listed.lines().filter(|file| root.join(file).is_file()).collect();
    make_folder(tree)?;
    remove_others(tree, &files.iter().map(|file| tree.join(file)).collect())?;
    for file in files {
        let (from, to) = (root.join(file), tree.join(file));
        let bytes = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        make_folder(to.parent().context("a file lies in a folder")?)?;
        fs::write(&to, bytes).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(())
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

/// Removes the files below `folder` that are not among `kept`, and the folders that are then
/// empty.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    let listing = || format!("listing {}", folder.display());
    for entry in fs::read_dir(folder).with_context(listing)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))).with_context(listing)?;
        let removing = || format!("removing {}", path.display());
        if kind.is_dir() {
            remove_others(&path, kept)?;
            if fs::read_dir(&path).with_context(removing)?.next().is_none() {
                fs::remove_dir(&path).with_context(removing)?;
            }
        } else if !kept.contains(&path) {
            fs::remove_file(&path).with_context(removing)?;
        }
    }
    Ok(())
}

fn execute(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let text = || String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, text());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_no_file_that_the_repository_has_lost() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (root, tree) = (folder.path().join("root"), folder.path().join("tree"));
        fs::create_dir_all(root.join("src")).expect("a folder can be made");
        execute(Command::new("git").args(["init", "-q"]).current_dir(&root)).expect("git works");
        // A file takes the place of a folder, and a folder that of a file.
        for names in [["wal/mod.rs", "disk"], ["wal", "disk/file.rs"], ["wal/mod.rs", "wal/disk"]] {
            fs::remove_dir_all(root.join("src")).expect("it is there");
            for name in names {
                let file = root.join("src").join(name);
                fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("a folder can be made");
                fs::write(file, name).expect("it can be written");
            }
            copy(&root, &tree).expect("it can be copied");
            let same = Command::new("diff").args(["-r", "root/src", "tree/src"]).current_dir(folder.path()).status();
            assert!(same.expect("diff works").success(), "{names:?}");
        }
    }

    /// A bug whose patch no longer applies is never tried.
    #[test]
    fn every_planted_bug_applies_to_the_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository");
        for folder in ["compat-tests/planted", "sim/planted"] {
            let patches = patches(&root.join(folder)).expect("it can be listed");
            assert!(!patches.is_empty());
            for patch in patches {
                let mut command = Command::new("patch");
                execute(command.args(["-p1", "--dry-run", "--batch", "--forward", "-i"]).arg(&patch).current_dir(root))
                    .unwrap_or_else(|error| panic!("{}: {error}", patch.display()));
            }
        }
    }
}
