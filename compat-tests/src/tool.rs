//! Apache Kafka's own command-line tools, as a person would run them: one JVM per run, text as
//! output.

use crate::{install, process};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Runs `class` to its end. Returns its standard output; an error contains both outputs.
pub fn run(class: &str, arguments: &[&str]) -> Result<String> {
    run_with_input(class, arguments, "")
}

/// As [`run`], with lines for its standard input.
pub fn run_with_input(class: &str, arguments: &[&str], input: &str) -> Result<String> {
    const WITHIN: Duration = Duration::from_secs(90);
    let mut running = Running::start(class, arguments)?;
    if let Some(mut stdin) = running.input.take() {
        // A tool that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes());
    }
    running.end(WITHIN)
}

/// A tool that runs while its scenario goes on. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    input: Option<ChildStdin>,
    folder: TempDir,
}

impl Running {
    pub fn start(class: &str, arguments: &[&str]) -> Result<Running> {
        install::require(&install::cache().join("java/installed"))?;
        let folder = tempfile::tempdir()?;
        let file = |name: &str| File::create(folder.path().join(name));
        let mut command = process::command("java");
        command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &install::java_classpath()]);
        command.arg(class).args(arguments).stdin(Stdio::piped()).stdout(file("out")?).stderr(file("err")?);
        let mut child = process::spawn(command).with_context(|| format!("starting {class}"))?;
        let input = child.stdin.take();
        Ok(Running { command: format!("{class} {arguments:?}"), child, input, folder })
    }

    /// Its standard output so far.
    pub fn output(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("out"))?)
    }

    /// Ends its input, and waits for its end. Returns its standard output; an error contains both
    /// outputs.
    pub fn end(mut self, within: Duration) -> Result<String> {
        self.input = None;
        let status = process::end_within(&mut self.child, within)?;
        let (out, err) = (self.output()?, fs::read_to_string(self.folder.path().join("err"))?);
        ensure!(status.success(), "{} ended with {status}:\n{out}{err}", self.command);
        Ok(out)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
