//! The broker of another commit: unpacked and compiled below the target folder, where its binary is kept by the commit's id. Touches neither
//! the work tree nor git's own index and list of worktrees, and knows nothing of what is measured.

use crate::broker;
use anyhow::{Context, Result, ensure};
use rustmq_compat_tests::process;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A broker that is built.
#[derive(Debug)]
pub struct Build {
    /// The commit's id, as short as git makes it.
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
    /// Where binaries are kept: each in a folder that has the full id of its commit as its name.
    folder: PathBuf,
}

impl Builds {
    /// The builds of the repository and in the target folder that this program comes from.
    pub fn here() -> Result<Builds> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in the repository")?;
        let program = env::current_exe().context("finding this program's own file")?;
        // The program is <target>/release/rustmq-bench.
        let target = program.ancestors().nth(2).context("the bench is not in a target folder")?;
        Ok(Builds { repository: repository.to_owned(), folder: target.join("bench-base") })
    }

    /// The build of a commit, by any name that git has for it. It is made now unless it is kept from another time.
    pub fn of(&self, name: &str) -> Result<Build> {
        let id = self.git(&["rev-parse", "--verify", &format!("{name}^{{commit}}")]);
        let id = id.with_context(|| format!("there is no commit {name} in {}", self.repository.display()))?;
        let commit = self.git(&["rev-parse", "--short", &id])?;
        let binary = self.folder.join(&id).join("rustmq");
        if !binary.exists() {
            eprintln!("building RustMQ at {commit}, for some minutes; it is kept in {}", self.folder.display());
            self.make(&id, &binary).with_context(|| format!("commit {name} ({commit}) does not build"))?;
        }
        Ok(Build { commit, binary })
    }

    /// Each build has a target folder of its own: cargo does not see a difference between the same crate of two commits, and would take what
    /// it has compiled of one for the other.
    fn make(&self, id: &str, binary: &Path) -> Result<()> {
        // This removes what a build that was killed has left: it is named like a run that was.
        let root = broker::runs_folder(Some(&self.folder))?;
        let scratch = tempfile::Builder::new().prefix(&format!("{}-", std::process::id())).tempdir_in(root)?;
        let [index, source, target] = ["index", "source", "target"].map(|name| scratch.path().join(name));
        self.unpack(id, &Unpacked { index, source: source.clone() })?;
        let mut cargo = Command::new("cargo");
        // Dependencies get the features that `make bench` builds them with, so that the two binaries differ by their commits alone: the whole
        // workspace is asked for, and its examples, of which there are none, bring in the features that tests ask for.
        cargo.args(["build", "--release", "--quiet", "--workspace", "--bin", "rustmq", "--examples", "--target-dir"]);
        process::run_to_end(cargo.arg(&target).current_dir(source))?;
        fs::create_dir_all(binary.parent().context("the binary lies in a folder")?)?;
        // The name appears at once and whole, also beside another bench that builds the same.
        fs::rename(target.join("release/rustmq"), binary).context("keeping the binary")
    }

    /// Writes out the files of a commit through an index of their own.
    fn unpack(&self, id: &str, to: &Unpacked) -> Result<()> {
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            git.arg("-C").arg(&self.repository).args(words).env("GIT_INDEX_FILE", &to.index);
            process::run_to_end(&mut git)
        };
        git(&["read-tree", id])?;
        // The slash makes a folder of the prefix.
        git(&["checkout-index", "--all", &format!("--prefix={}/", to.source.display())])
    }

    /// What git says to a question.
    fn git(&self, words: &[&str]) -> Result<String> {
        let output =
            Command::new("git").arg("-C").arg(&self.repository).args(words).output().context("starting git")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "git {} ended with {}: {}", words.join(" "), output.status, complaint.trim());
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// Where the files of a commit go.
struct Unpacked {
    index: PathBuf,
    source: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "[package]\nname = \"rustmq-node\"\nedition = \"2024\"\n\n[[bin]]\nname = \"rustmq\"\npath = \"main.rs\"\n";

    /// A repository of one small crate, not committed yet.
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
        let author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"];
        builds.git(&[&author[..], &["commit", "--quiet", "--message", "a commit"]].concat()).unwrap();
    }

    fn kept(builds: &Builds) -> usize {
        fs::read_dir(&builds.folder).unwrap().count()
    }

    #[test]
    fn a_commit_is_built_once_and_the_work_tree_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let builds = repository(root.path());
        commit(&builds, "fn main() { println!(\"committed\"); }");
        let changed = "not even Rust";
        fs::write(builds.repository.join("main.rs"), changed).unwrap();
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
