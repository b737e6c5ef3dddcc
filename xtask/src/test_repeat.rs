//! Runs test binaries again and again: a test that passes by luck fails sooner or later. Stops at
//! the first failure, and names the binary and the round.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::manifests::{self, Member};

pub const USAGE: &str = "test-repeat [--times N] [--only NAME,..] [--touched] [--within SECONDS]";

#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub times: u32,
    /// Names of test binaries (`rolling_cold_reads`), of crates (`rustmq-engine-shard`) or of
    /// folders (`engine/shard`). Empty for all.
    pub only: Vec<String>,
    /// Runs only crates with files that differ from the base of this branch on `origin/main`, or,
    /// on `origin/main` itself, from the parent of the last commit.
    pub touched: bool,
    /// Starts no run that would end later than this, if it takes as long as the last run of its
    /// binary.
    pub within: Option<Duration>,
}

impl Options {
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self { times: 30, only: Vec::new(), touched: false, within: None };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} wants a value: {USAGE}"));
            match argument.as_str() {
                "--times" => options.times = value()?.parse().context("--times wants a number")?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--touched" => options.touched = true,
                "--within" => {
                    let seconds = value()?.parse().context("--within wants a number of seconds")?;
                    options.within = Some(Duration::from_secs(seconds));
                }
                _ => bail!("there is no option '{argument}': {USAGE}"),
            }
        }
        Ok(options)
    }
}

/// A built test binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestBinary {
    pub name: String,
    pub package: String,
    /// The crate's folder, in which its tests run, as under cargo.
    pub folder: PathBuf,
    pub executable: PathBuf,
}

impl TestBinary {
    fn is_named(&self, root: &Path, name: &str) -> bool {
        self.name == name || self.package == name || self.folder == root.join(name)
    }
}

pub fn run(root: &Path, options: &Options) -> Result<()> {
    let root = &root.canonicalize().context("finding the workspace")?;
    let mut binaries = build()?;
    for name in &options.only {
        ensure!(binaries.iter().any(|binary| binary.is_named(root, name)), "no test binary or crate is named '{name}'");
    }
    if !options.only.is_empty() {
        binaries.retain(|binary| options.only.iter().any(|name| binary.is_named(root, name)));
    }
    if options.touched {
        let touched = touched(&manifests::members(root)?, &changed_files()?);
        binaries.retain(|binary| touched.iter().any(|folder| binary.folder == root.join(folder)));
        println!("test-repeat: touched are {}", touched.into_iter().collect::<Vec<_>>().join(", "));
    }
    repeat(&binaries, options)
}

/// Runs every binary once per round, so that a bound on the time omits none while it repeats
/// others.
fn repeat(binaries: &[TestBinary], options: &Options) -> Result<()> {
    let begun = Instant::now();
    let mut last = vec![Duration::ZERO; binaries.len()];
    let mut runs = vec![0_u32; binaries.len()];
    for round in 1..=options.times {
        for (at, binary) in binaries.iter().enumerate() {
            if options.within.is_some_and(|within| begun.elapsed() + last[at] > within) {
                continue;
            }
            let started = Instant::now();
            run_once(binary, round)?;
            last[at] = started.elapsed();
            runs[at] += 1;
        }
    }
    for (binary, runs) in binaries.iter().zip(runs) {
        println!("test-repeat: {} of {}: {runs} runs", binary.name, binary.package);
    }
    println!("test-repeat: no failure in {} s", begun.elapsed().as_secs());
    Ok(())
}

fn run_once(binary: &TestBinary, round: u32) -> Result<()> {
    let output = Command::new(&binary.executable).current_dir(&binary.folder).output();
    let output = output.with_context(|| format!("starting {}", binary.executable.display()))?;
    if !output.status.success() {
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{} of {} failed in round {round}: {}", binary.name, binary.package, output.status);
    }
    Ok(())
}

/// Builds all tests with the workspace's features, as `make test` does, and lists them.
fn build() -> Result<Vec<TestBinary>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["test", "--release", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    let output = Command::new(cargo).args(arguments).stderr(std::process::Stdio::inherit()).output();
    let output = output.context("running cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not text")?;
    let mut binaries = messages.lines().filter_map(|line| test_binary(line).transpose()).collect::<Result<Vec<_>>>()?;
    binaries.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    Ok(binaries)
}

