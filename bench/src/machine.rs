//! Describes the machine and the code, so that a reader can place the numbers. Facts that are not
//! available are reported as unknown.

use crate::broker::JVM;
use rustmq_compat_tests::server;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Lines of Markdown.
pub fn describe(root: &Path) -> Vec<String> {
    let java = output(Command::new("java").arg("--version"));
    let mut lines = describe_broker(root);
    lines.push(format!(
        "Apache Kafka: 4.4.0, its defaults, {}; {}",
        java.lines().next().unwrap_or("unknown"),
        JVM.join(" ")
    ));
    lines
}

/// As [`describe`], for runs of RustMQ alone.
pub fn describe_broker(root: &Path) -> Vec<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value_of(&cpus, "model name").unwrap_or("unknown").to_owned();
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = value_of(&memory, "MemTotal").unwrap_or("unknown").to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let file_system = output(Command::new("stat").args(["-f", "-c", "%T"]).arg(root));
    let binary = server::rustmq_binary();
    let built = binary.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    vec![
        format!("machine: {count} x {model}, {memory} of memory, Linux {}, {file_system}", kernel.trim()),
        format!("commit: {}", commit()),
        format!("RustMQ: its defaults, built with profile {}", built.unwrap_or_default()),
    ]
}

fn commit() -> String {
    let hash = output(Command::new("git").args(["rev-parse", "--short", "HEAD"]));
    let changed = output(Command::new("git").args(["status", "--porcelain", "--untracked-files=no"]));
    let state = if changed.is_empty() { "" } else { ", with changes that are not committed" };
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]));
    format!("{hash}{state}, {date}")
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn output(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
