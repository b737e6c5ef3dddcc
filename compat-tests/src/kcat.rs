//! kcat is a program for people, so each operation here is one run of it with the right flags.
//! Record bodies go through files. Its JSON output escapes bytes that are not text, so lengths and
//! hexadecimal are printed by `-f`.

use crate::client::{Client, ClientKind, Refusal};
use crate::process;
use crate::record::{hex, unhex};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Kafka's UNSUPPORTED_VERSION, which the client programs return for an operation that they lack.
pub const UNSUPPORTED: i16 = 35;

#[derive(Debug)]
pub struct Kcat {
    bootstrap: String,
    running: Option<Child>,
}

impl Kcat {
    pub fn new(bootstrap: &str) -> Kcat {
        Kcat { bootstrap: bootstrap.into(), running: None }
    }

    /// Runs kcat to its end or to the deadline. Returns its output.
    pub fn run(&mut self, arguments: &[String], within: Duration) -> Result<Vec<u8>> {
        let mut command = process::command("kcat");
        command.args(["-b", &self.bootstrap, "-X", "message.max.bytes=16777216"]).args(arguments);
        let folder = tempfile::tempdir()?;
        let errors = folder.path().join("stderr");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&errors)?);
        let mut child = process::spawn(command).context("starting kcat")?;
        let mut output = child.stdout.take().context("no standard output")?;
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).map(|_| bytes)
        });
        self.running = Some(child);
        let child = self.running.as_mut().context("kcat was killed")?;
        if let Some(status) = process::wait_within(child, within)? {
            let complaint = fs::read_to_string(&errors).unwrap_or_default();
            anyhow::ensure!(status.success(), "kcat {arguments:?} ended with {status}: {complaint}");
        }
        self.kill();
        Ok(reader.join().expect("the reading thread does not panic")?)
    }

    fn produce(&mut self, request: &Value) -> Result<Value> {
        let records = request["records"].as_array().context("no records")?;
        let folder = tempfile::tempdir()?;
        let topic = text(request, "topic");
        let mut acks = Vec::new();
        for record in records {
            // kcat does not report the offset of a record: it is the end of the named partition, or
            // of the partition that grew.
            let only = record["partition"].as_i64();
            let before = if only.is_some() { Vec::new() } else { self.ends(&topic, None)? };
            let arguments = Self::produce_arguments(request, record, &folder)?;
            self.run(&arguments, Duration::from_secs(60))?;
            let after = self.ends(&topic, only)?;
            let moved = after.iter().zip(before.iter().chain(std::iter::repeat(&0)));
            let found = moved.enumerate().find(|(_, (end, start))| end > start);
            let (partition, (end, _)) = found.context("no partition grew")?;
            acks.push(json!({"partition": partition, "offset": end - 1}));
        }
        Ok(json!({"acks": acks}))
    }

    fn produce_arguments(request: &Value, record: &Value, folder: &TempDir) -> Result<Vec<String>> {
        let mut arguments = words(&["-P", "-c", "1", "-t", &text(request, "topic"), "-z", &text(request, "codec")]);
        arguments.extend(words(&["-X", &format!("acks={}", request["acks"])]));
        arguments.extend(words(&["-X", &format!("enable.idempotence={}", request["idempotent"])]));
        if let Some(partition) = record["partition"].as_i64() {
            arguments.extend(words(&["-p", &partition.to_string()]));
        } else {
            arguments.extend(words(&["-X", "topic.partitioner=murmur2_random"]));
        }
        let key = record["key"].as_str().and_then(unhex).map(String::from_utf8).transpose();
        let key = key.context("kcat takes keys as text")?;
        if let (Some(key), true) = (&key, record["value"].is_string()) {
            arguments.extend(words(&["-k", key]));
        }
        for header in record["headers"].as_array().into_iter().flatten() {
            let name = header[0].as_str().unwrap_or_default();
            arguments.push("-H".into());
            arguments.push(match header[1].as_str() {
                Some(value) => {
                    let value = String::from_utf8(unhex(value).context("hexadecimal")?).context("kcat takes text")?;
                    format!("{name}={value}")
                }
                None => name.to_owned(),
            });
        }
        match record["value"].as_str() {
            Some(value) => {
                let file = folder.path().join("value");
                fs::write(&file, unhex(value).context("a value in hexadecimal")?)?;
                arguments.push(file.display().to_string());
            }
            None => {
                // An empty file would be no record at all, and an empty value on a line is null
                // with -Z.
                let file = folder.path().join("line");
                fs::write(&file, format!("{}\u{1f}\n", key.unwrap_or_default()))?;
                arguments.extend(words(&["-Z", "-K", "\u{1f}", "-l", &file.display().to_string()]));
            }
        }
        Ok(arguments)
    }

    /// The end of each partition, or the end of the requested one at its index.
    fn ends(&mut self, topic: &str, only: Option<i64>) -> Result<Vec<i64>> {
        let partitions = match only {
            Some(partition) => vec![partition],
            None => (0..self.partition_count(topic)?).collect(),
        };
        let mut ends = vec![0; usize::try_from(partitions.iter().max().map_or(0, |most| most + 1))?];
        for partition in partitions {
            ends[usize::try_from(partition)?] = self.offset(topic, partition, -1)?;
        }
        Ok(ends)
    }

    fn partition_count(&mut self, topic: &str) -> Result<i64> {
        let listed = self.run(&words(&["-L", "-J", "-t", topic]), Duration::from_secs(30))?;
        let listed: Value = serde_json::from_slice(&listed)?;
        let count = listed["topics"][0]["partitions"].as_array().map_or(0, Vec::len);
        Ok(i64::try_from(count)?)
    }

    fn offset(&mut self, topic: &str, partition: i64, at: i64) -> Result<i64> {
        let query = format!("{topic}:{partition}:{at}");
        let answer = self.run(&words(&["-Q", "-t", &query]), Duration::from_secs(30))?;
        let answer = String::from_utf8(answer)?;
        // "topic [0] offset 17"
        let offset = answer.trim().rsplit(' ').next().and_then(|offset| offset.parse().ok());
        offset.with_context(|| format!("kcat answered {answer:?}"))
    }

    fn consume(&mut self, request: &Value) -> Result<Value> {
        let partitions = request["partitions"].as_array().context("no partitions")?;
        let within = Duration::from_millis(request["timeout_ms"].as_u64().unwrap_or(0));
        let deadline = Instant::now() + within;
        let count = usize::try_from(request["count"].as_u64().unwrap_or(0))?;
        let mut records = Vec::new();
        for pair in partitions {
            let (topic, partition) = (pair[0].as_str().unwrap_or_default(), pair[1].as_i64().unwrap_or(0));
            let from = match &request["from"] {
                Value::Number(offset) => offset.to_string(),
                Value::Object(at) => format!("s@{}", at["timestamp"]),
                _ => "beginning".into(),
            };
            let left = count - records.len();
            if left == 0 {
                break;
            }
            // The sizes come first, because a body may contain any byte.
            let format = "%t %p %o %T %K %S %h\\n%k%s";
            let mut arguments = words(&["-C", "-q", "-e", "-t", topic, "-p", &partition.to_string(), "-o", &from]);
            arguments.extend(words(&["-c", &left.to_string(), "-f", format]));
            arguments.extend(words(&["-X", "fetch.message.max.bytes=16777216"]));
            let output = self.run(&arguments, deadline.saturating_duration_since(Instant::now()))?;
            parse_records(&output, &mut records)?;
        }
        Ok(json!({"records": records}))
    }
}