/// The test binary that a message of cargo describes, if it describes one.
fn test_binary(message: &str) -> Result<Option<TestBinary>> {
    let message: Value = serde_json::from_str(message).context("reading cargo's messages")?;
    let (Some(executable), Some(true)) = (message["executable"].as_str(), message["profile"]["test"].as_bool()) else {
        return Ok(None);
    };
    let name = message["target"]["name"].as_str().context("a test binary without a name")?;
    let manifest = message["manifest_path"].as_str().context("a test binary without a manifest")?;
    let folder = Path::new(manifest).parent().context("a manifest without a folder")?;
    let manifest: toml::Table = std::fs::read_to_string(manifest).context("reading a manifest")?.parse()?;
    let package = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    Ok(Some(TestBinary {
        name: name.to_owned(),
        package: package.context("a package without a name")?.to_owned(),
        folder: folder.to_owned(),
        executable: executable.into(),
    }))
}

/// The files that differ from the base, uncommitted ones included.
fn changed_files() -> Result<Vec<String>> {
    let head = git(&["rev-parse", "HEAD"])?;
    let base = git(&["merge-base", "HEAD", "origin/main"]).ok().filter(|base| *base != head);
    // The first commit has no parent: all of its files are new.
    let parent = || git(&["rev-parse", "HEAD~1"]).ok();
    let files = match base.or_else(parent) {
        Some(base) => git(&["diff", "--name-only", base.trim()])?,
        None => git(&["ls-files"])?,
    };
    Ok(files.lines().map(str::to_owned).collect())
}

fn git(arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).output().context("running git")?;
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("git's answer is not text")
}

/// The folders of the crates that the files belong to.
fn touched(members: &[Member], files: &[String]) -> BTreeSet<String> {
    let owner = |file: &String| {
        let folders = members.iter().map(|member| &member.folder);
        folders.filter(|folder| Path::new(file).starts_with(folder)).max_by_key(|folder| folder.len()).cloned()
    };
    files.iter().filter_map(owner).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::{Options, TestBinary, repeat, test_binary, touched};
    use crate::manifests::Member;

    fn options(arguments: &str) -> anyhow::Result<Options> {
        Options::parse(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let all = options("--times 10 --only a,engine/shard --touched --within 300").unwrap();
        let only = vec!["a".to_owned(), "engine/shard".to_owned()];
        assert_eq!(all, Options { times: 10, only, touched: true, within: Some(Duration::from_secs(300)) });
        assert_eq!(options("").unwrap().times, 30);
        for wrong in ["--times", "--times x", "--often", "rolling"] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_touches_the_innermost_crate_that_it_is_in() {
        let member = |folder: &str| Member { folder: folder.to_owned(), manifest: toml::Table::new() };
        let members = [member("engine/core"), member("engine/core/tools"), member("node")];
        let files =
            ["engine/core/src/lib.rs", "engine/core/tools/Cargo.toml", "README.md", "nodes/x"].map(str::to_owned);
        let found: Vec<_> = touched(&members, &files).into_iter().collect();
        assert_eq!(found, ["engine/core", "engine/core/tools"]);
    }

    #[test]
    fn cargos_messages_name_the_test_binaries() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let message = |test: bool| {
            serde_json::json!({ "executable": "/x/tidy-1", "profile": { "test": test }, "target": { "name": "tidy" }, "manifest_path": manifest })
                .to_string()
        };
        let found = test_binary(&message(true)).unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.package.as_str()), ("tidy", "rustmq-xtask"));
        assert!(found.is_named(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap(), "xtask"));
        assert_eq!(test_binary(&message(false)).unwrap(), None);
        assert_eq!(test_binary(r#"{"reason":"build-finished"}"#).unwrap(), None);
    }

    #[test]
    fn the_first_failure_ends_it_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let binary = |name: &str, executable: &str| TestBinary {
            name: name.to_owned(),
            package: "some".to_owned(),
            folder: folder.path().to_owned(),
            executable: PathBuf::from(executable),
        };
        let sound = binary("sound", "/bin/true");
        let all = options("--times 3").unwrap();
        repeat(std::slice::from_ref(&sound), &all).unwrap();
        let error = repeat(&[sound, binary("unsound", "/bin/false")], &all).unwrap_err().to_string();
        assert!(error.contains("unsound of some failed in round 1"), "{error}");
    }
}
