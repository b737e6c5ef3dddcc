//! Apache Kafka's own command-line tools, as a person would run them: one JVM per run, text as
//! output.

use crate::{install, process};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

/// Runs `class` to its end. Returns its standard output; an error contains both outputs.
pub fn run(class: &str, arguments: &[&str]) -> Result<String> {
    run_with_input(class, arguments, "")
}

/// As [`run`], with lines for its standard input.
pub fn run_with_input(class: &str, arguments: &[&str], input: &str) -> Result<String> {
    const WITHIN: Duration = Duration::from_secs(90);
    install::require(&install::cache().join("java/installed"))?;
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut command = process::command("java");
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &install::java_classpath(), class]);
    command.args(arguments).stdin(Stdio::piped()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let mut child = process::spawn(command).with_context(|| format!("starting {class}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes());
    }
    let status = process::end_within(&mut child, WITHIN)?;
    let (out, err) = (fs::read_to_string(out)?, fs::read_to_string(err)?);
    ensure!(status.success(), "{class} {arguments:?} ended with {status}:\n{out}{err}");
    Ok(out)
}
