#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::tidy;

/// The findings in a workspace of one crate, `folder`, with these dependencies and this source.
fn findings(folder: &str, dependencies: &str, source: &str) -> Vec<String> {
    findings_in(folder, dependencies, &[("lib.rs", source)])
}

/// As [`findings`], for several source files. Their dependencies need not be named in them.
fn findings_in(folder: &str, dependencies: &str, sources: &[(&str, &str)]) -> Vec<String> {
    let found = all_findings(folder, dependencies, "", sources);
    found.into_iter().filter(|line| !line.contains("no source names")).collect()
}

fn all_findings(folder: &str, dependencies: &str, shared: &str, sources: &[(&str, &str)]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let workspace = format!("[workspace]\nmembers = [\"{folder}\"]\n[workspace.dependencies]\n{shared}\n");
    write("Cargo.toml", &workspace);
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
fn dependencies_are_used() {
    let check = |shared: &str, dependency: &str, source: &str, part: Option<&str>| {
        let found = all_findings("model", dependency, shared, &[("lib.rs", source)]);
        assert!(found.len() == usize::from(part.is_some()), "{found:?}");
        assert!(part.is_none_or(|part| found[0].contains(part)), "{found:?}");
    };
    let (shared, dependency) = ("serde-json = \"1\"", "serde-json.workspace = true");
    check(shared, dependency, "//! x\nuse serde_json::Value;\n", None);
    check(shared, dependency, "//! x\n", Some("no source names `serde-json`"));
    check(shared, "", "//! x\n", Some("no crate takes `serde-json`"));
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
fn sentences_that_open_with_of_are_found_in_comments_and_pages() {
    for sound in ["//! Some of\n//! Of course `Of` is a name.\n", "//! x\nlet x = \". Of code\";\n"] {
        assert_eq!(findings("model", "", sound), Vec::<String>::new());
    }
    for (opening, line) in [
        ("//! Of two, one.\n", 1),
        ("//! Two. Of these, one.\n", 1),
        ("//! Two.\n//! Of these, one.\n", 2),
        ("//! x\n\n/// Of x.\nfn x() {\n}\n", 3),
        ("//! x\nfn x() {\n    // - Of x\n}\n", 3),
    ] {
        let found = findings("model", "", opening);
        let place = format!("lib.rs:{line}:");
        assert!(found.len() == 1 && found[0].contains(&place) && found[0].contains("'Of'"), "{opening}: {found:?}");
    }
    let root = tempfile::tempdir().unwrap();
    let pages = root.path().join("docs/formats");
    fs::create_dir_all(&pages).unwrap();
    fs::write(pages.join("wal.md"), "Two.\n\nOf these, one.\n").unwrap();
    let found = crate::prose::check_pages(root.path()).unwrap();
    assert_eq!(found.iter().map(|found| (&*found.path, found.line)).collect::<Vec<_>>(), [("docs/formats/wal.md", 3)]);
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
    check("engine/api", "rustix.workspace = true", "//! x\n", "no system calls");
    check("broker/service", "rustmq-controller-raft.workspace = true", "//! x\n", "no such arrow");
    let fake = "rustmq-controller-api = { workspace = true, features = [\"testing\"] }";
    check("broker/service", fake, "//! x\n", "[dev-dependencies]");
    let always = "[features]\ndefault = [\"rustmq-controller-api/testing\"]";
    check("broker/service", always, "//! x\n", "the feature default");
    check(
        "engine/api",
        "",
        "//! x\npub use rustmq_engine_core::shard::request::{Append,\n    Plan};\n",
        "Plan of engine/core",
    );
    check("engine/api", "", "//! x\npub use rustmq_engine_core::wal;\n", "wal of engine/core");
    check("engine/api", "", "//! x\npub use rustmq_engine_core as core;\n", "no word of engine/api");
    check("kafka-gateway", "", "//! x\npub use rustmq_broker_service::Broker;\n", "no word of kafka-gateway");
    let nested =
        "//! x\nmod one {\n    pub use rustmq_broker_core::{replicas::Replica, groups::{GroupId, Groups}};\n}\n";
    let found = findings("broker/service", "", nested);
    assert!(found.len() == 2 && found[0].contains("Groups") && found[1].contains("Replica"), "{found:?}");
    check("model", "", "//! x\nmod fuzzing;\n", "a rig of tests");
    check("attic", "", "//! x\n", "decision record");
    check("model", "", "fn x() {}\n", "open the file");
    check("model", "", &format!("//! x\n{}", "\n".repeat(1_000)), "second noun");
    check("model", "", concat!("//! x\nfn ge", "t_x() {}\n"), "lib.rs:2");
}

#[test]
fn the_members_share_no_dependency_for_tests() {
    let root = tempfile::tempdir().unwrap();
    let shared = "rustmq-engine-api = { path = \"engine/api\", features = [\"testing\"] }";
    let manifest = format!("[workspace]\nmembers = []\n[workspace.dependencies]\n{shared}\n");
    fs::write(root.path().join("Cargo.toml"), manifest).unwrap();
    let found: Vec<String> = tidy(root.path()).unwrap().iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|line| line.contains("`testing` of rustmq-engine-api")), "{found:?}");
}

#[test]
fn import_cycles_are_refused_in_the_crates_that_must_have_none() {
    let sources = [
        ("lib.rs", "//! x\nmod one;\nmod two;\nmod three;\n"),
        ("one.rs", "//! x\nuse crate::two::Two;\n"),
        ("two.rs", "//! x\nuse crate::three::Three;\n"),
        ("three.rs", "//! x\nuse crate::one::One;\n"),
    ];
    for folder in ["engine/core", "net", "kafka-gateway", "node"] {
        let found = findings_in(folder, "", &sources);
        assert!(found.len() == 1 && found[0].contains("in a cycle"), "{folder}: {found:?}");
    }
}

#[test]
fn this_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found: Vec<String> = tidy(root).unwrap().iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_module_has_the_name_of_its_folder() {
    let of = |file: &str| findings_in("model", "", &[("lib.rs", "//! x\n"), (file, "//! x\n")]);
    // A folder `tests` within `src` is one of modules, unlike the one beside `src`.
    for file in ["names/mod.rs", "tests/fixture/mod.rs"] {
        let found = of(file);
        assert!(found.len() == 1 && found[0].contains("`name.rs` beside the folder `name`"), "{found:?}");
    }
    assert_eq!(of("names.rs"), Vec::<String>::new());
}
