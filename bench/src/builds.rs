//! Builds the broker of another commit, in a folder below the target folder, and keeps the binary
//! under the commit's id. Does not touch the work tree, nor git's own index and list of worktrees.

use crate::broker;
use anyhow::{Context, Result, ensure};
use rustmq_compat_tests::process;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A broker that was built.
#[derive(Debug)]
pub struct Build {
    /// The commit's id, abbreviated by git.
    pub commit: String,
    pub binary: PathBuf,
}

impl Build {
    pub fn title(&self) -> String {
        format!("RustMQ at {}", self.commit)
    }
}

/// The builds of one repository's commits.
#[derive(Debug)]
pub struct Builds {
    repository: PathBuf,
    /// The folder of the binaries: each lies in a folder with the full id of its commit as its
    /// name.
    folder: PathBuf,
}

impl Builds {
    /// The builds of the repository and of the target folder that this program comes from.
    pub fn here() -> Result<Builds> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in the repository")?;
        let program = env::current_exe().context("finding this program's own file")?;
        // The program is <target>/release/rustmq-bench.
        let target = program.ancestors().nth(2).context("the bench is not in a target folder")?;
        Ok(Builds { repository: repository.to_owned(), folder: target.join("bench-base") })
    }

    /// Builds a commit, named in any way that git accepts, unless its binary exists.
    pub fn of(&self, name: &str) -> Result<Build> {
        let id = self.git(&["rev-parse", "--verify", &format!("{name}^{{commit}}")]);
        let id = id.with_context(|| format!("there is no commit {name} in {}", self.repository.display()))?;
        let commit = self.git(&["rev-parse", "--short", &id])?;
        let binary = self.folder.join(&id).join("rustmq");
        // Removes the remains of a killed build: its folder is named like that of a killed run.
        broker::runs_folder(Some(&self.folder))?;
        if !binary.exists() {
            eprintln!("building RustMQ at {commit}, for some minutes; it is kept in {}", self.folder.display());
            self.make(&id, &binary).with_context(|| format!("commit {name} ({commit}) does not build"))?;
        }
        Ok(Build { commit, binary })
    }

    /// Each build has a target folder of its own. For cargo, the same crate of two commits is one
    /// crate, so it would use the output of one commit for the other.
    fn make(&self, id: &str, binary: &Path) -> Result<()> {
        let prefix = format!("{}-", std::process::id());
        let scratch = tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.folder)?;
        let [source, target] = ["source", "target"].map(|name| scratch.path().join(name));
        self.unpack(id, &source, &scratch.path().join("index"))?;
        let mut cargo = process::command("cargo");
        // Dependencies must get the same features as in `make bench`, so the whole workspace is
        // built. Its examples (there are none) enable the features that tests need.
        cargo.args(["build", "--release", "--quiet", "--workspace", "--bin", "rustmq", "--examples", "--target-dir"]);
        process::run_to_end(cargo.arg(&target).current_dir(source))?;
        fs::create_dir_all(binary.parent().context("the binary lies in a folder")?)?;
        // The rename makes the name appear at once with its whole content, even if another bench
        // builds the same commit.
        fs::rename(target.join("release/rustmq"), binary).context("keeping the binary")
    }

    /// Writes the files of a commit to the folder, through an index of their own.
    fn unpack(&self, id: &str, source: &Path, index: &Path) -> Result<()> {
        process::run_to_end(self.command(&["read-tree", id]).env("GIT_INDEX_FILE", index))?;
        // The slash makes the prefix a folder.
        let prefix = format!("--prefix={}/", source.display());
        process::run_to_end(self.command(&["checkout-index", "--all", &prefix]).env("GIT_INDEX_FILE", index))
    }

    /// Runs git on this repository, even within a hook of another repository.
    fn command(&self, words: &[&str]) -> Command {
        let mut git = Command::new("git");
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"] {
            git.env_remove(name);
        }
        git.arg("-C").arg(&self.repository).args(words);
        git
    }

    /// Returns git's output.
    fn git(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output().context("starting git")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "git {} ended with {}: {}", words.join(" "), output.status, complaint.trim());
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "[package]\nname = \"rustmq-node\"\nedition = \"2024\"\n\n[[bin]]\nname = \"rustmq\"\npath = \"main.rs\"\n";

    /// Creates a repository of one small crate, without a commit.
    fn repository(root: &Path) -> Builds {
        let builds = Builds { repository: root.join("repository"), folder: root.join("kept") };
        fs::create_dir(&builds.repository).unwrap();
        fs::write(builds.repository.join("Cargo.toml"), MANIFEST).unwrap();
        builds.git(&["init", "--quiet"]).unwrap();
        builds
    }

    fn commit(builds: &Builds, program: &str) {
        fs::write(builds.repository.join("main.rs"), program).unwrap();
        builds.git(&["add", "."]).unwrap();
        let settings =
            ["user.name=bench", "user.email=bench@localhost", "commit.gpgsign=false", "core.hooksPath=/dev/null"];
        let settings = settings.iter().flat_map(|setting| ["-c", *setting]);
        let words: Vec<&str> = settings.chain(["commit", "--quiet", "--message", "a commit"]).collect();
        builds.git(&words).unwrap();
    }

    fn kept(builds: &Builds) -> usize {
        fs::read_dir(&builds.folder).unwrap().count()
    }

    #[test]
    fn a_commit_is_built_once_and_the_work_tree_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let builds = repository(root.path());
        commit(&builds, "fn main() { println!(\"committed\"); }");
        // One change is staged, and one is not.
        let changed = "not even Rust";
        fs::write(builds.repository.join("main.rs"), changed).unwrap();
        builds.git(&["add", "."]).unwrap();
        fs::write(builds.repository.join("Cargo.toml"), changed).unwrap();
        let before = builds.git(&["status", "--porcelain"]).unwrap();

        let build = builds.of("HEAD").unwrap();
        assert_eq!(Command::new(&build.binary).output().unwrap().stdout, b"committed\n");
        assert!(builds.git(&["rev-parse", "HEAD"]).unwrap().starts_with(&build.commit));
        assert_eq!(fs::read_to_string(builds.repository.join("main.rs")).unwrap(), changed);
        assert_eq!(builds.git(&["status", "--porcelain"]).unwrap(), before);
        assert_eq!(builds.git(&["worktree", "list"]).unwrap().lines().count(), 1);
        assert_eq!(kept(&builds), 1, "nothing but the binary stays");

        fs::write(&build.binary, "as it was").unwrap();
        assert_eq!(fs::read(builds.of("HEAD").unwrap().binary).unwrap(), b"as it was");
    }

    #[test]
    fn a_commit_that_cannot_be_had_is_named() {
        let root = tempfile::tempdir().unwrap();
        let builds = repository(root.path());
        commit(&builds, "not even Rust");
        let error = format!("{:#}", builds.of("no-such-commit").unwrap_err());
        assert!(error.contains("there is no commit no-such-commit in "), "{error}");
        let id = builds.git(&["rev-parse", "--short", "HEAD"]).unwrap();
        let error = format!("{:#}", builds.of("HEAD").unwrap_err());
        assert!(
            error.contains(&format!("commit HEAD ({id}) does not build")) && error.contains("main.rs:1"),
            "{error}"
        );
        assert_eq!(kept(&builds), 0, "a build that failed leaves nothing");
    }
}
