//! Which crate may depend on which: the house's floor plan as a table. A new arrow is a decision
//! record first (`docs/adr`).

use std::path::Path;

use anyhow::Result;

use crate::finding::Finding;
use crate::manifests::Member;
use crate::sources;

/// Each crate's folder and the folders of the crates that it may use. Tests may use what lies above
/// as well.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("settings", &["model"]),
    ("folder", &[]),
    ("engine/core", &["model"]),
    ("engine/api", &["model", "engine/core"]),
    ("engine/shard", &["model", "settings", "folder", "engine/core", "engine/api"]),
    ("controller/core", &["model"]),
    ("controller/raft", &["model", "controller/core"]),
    ("broker/core", &["model", "controller/core"]),
    ("broker/service", &["model", "settings", "broker/core", "engine/api", "controller/core", "controller/raft"]),
    ("net", &["model"]),
    ("kafka-gateway", &["model", "settings", "net", "broker/service"]),
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
    ("compat-tests", &[]),
    ("bench", &["compat-tests"]),
    ("fuzz", &["model", "engine/core", "broker/core", "kafka-gateway"]),
    ("sim", &["model", "engine/core"]),
    ("xtask", &[]),
];

/// What a crate offers as its own, though another one below it defines it: this crate, that one,
/// the names. Whoever may use the crate may use these names without an arrow to where they are
/// defined; it offers no others of that crate.
const WORDS: &[(&str, &str, &[&str])] = &[(
    "engine/api",
    "engine/core",
    &[
        // What a shard is asked and answers: `engine/core/src/shard/request.rs`.
        "Append",
        "Appended",
        "ColdRead",
        "LogConfig",
        "OpenPartition",
        "TrimTo",
        // Why it refuses: `engine/core/src/shard/error.rs`.
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
        // How far a log has come: `engine/core/src/log/frontiers.rs`.
        "AppendFrontier",
        "Frontiers",
        "ReadFrontier",
    ],
)];

/// Outside crates that only the named folders may use, each with the reason.
const CONFINED: &[(&str, &[&str], &str)] = &[
    ("monoio", &["engine/shard"], "the two runtimes meet in the shard's inbox alone"),
    ("openraft", &["controller/raft"], "metadata goes through the controller's handle"),
    ("redb", &["controller/raft"], "metadata goes through the controller's handle"),
    ("kafka-protocol", &["kafka-gateway", "compat-tests"], "Kafka's request types stay in the gateway"),
    ("axum", &["node", "admin"], "HTTP statuses stay out of the broker"),
    ("hyper", &["node", "admin"], "HTTP statuses stay out of the broker"),
    ("libfuzzer-sys", &["fuzz"], "fuzz targets are plain functions of their crates"),
];

/// What a sans-I/O crate must not link.
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
                let message = format!("{folder} must not depend on {target}: the floor plan has no such arrow");
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

/// A crate of [`WORDS`] hands on what is listed there and nothing else.
pub fn check_words(root: &Path, member: &Member) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (_, below, words) in WORDS.iter().filter(|(folder, ..)| *folder == member.folder) {
        let reexport = format!("pub use rustmq_{}", below.replace('/', "_"));
        for (path, text) in sources::texts(root, member)? {
            let statements = text.split(&reexport).skip(1).filter_map(|rest| rest.split(';').next());
            let names =
                statements.flat_map(|statement| statement.rsplit(['{', ':']).next().unwrap_or_default().split(','));
            let names = names.map(|name| name.trim_matches(|c: char| c.is_whitespace() || c == '}'));
            for name in names.filter(|name| !name.is_empty() && !words.contains(name)) {
                let message =
                    format!("{name} of {below} is no word of {}: see WORDS in xtask/src/arrows.rs", member.folder);
                findings.push(Finding::of_file(&path, message));
            }
        }
    }
    Ok(findings)
}

/// The table names only crates that are there, so that it stays the plan of this house.
pub fn check_table(members: &[Member]) -> Vec<Finding> {
    let absent = ARROWS.iter().filter(|(folder, _)| !members.iter().any(|member| member.folder == *folder));
    absent
        .map(|(folder, _)| {
            Finding::of_file("xtask/src/arrows.rs", format!("{folder} is in the table, not in the workspace"))
        })
        .collect()
}
