#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::tidy;

/// What is found in a workspace of one crate, `folder`, with the given dependencies and source.
fn findings(folder: &str, dependencies: &str, source: &str) -> Vec<String> {
    findings_in(folder, dependencies, &[("lib.rs", source)])
}

/// The same of several source files.
fn findings_in(folder: &str, dependencies: &str, sources: &[(&str, &str)]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("Cargo.toml", &format!("[workspace]\nmembers = [\"{folder}\"]\n"));
    let package = "version.workspace = true\nedition.workspace = true\nlicense.workspace = true";
    let manifest = format!("[package]\n{package}\n[lints]\nworkspace = true\n[dependencies]\n{dependencies}\n");
    write(&format!("{folder}/Cargo.toml"), &manifest);
    for (file, source) in sources {
        write(&format!("{folder}/src/{file}"), source);
    }
    write(&format!("{}/README.md", folder.split('/').next().unwrap()), "What is here.\n");
    let found = tidy(root.path()).unwrap();
    found.iter().map(ToString::to_string).filter(|line| !line.contains("is in the table")).collect()
}

#[test]
fn a_clean_crate_has_no_findings() {
    assert_eq!(findings("model", "bytes.workspace = true", "//! Names.\n"), Vec::<String>::new());
}

#[test]
fn comments_are_wrapped_but_for_blocks_tables_and_links() {
    let wide = "word ".repeat(20);
    for whole in
        [format!("//! ```text\n//! {wide}\n//! ```\n"), format!("//! | {wide}\n"), format!("//! https://{wide}\n")]
    {
        assert_eq!(findings("model", "", &whole), Vec::<String>::new());
    }
    for prose in [format!("//! {wide}\n"), format!("//! x\n//! ```\n//! ```\n/// {wide}\nfn x() {{}}\n")] {
        let found = findings("model", "", &prose);
        assert!(found.len() == 1 && found[0].contains("100 columns"), "{found:?}");
    }
}

#[test]
fn broken_rules_are_found() {
    let check = |folder: &str, dependencies: &str, source: &str, part: &str| {
        let found = findings(folder, dependencies, source);
        assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
    };
    check("model", "rustmq-engine-core.workspace = true", "//! x\n", "no such arrow");
    check("engine/core", "tokio.workspace = true", "//! x\n", "sans-I/O");
    check("node", "monoio.workspace = true", "//! x\n", "engine/shard");
    check("model", "bytes = \"1\"", "//! x\n", "workspace.dependencies");
    check(
        "engine/api",
        "",
        "//! x\npub use rustmq_engine_core::shard::request::{Append,\n    Plan};\n",
        "Plan of engine/core",
    );
    check("engine/api", "", "//! x\npub use rustmq_engine_core::wal;\n", "wal of engine/core");
    check("engine/api", "", "//! x\npub use rustmq_engine_core as core;\n", "no word of engine/api");
    check("attic", "", "//! x\n", "decision record");
    check("model", "", "fn x() {}\n", "open the file");
    check("model", "", &format!("//! x\n{}", "\n".repeat(1_000)), "second noun");
    check("model", "", concat!("//! x\nfn ge", "t_x() {}\n"), "lib.rs:2");
}

#[test]
fn rings_are_looked_for_where_there_must_be_none() {
    let sources = [
        ("lib.rs", "//! x\nmod one;\nmod two;\nmod three;\n"),
        ("one.rs", "//! x\nuse crate::two::Two;\n"),
        ("two.rs", "//! x\nuse crate::three::Three;\n"),
        ("three.rs", "//! x\nuse crate::one::One;\n"),
    ];
    for folder in ["engine/core", "net", "kafka-gateway", "node"] {
        let found = findings_in(folder, "", &sources);
        assert!(found.len() == 1 && found[0].contains("in a ring"), "{folder}: {found:?}");
    }
}

#[test]
fn this_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found: Vec<String> = tidy(root).unwrap().iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
