//! A client program in another language. Requests and answers are JSON lines on its standard input
//! and output. `clients/README.md` defines the operations; this file only transports them, and
//! never waits forever.

use crate::client::{Client, ClientKind, Refusal};
use crate::{install, process};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than any operation's own timeout. Reaching it is a failure.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Program {
    kind: ClientKind,
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    folder: TempDir,
}

impl Program {
    pub fn start(kind: ClientKind, bootstrap: &str) -> Result<Program> {
        let folder = tempfile::tempdir()?;
        let mut command = Self::command(kind)?;
        command.arg(bootstrap).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(folder.path().join("stderr"))?);
        let mut child = process::spawn(command).with_context(|| format!("starting the {kind:?} program"))?;
        let output = child.stdout.take().context("no standard output")?;
        let input = child.stdin.take();
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Program { kind, child, input, answers, folder })
    }

    fn command(kind: ClientKind) -> Result<Command> {
        let sources = install::sources();
        Ok(match kind {
            ClientKind::Confluent | ClientKind::Aiokafka | ClientKind::KafkaPython => {
                install::require(&install::python())?;
                let (script, name) = match kind {
                    ClientKind::Confluent => ("python/confluent.py", "confluent"),
                    ClientKind::Aiokafka => ("python/aio.py", "aiokafka"),
                    _ => ("python/pure.py", "kafka-python"),
                };
                let mut command = process::command(&install::python().display().to_string());
                command.arg("-B").arg(sources.join(script)).env("COMPAT_CLIENT", name);
                command
            }
            ClientKind::Kafkajs => {
                install::require(&install::node().join("client.mjs"))?;
                let mut command = process::command("node");
                command.arg(install::node().join("client.mjs")).env("KAFKAJS_NO_PARTITIONER_WARNING", "1");
                command
            }
            ClientKind::Java => {
                install::require(&install::cache().join("java/installed"))?;
                let mut command = process::command("java");
                command.args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
                command.args([&install::java_classpath(), "CompatClient"]);
                command
            }
            ClientKind::Franz | ClientKind::Sarama | ClientKind::KafkaGo => {
                install::require(&install::go_client())?;
                let mut command = process::command(&install::go_client().display().to_string());
                command.arg(kind.name());
                command
            }
            ClientKind::ConfluentRust => {
                install::require(&install::rust_client())?;
                process::command(&install::rust_client().display().to_string())
            }
            ClientKind::Kcat | ClientKind::Rdkafka => bail!("{kind:?} has no program of its own"),
        })
    }

    fn complaint(&self) -> String {
        let text = fs::read(self.folder.path().join("stderr")).unwrap_or_default();
        let from = text.len().saturating_sub(2000);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    fn fail(&self, what: &str) -> Refusal {
        Refusal { code: -1, message: format!("{:?} {what}; it wrote: {}", self.kind, self.complaint()), broken: true }
    }
}

impl Client for Program {
    fn kind(&self) -> ClientKind {
        self.kind
    }

    fn call(&mut self, request: Value) -> Result<Value, Refusal> {
        let input = self.input.as_mut().ok_or_else(|| Refusal::broken("the program was killed"))?;
        let line = format!("{request}\n");
        if input.write_all(line.as_bytes()).and_then(|()| input.flush()).is_err() {
            return Err(self.fail("closed its input"));
        }
        let answer = match self.answers.recv_timeout(ANSWER_WITHIN) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => return Err(self.fail("did not answer in time")),
            Err(RecvTimeoutError::Disconnected) => return Err(self.fail("ended")),
        };
        let Ok(mut answer) = serde_json::from_str::<Value>(&answer) else {
            return Err(self.fail(&format!("answered what is not JSON: {answer}")));
        };
        if let Some(ok) = answer.get_mut("ok") {
            return Ok(ok.take());
        }
        let code = answer["code"].as_i64().and_then(|code| i16::try_from(code).ok()).unwrap_or(-1);
        let message = format!("{:?}: {}", self.kind, answer["message"].as_str().unwrap_or("no message"));
        Err(Refusal { code, message, broken: false })
    }

    fn kill(&mut self) {
        self.input = None;
        // Both fail only if the program has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
