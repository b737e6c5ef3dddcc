//! Installs the clients, in pinned versions from apt, pip, npm, Maven, the Go module proxy and
//! crates.io. Installs a client again if the file that pins it or its driver program has changed.

mod rdkafka;

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the installed clients.
pub fn cache() -> PathBuf {
    match std::env::var_os("RUSTMQ_COMPAT_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/rustmq-compat"),
    }
}

/// The sources of the driver programs.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

pub fn python() -> PathBuf {
    cache().join("python/bin/python")
}

/// The folder with `client.mjs` and its `node_modules`.
pub fn node() -> PathBuf {
    cache().join("node")
}

/// Apache Kafka's jars, and the compiled Java driver.
pub fn java_classpath() -> String {
    let java = cache().join("java");
    format!("{}:{}", java.join("classes").display(), java.join("libs/*").display())
}

/// The driver of the Go libraries.
pub fn go_client() -> PathBuf {
    cache().join("go/client")
}

/// The driver of Confluent's Rust client.
pub fn rust_client() -> PathBuf {
    cache().join("rust/client")
}

/// The compiled tests of transactions of the `rdkafka` crate.
pub fn rdkafka_tests() -> PathBuf {
    cache().join("rdkafka/test_transactions")
}

/// The program that librdkafka shows transactions with.
pub fn librdkafka_transactions() -> PathBuf {
    cache().join("rdkafka/transactions")
}

/// A loop around franz-go's producer, as fast as possible.
pub fn franz_flood() -> PathBuf {
    cache().join("go/flood")
}

/// The compiled tests of franz-go's `pkg/kgo`.
pub fn franz_tests() -> PathBuf {
    cache().join("go/kgo.test")
}

/// One thing to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kit {
    Kcat,
    Python,
    Node,
    Java,
    Go,
    /// Confluent's Rust client. The `rdkafka` crate is a dependency of these tests.
    Rust,
    /// The transactional programs that come with the `rdkafka` crate, and with librdkafka in it.
    Rdkafka,
    /// Tools other than clients: for the file systems of the power-cut test, and for slow system
    /// calls.
    Tools,
}

impl Kit {
    pub const ALL: [Kit; 8] =
        [Kit::Kcat, Kit::Python, Kit::Node, Kit::Java, Kit::Go, Kit::Rust, Kit::Rdkafka, Kit::Tools];

    pub fn name(self) -> &'static str {
        match self {
            Kit::Kcat => "kcat",
            Kit::Python => "python",
            Kit::Node => "node",
            Kit::Java => "java",
            Kit::Go => "go",
            Kit::Rust => "rust",
            Kit::Rdkafka => "rdkafka",
            Kit::Tools => "tools",
        }
    }

    /// The files whose content decides whether the installed kit is current.
    fn pins(self) -> &'static [&'static str] {
        match self {
            Kit::Kcat | Kit::Tools => &[],
            Kit::Python => &["python/requirements.txt"],
            Kit::Node => &["node/package.json", "node/package-lock.json", "node/client.mjs"],
            Kit::Java => &[
                "java/pom.xml",
                "java/log4j2.yaml",
                "java/CompatClient.java",
                "java/CompatAdmin.java",
                "java/CompatCodec.java",
                "java/CompatTransactions.java",
                "java/CompatOperator.java",
                "java/CompatStreams.java",
            ],
            Kit::Rust => &["rust/Cargo.toml", "rust/Cargo.lock", "rust/src/main.rs"],
            Kit::Rdkafka => &["rdkafka/Cargo.toml", "rdkafka/Cargo.lock"],
            Kit::Go => &[
                "go/go.mod",
                "go/go.sum",
                "go/main.go",
                "go/admin.go",
                "go/group.go",
                "go/transactions.go",
                "go/operator.go",
                "go/sarama.go",
                "go/kafkago.go",
                "go/flood/main.go",
            ],
        }
    }

    /// Installs the kit unless it is current. Returns whether it installed anything.
    pub fn install(self) -> Result<bool> {
        let folder = cache().join(self.name());
        let stamp = folder.join("installed");
        let pinned = self.fingerprint()?;
        if fs::read(&stamp).is_ok_and(|installed| installed == pinned) {
            return Ok(false);
        }
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        match self {
            Kit::Kcat => install_package("kcat", "kcat")?,
            Kit::Tools => {
                install_package("e2fsprogs", "mkfs.ext4")?;
                install_package("xfsprogs", "mkfs.xfs")?;
                install_package("strace", "strace")?;
            }
            Kit::Python => install_python(&folder)?,
            Kit::Node => install_node(&folder)?,
            Kit::Java => install_java(&folder)?,
            Kit::Go => install_go(&folder)?,
            Kit::Rust => install_rust(&folder)?,
            Kit::Rdkafka => rdkafka::install(&folder)?,
        }
        fs::write(&stamp, pinned).with_context(|| format!("writing {}", stamp.display()))?;
        Ok(true)
    }

    fn fingerprint(self) -> Result<Vec<u8>> {
        let mut all = self.name().as_bytes().to_vec();
        for pin in self.pins() {
            let path = sources().join(pin);
            all.extend(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
        }
        Ok(all)
    }
}

