//! The programs that the `rdkafka` crate and librdkafka bring to show and test transactions. They
//! are compiled from the crates as cargo fetches them, against the librdkafka that they contain.

use super::{copy, read, run, sources};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TESTS: [&str; 2] = ["test_transactions.rs", "utils.rs"];

pub fn install(folder: &Path) -> Result<()> {
    let (package, target) = (folder.join("package"), folder.join("target"));
    for part in ["src", "tests"] {
        fs::create_dir_all(package.join(part)).context("creating the package")?;
    }
    for name in ["Cargo.toml", "Cargo.lock"] {
        copy(&sources().join("rdkafka").join(name), &package.join(name))?;
    }
    fs::write(package.join("src/lib.rs"), "").context("creating the package")?;
    let crate_folder = crate_folder(&package)?;
    for name in TESTS {
        copy(&crate_folder.join("tests").join(name), &package.join("tests").join(name))?;
    }
    let built = read(
        cargo("test", &package)
            .args(["--no-run", "--message-format", "json", "--target-dir"])
            .arg(&target)
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0"),
    )?;
    let messages: Vec<Value> = built.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let program = messages.iter().find_map(|message| {
        let is_test = message["target"]["name"] == "test_transactions";
        message["executable"].as_str().filter(|_| is_test)
    });
    copy(Path::new(program.context("cargo names no test program")?), &folder.join("test_transactions"))?;
    let library = messages.iter().find_map(|message| {
        let is_librdkafka = message["package_id"].as_str()?.contains("rdkafka-sys");
        message["out_dir"].as_str().filter(|_| is_librdkafka)
    });
    let library = PathBuf::from(library.context("cargo names no folder of librdkafka")?);
    run(Command::new("cc")
        .arg("-I")
        .arg(library.join("src"))
        .args([library.join("examples/transactions.c"), library.join("src/librdkafka.a")])
        .args(["-lm", "-lpthread", "-ldl", "-o"])
        .arg(folder.join("transactions")))?;
    fs::remove_dir_all(&target).context("removing what only the build needs")
}

fn cargo(command: &str, package: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args([command, "--locked", "--manifest-path"]).arg(package.join("Cargo.toml"));
    cargo
}

/// The folder where cargo keeps the source of the crate.
fn crate_folder(package: &Path) -> Result<PathBuf> {
    let known = read(cargo("metadata", package).args(["--format-version", "1"]))?;
    let known: Value = serde_json::from_str(&known).context("cargo's metadata")?;
    let packages = known["packages"].as_array().into_iter().flatten();
    let manifest = packages.filter(|one| one["name"] == "rdkafka").find_map(|one| one["manifest_path"].as_str());
    let manifest = Path::new(manifest.context("cargo does not know the crate")?);
    Ok(manifest.parent().context("a manifest without a folder")?.to_owned())
}
