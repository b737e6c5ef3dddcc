//! The crates that each crate may depend on, as a table. A new arrow needs a decision record first
//! (`docs/adr`).

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::finding::Finding;
use crate::manifests::{self, Member};
use crate::sources;

/// Each crate's folder, and the folders of the crates that it may use. Tests may use other crates.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("settings", &["model"]),
    ("folder", &[]),
    ("engine/core", &["model"]),
    ("engine/api", &["model", "engine/core"]),
    ("engine/memory", &["engine/core"]),
    ("engine/shard", &["model", "settings", "folder", "engine/core", "engine/api", "engine/memory"]),
    ("controller/core", &["model"]),
    ("controller/api", &["model", "controller/core"]),
    ("controller/raft", &["model", "controller/core", "controller/api"]),
    ("broker/core", &["model", "controller/core"]),
    ("broker/service", &["model", "settings", "broker/core", "engine/api", "controller/core", "controller/api"]),
    ("kafka-codec/generator", &[]),
    ("kafka-codec/messages", &["kafka-codec/generator"]),
    ("net", &["model"]),
    ("kafka-gateway", &["model", "settings", "net", "broker/service", "kafka-codec/messages"]),
    (
        "node",
        &[
            "model",
            "settings",
            "folder",
            "engine/api",
            "engine/shard",
            "controller/core",
            "controller/raft",
            "broker/service",
            "net",
            "kafka-gateway",
        ],
    ),
    ("compat-tests", &["kafka-codec/messages"]),
    ("bench", &["compat-tests"]),
    ("fuzz", &["model", "engine/core", "broker/core", "kafka-gateway"]),
    ("sim", &["model", "engine/core", "broker/core"]),
    ("xtask", &[]),
];

/// Names that one crate re-exports from a crate below it: the first crate, the second, the names. A
/// user of the first crate needs no arrow to the second for these names. No other name of the
/// second crate may be re-exported.
const WORDS: &[(&str, &str, &[&str])] = &[
    (
        "engine/api",
        "engine/core",
        &[
            // Requests to a shard, and its answers: `engine/core/src/shard/request.rs`.
            "Append",
            "Appended",
            "ColdRead",
            "LogConfig",
            "OpenPartition",
            "TrimTo",
            // The reasons for a refusal: `engine/core/src/shard/error.rs`.
            "AppendError",
            "DeleteError",
            "EngineStopped",
            "OpenError",
            "ReadError",
            "TrimError",
            // The causes in these: `log/rejection.rs` and `shard/failure.rs` in `engine/core/src`.
            "BatchRejection",
            "ReadFailure",
            "ReadFailureCause",
            "TransactionRejection",
            "WalFailure",
            // The frontiers of a log: `engine/core/src/log/frontiers.rs`.
            "AppendFrontier",
            "Frontiers",
            "ReadFrontier",
            // The end of a leader epoch: `engine/core/src/log/epochs.rs`.
            "EpochEnd",
            // Transactions: `shard/request.rs` and `log/verification.rs` in `engine/core/src`.
            "AppendSource",
            "ProducerState",
            "Verification",
            "VerificationGuard",
            "Verify",
        ],
    ),
    // Why a log does not start, and how much memory it takes: for the process.
    ("engine/shard", "engine/core", &["PartitionReplayError", "MemoryLevel", "tail_share"]),
    (
        "broker/service",
        "engine/api",
        &[
            "AbortedTransaction",
            "EpochEnd",
            "FoundOffset",
            "Frontiers",
            "Isolation",
            "ProducerState",
            "TransactionRejection",
        ],
    ),
    (
        "broker/service",
        "controller/core",
        &[
            // Configs: `controller/core/src/configs`, `command.rs`.
            "ConfigChange",
            "ConfigEdit",
            "ConfigKind",
            "ConfigSource",
            "DescribedConfig",
            "EditOperation",
            "EffectiveBrokerConfig",
            "EffectiveTopicConfig",
            "StaticConfigs",
            "Synonym",
            // Topics, features, and the reasons for a refusal: `command.rs`, `outcome.rs`.
            "CreatedTopic",
            "DeletedTopic",
            "ExtendedTopic",
            "FeatureDirection",
            "FeatureUpdate",
            "InvalidUpdateReason",
            "NewPartitions",
            "Rejection",
        ],
    ),
    (
        "broker/service",
        "broker/core",
        &[
            // The caller's next step after an error: `broker/core/src/error_kind.rs`.
            "ErrorKind",
            // Groups: `broker/core/src/groups`.
            "ClassicState",
            "CommittedOffset",
            "ConsumerState",
            "GroupError",
            "GroupId",
            "GroupState",
            "InstanceId",
            "MemberId",
            // Requests to them: `broker/core/src/groups/request.rs`.
            "ClientIdentity",
            "GroupDescription",
            "GroupListing",
            "HeartbeatRequest",
            "JoinRequest",
            "Joined",
            "LeaveRequest",
            "LeavingMember",
            "LeftMember",
            "MemberDescription",
            "Protocol",
            "SyncRequest",
            "Synced",
            // Transactions: `broker/core/src/transactions`.
            "EndTxnRequest",
            "InitProducerIdRequest",
            "TransactionDescription",
            "TransactionError",
            "TransactionListing",
            "TransactionState",
            // Consumer groups: `broker/core/src/groups/consumer`.
            "Assignment",
            "ConsumerGroupDescription",
            "ConsumerHeartbeat",
            "ConsumerHeartbeatAnswer",
            "ConsumerMemberDescription",
        ],
    ),
];

