//! franz-go's own tests of its client (`pkg/kgo`), compiled from its module and run against the
//! broker.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::{Server, Settings, install, process};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

/// The omitted tests, and why; patterns for `-test.skip`.
const LEFT_OUT: [(&str, &str); 4] = [
    ("Share", "needs share groups (KIP-932)"),
    ("SCRAM", "needs a listener with SASL"),
    ("OAuth", "needs a listener with SASL"),
    ("TestOptValuesCoversEveryOption", "reads the library's source, not the broker"),
];

/// Tests that skip themselves, and why that is correct.
const SKIP_THEMSELVES: [&str; 1] = ["TestIssueProduceBrokerTooOldFailsRecords"]; // the broker is not too old

/// Tests that must have run: those that use the broker most.
const MUST_PASS: [&str; 16] = [
    "TestTxnEtl",
    "Test848RegexBrokerResolves",
    "TestGroupETL",
    "TestGroupSimple",
    "TestConsumeRegex",
    "TestConsumeTopicRetrieval",
    "TestDirectPartitionPurge",
    "TestAddRemovePartitions",
    "TestPauseIssue489",
    "TestPauseIssueOct2023",
    "TestIssue523",
    "TestIssue865",
    "TestIssueFetchLargerThanBrokerMaxReadBytes",
    "TestLookbackMilli",
    "TestClient_Produce",
    "TestPing",
];

/// A fraction of the default, which is for machines with more cores. Each test still moves all of
/// them several times.
const RECORDS: &str = "10000";
const WITHIN: Duration = Duration::from_secs(240);

#[test]
fn franz_gos_own_tests_pass() {
    install::require(&install::franz_tests()).unwrap();
    let server = Server::start(Settings::default().with("group.initial.rebalance.delay.ms", "0")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let skip = LEFT_OUT.map(|(pattern, _)| pattern).join("|");
    let mut command = process::command(&install::franz_tests().display().to_string());
    command
        .args(["-test.v", "-test.timeout", "230s", "-test.skip", &skip])
        .env("KGO_SEEDS", server.bootstrap())
        .env("KGO_TEST_RF", "1")
        .env("KGO_TEST_RECORDS", RECORDS)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(File::create(&output).unwrap())
        .stderr(Stdio::null());
    let mut child = process::spawn(command).unwrap();
    let status = process::wait_within(&mut child, WITHIN).unwrap();
    let status = status.unwrap_or_else(|| panic!("franz-go's tests did not end; so far: {}", tail(&output)));
    let text = fs::read_to_string(&output).unwrap();
    let named = |verdict: &str| -> BTreeSet<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(verdict));
        lines.filter_map(|rest| rest.split(' ').next()).collect()
    };
    let (passed, failed, skipped) = (named("--- PASS: "), named("--- FAIL: "), named("--- SKIP: "));
    assert!(status.success() && failed.is_empty(), "failed: {failed:?}\n{}", tail(&output));
    let missing: Vec<_> = MUST_PASS.iter().filter(|name| !passed.contains(*name)).collect();
    assert!(missing.is_empty(), "not run: {missing:?}");
    assert_eq!(skipped, SKIP_THEMSELVES.into(), "skipped themselves");
}

fn tail(output: &std::path::Path) -> String {
    let text = fs::read(output).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(4000)..]).into_owned()
}
