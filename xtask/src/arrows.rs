//! The crates that each crate may depend on, as a table. A new arrow needs a decision record first
//! (`docs/adr`).

use std::path::Path;

use anyhow::Result;

use crate::finding::Finding;
use crate::manifests::Member;
use crate::sources;

/// Each crate's folder, and the folders of the crates that it may use. Tests may use other crates.
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

/// Names that one crate re-exports from a crate below it: the first crate, the second, the names. A
/// user of the first crate needs no arrow to the second for these names. No other name of the
/// second crate may be re-exported.
const WORDS: &[(&str, &str, &[&str])] = &[(
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
        // The frontiers of a log: `engine/core/src/log/frontiers.rs`.
        "AppendFrontier",
        "Frontiers",
        "ReadFrontier",
    ],
)];

/// External crates that only the named folders may use, each with the reason.
const CONFINED: &[(&str, &[&str], &str)] = &[
    ("monoio", &["engine/shard"], "the two runtimes meet in the shard's inbox alone"),
    ("openraft", &["controller/raft"], "metadata goes through the controller's handle"),
    ("redb", &["controller/raft"], "metadata goes through the controller's handle"),
    ("kafka-protocol", &["kafka-gateway", "compat-tests"], "Kafka's request types stay in the gateway"),
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

/// Checks that a crate of [`WORDS`] re-exports only the names that are listed there.
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

/// Checks that the table names only crates of the workspace.
pub fn check_table(members: &[Member]) -> Vec<Finding> {
    let absent = ARROWS.iter().filter(|(folder, _)| !members.iter().any(|member| member.folder == *folder));
    absent
        .map(|(folder, _)| {
            Finding::of_file("xtask/src/arrows.rs", format!("{folder} is in the table, not in the workspace"))
        })
        .collect()
}