/// What a crate must not link, whatever lies between: the implementations behind the ports.
const APART: &[(&str, &[&str])] = &[
    // So a process can be a broker alone, or a front end over another engine.
    ("kafka-gateway", &["controller/raft", "engine/memory", "engine/shard"]),
];

/// The feature with a crate's implementation in memory and its conformance suite.
const TEST_FEATURE: &str = "testing";

/// External crates that only the named folders may use, each with the reason.
const CONFINED: &[(&str, &[&str], &str)] = &[
    ("monoio", &["engine/shard"], "the two runtimes meet in the shard's inbox alone"),
    ("openraft", &["controller/raft"], "metadata goes through the controller's handle"),
    ("redb", &["controller/raft"], "metadata goes through the controller's handle"),
    (
        "rustix",
        &["folder", "engine/memory", "engine/shard", "broker/service", "net", "node", "bench"],
        "ports and cores make no system calls",
    ),
    ("kafka-protocol", &["compat-tests"], "the broker has a codec of its own: kafka-codec/messages"),
    ("axum", &["node", "admin"], "HTTP statuses stay out of the broker"),
    ("hyper", &["node", "admin"], "HTTP statuses stay out of the broker"),
    ("libfuzzer-sys", &["fuzz"], "fuzz targets are plain functions of their crates"),
];

/// Crates that a sans-I/O crate must not link.
const IMPURE: &[&str] =
    &["tokio", "monoio", "rand", "uuid", "rustix", "socket2", "tracing", "redb", "openraft", "axum"];
const CORES: &[&str] = &["model", "settings", "engine/core", "controller/core", "broker/core", "sim"];

fn folder_of(dependency: &str) -> Option<&'static str> {
    let name = dependency.strip_prefix("rustmq-")?;
    ARROWS.iter().map(|(folder, _)| *folder).find(|folder| folder.replace('/', "-") == name)
}

pub fn check(member: &Member) -> Vec<Finding> {
    let path = member.manifest_path();
    let folder = member.folder.as_str();
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == folder) else {
        return vec![Finding::of_file(
            &path,
            "give the crate its arrows in xtask/src/arrows.rs, with a decision record",
        )];
    };
    let mut findings = Vec::new();
    for dependency in member.dependencies(false) {
        match folder_of(dependency) {
            Some(target) if !allowed.contains(&target) => {
                let message =
                    format!("{folder} must not depend on {target}: the table in xtask/src/arrows.rs has no such arrow");
                findings.push(Finding::of_file(&path, message));
            }
            None if CORES.contains(&folder) && IMPURE.contains(&dependency) => {
                let message = format!("{folder} is sans-I/O: no {dependency}; take time, seeds and bytes as arguments");
                findings.push(Finding::of_file(&path, message));
            }
            _ => {}
        }
    }
    for (dependency, homes, reason) in CONFINED {
        let used = member.dependencies(false).contains(dependency);
        if used && !homes.contains(&folder) {
            findings.push(Finding::of_file(&path, format!("{dependency} belongs to {}: {reason}", homes.join(", "))));
        }
    }
    findings
}