/// Installs a system package, unless its program exists.
fn install_package(package: &str, program: &str) -> Result<()> {
    let is_there = || Command::new(program).arg("-V").output().is_ok_and(|output| output.status.success());
    if is_there() {
        return Ok(());
    }
    let install = ["install", "-y", "--no-install-recommends", package];
    if run(Command::new("apt-get").args(install)).is_err() {
        run(Command::new("apt-get").arg("update"))?;
        run(Command::new("apt-get").args(install))?;
    }
    ensure!(is_there(), "{package} is installed, and {program} does not run");
    Ok(())
}

fn install_python(folder: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--no-deps", "-r"])
        .arg(sources().join("python/requirements.txt")))
}

fn install_node(folder: &Path) -> Result<()> {
    for name in ["package.json", "package-lock.json", "client.mjs"] {
        copy(&sources().join("node").join(name), &folder.join(name))?;
    }
    run(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(folder))
}

fn install_java(folder: &Path) -> Result<()> {
    let (libs, classes) = (folder.join("libs"), folder.join("classes"));
    copy(&sources().join("java/pom.xml"), &folder.join("pom.xml"))?;
    if libs.exists() {
        fs::remove_dir_all(&libs).context("removing the old jars")?;
    }
    run(Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", libs.display()))
        .current_dir(folder))?;
    fs::create_dir_all(&classes).context("creating the class folder")?;
    copy(&sources().join("java/log4j2.yaml"), &classes.join("log4j2.yaml"))?;
    let programs = Kit::Java.pins().iter().filter(|pin| pin.ends_with(".java"));
    run(Command::new("javac")
        .args(["-nowarn", "-cp"])
        .arg(libs.join("*"))
        .arg("-d")
        .arg(&classes)
        .args(programs.map(|pin| sources().join(pin))))
}

fn install_go(folder: &Path) -> Result<()> {
    let source = sources().join("go");
    run(Command::new("go").args(["build", "-o"]).arg(folder.join("client")).arg(".").current_dir(&source))?;
    run(Command::new("go").args(["build", "-o"]).arg(folder.join("flood")).arg("./flood").current_dir(&source))?;
    run(Command::new("go")
        .args(["test", "-c", "-o"])
        .arg(folder.join("kgo.test"))
        .arg("github.com/twmb/franz-go/pkg/kgo")
        .current_dir(&source))
}

fn install_rust(folder: &Path) -> Result<()> {
    let target = folder.join("target");
    // Not optimized: it compiles in a fraction of the time, and no scenario measures it.
    run(Command::new("cargo")
        .args(["build", "--locked", "--manifest-path"])
        .arg(sources().join("rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0"))?;
    copy(&target.join("debug/rustmq-compat-confluent-rust"), &folder.join("client"))?;
    fs::remove_dir_all(&target).context("removing what only the build needs")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    read(command).map(drop)
}

/// Runs a command. Returns its standard output.
fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?} failed, {}:\n{out}{err}", output.status);
    }
    String::from_utf8(output.stdout).context("the output is no text")
}

/// Fails and names the remedy if `path` is not installed.
pub fn require(path: &Path) -> Result<()> {
    ensure!(
        path.exists(),
        "{} is missing: run `cargo run --release -p rustmq-compat-tests --bin install`",
        path.display()
    );
    Ok(())
}
