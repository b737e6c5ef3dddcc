//! Apache Kafka as the reference: one KRaft node in one JVM, from the jars that `install` resolved.
//! Formats a data folder and builds the command line; `server` runs the process.

use crate::install;
use anyhow::{Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Any valid id works; a fixed one makes two runs comparable.
const CLUSTER_ID: &str = "cnVzdG1xLWNvbXBhdC0wMQ";

/// The address that the node listens on, and the one that its clients connect to.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub kafka: u16,
    pub advertised: u16,
    pub controller: u16,
}

/// Writes the configuration into `folder`, and formats the data folder unless an earlier start did.
pub fn prepare(folder: &Path, data: &Path, ports: Ports, settings: &[(String, String)]) -> Result<()> {
    install::require(&install::cache().join("java/installed"))?;
    let Ports { kafka, advertised, controller } = ports;
    let mut text = format!(
        "process.roles=broker,controller\nnode.id=0\ncontroller.quorum.voters=0@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n",
        data.display()
    );
    for (key, value) in settings {
        writeln!(text, "{key}={value}")?;
    }
    let properties = folder.join("server.properties");
    fs::write(&properties, text)?;
    if data.join("meta.properties").exists() {
        return Ok(());
    }
    let output = java("-Xmx256m")
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(&properties)
        .output()?;
    ensure!(output.status.success(), "formatting failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The arguments of `java` that run the node.
pub fn arguments(folder: &Path) -> Vec<String> {
    let properties = folder.join("server.properties").display().to_string();
    let mut arguments = flags("-Xmx768m");
    arguments.extend(["-Dcompat.level=info".into(), "kafka.Kafka".into(), properties]);
    arguments
}

/// A command for one of Kafka's own classes.
pub fn java(heap: &str) -> Command {
    let mut command = Command::new("java");
    command.args(flags(heap));
    command
}

fn flags(heap: &str) -> Vec<String> {
    [heap, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp", &install::java_classpath()]
        .map(str::to_owned)
        .to_vec()
}