/// The implementations in memory are for tests: no code that is shipped turns their feature on.
pub fn check_test_feature(member: &Member) -> Vec<Finding> {
    let path = member.manifest_path();
    let mut findings = Vec::new();
    for dependency in member.dependencies_with(TEST_FEATURE) {
        let message = format!("`{TEST_FEATURE}` of {dependency} belongs under [dev-dependencies]");
        findings.push(Finding::of_file(&path, message));
    }
    for feature in member.features_with(TEST_FEATURE).into_iter().filter(|feature| *feature != TEST_FEATURE) {
        let message = format!("the feature {feature} turns on `{TEST_FEATURE}`: only a feature of that name may");
        findings.push(Finding::of_file(&path, message));
    }
    findings
}

/// The same of what the members share: each of them would get the feature.
pub fn check_shared_test_feature(root: &Path) -> Result<Vec<Finding>> {
    let shared = manifests::shared_with(root, TEST_FEATURE)?.into_iter();
    let message = |dependency| format!("`{TEST_FEATURE}` of {dependency} belongs under a member's [dev-dependencies]");
    Ok(shared.map(|dependency| Finding::of_file("Cargo.toml", message(dependency))).collect())
}

/// A crate hands on what [`WORDS`] lists and nothing else.
pub fn check_words(root: &Path, member: &Member) -> Result<Vec<Finding>> {
    let (mut findings, source) = (Vec::new(), format!("{}/src/", member.folder));
    for (path, text) in sources::texts(root, member)?.into_iter().filter(|(path, _)| path.starts_with(&source)) {
        for statement in reexports(&text) {
            let name = statement.split([':', ' ']).next().unwrap_or_default().replace('_', "-");
            let Some(below) = folder_of(&format!("rustmq-{name}")) else { continue };
            let listed = WORDS.iter().find(|(folder, from, _)| *folder == member.folder && *from == below);
            let words = listed.map_or(&[][..], |(_, _, words)| words);
            for name in names_of(statement).filter(|name| !words.contains(name)) {
                let message =
                    format!("{name} of {below} is no word of {}: see WORDS in xtask/src/arrows.rs", member.folder);
                findings.push(Finding::of_file(&path, message));
            }
        }
    }
    Ok(findings)
}

/// Each `pub use rustmq_...;` that begins a line: what stands between.
fn reexports(text: &str) -> impl Iterator<Item = &str> {
    const START: &str = "pub use rustmq_";
    let begins_line = |at: usize| text[..at].rsplit('\n').next().is_some_and(|before| before.trim().is_empty());
    let found = text.match_indices(START).map(|(at, _)| at).filter(move |at| begins_line(*at));
    found.filter_map(|at| text[at + START.len()..].split(';').next())
}

/// The names that a `use` brings, in braces or alone.
fn names_of(statement: &str) -> impl Iterator<Item = &str> {
    let parts = statement.split([',', '{', '}']).map(str::trim);
    parts.filter(|part| !part.is_empty() && !part.ends_with("::")).filter_map(|part| part.rsplit("::").next())
}

/// Checks that the table names only crates of the workspace, and keeps the crates of [`APART`]
/// apart.
pub fn check_table(members: &[Member]) -> Vec<Finding> {
    let absent = ARROWS.iter().filter(|(folder, _)| !members.iter().any(|member| member.folder == *folder));
    let absent = absent.map(|(folder, _)| format!("{folder} is in the table, not in the workspace"));
    let joined = APART.iter().flat_map(|(from, others)| {
        let reached = reach(ARROWS, from);
        let joined = others.iter().filter(move |other| reached.contains(*other));
        joined.map(move |other| format!("{from} reaches {other} by the arrows: only node may join them"))
    });
    absent.chain(joined).map(|message| Finding::of_file("xtask/src/arrows.rs", message)).collect()
}

/// The crates that a crate uses, directly or not.
fn reach<'a>(arrows: &[(&str, &[&'a str])], from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(from) = next.pop() {
        let targets = arrows.iter().filter(|(folder, _)| *folder == from).flat_map(|(_, targets)| *targets);
        next.extend(targets.filter(|target| reached.insert(**target)));
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::reach;

    #[test]
    fn a_crate_reaches_what_the_crates_that_it_uses_reach() {
        let arrows: &[(&str, &[&str])] =
            &[("gateway", &["service"]), ("service", &["api"]), ("raft", &["api"]), ("api", &["core"]), ("core", &[])];
        assert_eq!(Vec::from_iter(reach(arrows, "gateway")), ["api", "core", "service"]);
        assert_eq!(Vec::from_iter(reach(arrows, "core")), [""; 0]);
    }
}