fn parse_records(mut output: &[u8], records: &mut Vec<Value>) -> Result<()> {
    while let Some(end) = output.iter().position(|byte| *byte == b'\n') {
        let head = std::str::from_utf8(&output[..end])?;
        let fields: Vec<&str> = head.splitn(7, ' ').collect();
        let [topic, partition, offset, timestamp, key_size, value_size, headers] = fields[..] else {
            anyhow::bail!("kcat printed {head:?}");
        };
        let mut rest = &output[end + 1..];
        let mut take = |size: &str| -> Result<Option<String>> {
            // -1 means null.
            let Ok(size) = usize::try_from(size.parse::<i64>()?) else { return Ok(None) };
            let (taken, left) = rest.split_at_checked(size).context("kcat printed less than it said")?;
            rest = left;
            Ok(Some(hex(taken)))
        };
        let (key, value) = (take(key_size)?, take(value_size)?);
        let headers: Vec<Value> = headers.split(',').filter(|pair| !pair.is_empty()).map(header).collect();
        records.push(json!({"topic": topic, "partition": partition.parse::<i32>()?, "offset": offset.parse::<i64>()?,
            "timestamp": timestamp.parse::<i64>()?, "key": key, "value": value, "headers": headers}));
        output = rest;
    }
    anyhow::ensure!(output.is_empty(), "kcat printed a record without an end");
    Ok(())
}

fn header(pair: &str) -> Value {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    json!([name, if value == "NULL" { Value::Null } else { json!(hex(value.as_bytes())) }])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn text(request: &Value, key: &str) -> String {
    request[key].as_str().unwrap_or_default().to_owned()
}

impl Client for Kcat {
    fn kind(&self) -> ClientKind {
        ClientKind::Kcat
    }

    fn call(&mut self, request: Value) -> Result<Value, Refusal> {
        let answer = match request["op"].as_str().unwrap_or_default() {
            "produce" => self.produce(&request),
            "consume" => self.consume(&request),
            "list_offsets" => {
                let (partition, at) = (request["partition"].as_i64(), request["at"].as_i64());
                let offset = self.offset(&text(&request, "topic"), partition.unwrap_or(0), at.unwrap_or(-1));
                offset.map(|offset| json!({"offset": offset}))
            }
            "list_topics" => self.run(&words(&["-L", "-J"]), Duration::from_secs(30)).and_then(|listed| {
                let listed: Value = serde_json::from_slice(&listed)?;
                let topics: Vec<&Value> =
                    listed["topics"].as_array().into_iter().flatten().map(|t| &t["topic"]).collect();
                Ok(json!({"topics": topics}))
            }),
            other => return Err(Refusal::new(UNSUPPORTED, format!("{other} is not in kcat"))),
        };
        answer.map_err(|error| Refusal::new(-1, format!("kcat: {error:#}")))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            // Both fail only if it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Kcat {
    fn drop(&mut self) {
        self.kill();
    }
}
