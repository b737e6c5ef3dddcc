//! A `perf` process that is attached to the broker. It starts and stops counting on request, and
//! confirms both, so that its counts belong to a known period.

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use rustmq_compat_tests::process;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The time for attaching to every thread, and for writing the records.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(1);

/// The program with its environment: English, without a pager.
pub fn command() -> Command {
    let mut command = process::command("perf");
    command.env("LC_ALL", "C").env("PERF_PAGER", "cat").stdin(Stdio::null());
    command
}

/// The standard output of a `perf` that runs to its end.
pub fn output(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = command().args(arguments).output().context("starting perf: install the package linux-perf")?;
    let words = arguments.join(" ");
    ensure!(output.status.success(), "perf {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// One `perf stat` or `perf record`.
pub struct Perf {
    child: Child,
    orders: File,
    answers: File,
    log: PathBuf,
    output: PathBuf,
    pipes: [PathBuf; 2],
}

/// The output of a `perf`, up to gigabytes. It is removed with this handle.
pub struct Recording(PathBuf);

impl Deref for Recording {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // The next run of the scenario overwrites it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Perf {
    /// Starts `perf` with the arguments of its subcommand; it does not count yet. Its files in
    /// `folder` have names that begin with `name`.
    pub fn attach(folder: &Path, name: &str, words: &[&str]) -> Result<Perf> {
        let path = |extension: &str| folder.join(format!("{name}.{extension}"));
        let (orders_path, answers_path) = (path("orders"), path("answers"));
        let (orders, answers) = (pipe(&orders_path)?, pipe(&answers_path)?);
        let (output, log) = (path("out"), path("log"));
        let mut control = OsString::from("fifo:");
        control.push(&orders_path);
        control.push(",");
        control.push(&answers_path);
        let (subcommand, rest) = words.split_first().context("perf wants a subcommand")?;
        let mut command = command();
        command.arg(subcommand).args(["-D", "-1", "--control"]).arg(control).arg("-o").arg(&output).args(rest);
        command.stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = process::spawn(command).context("starting perf: install the package linux-perf")?;
        Ok(Perf { child, orders, answers, log, output, pipes: [orders_path, answers_path] })
    }

    /// Starts counting.
    pub fn enable(&mut self) -> Result<()> {
        self.order("enable\n")
    }

    pub fn disable(&mut self) -> Result<()> {
        self.order("disable\n")
    }

    /// Lets `perf` write its results, and waits for its end.
    pub fn finish(mut self) -> Result<Recording> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("ending perf")?;
        let ended = process::wait_within(&mut self.child, ANSWERS_WITHIN)?;
        ensure!(ended.is_some(), "perf did not end");
        ensure!(self.output.exists(), "perf has written nothing: {}", self.said());
        Ok(Recording(self.output.clone()))
    }

    fn order(&mut self, order: &str) -> Result<()> {
        self.orders.write_all(order.as_bytes())?;
        let deadline = Instant::now() + ANSWERS_WITHIN;
        let mut answer = [0; 16];
        loop {
            match self.answers.read(&mut answer) {
                Ok(read) if read > 0 => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("perf ended with {status}: {}", self.said());
            }
            ensure!(Instant::now() < deadline, "perf does not answer: {}", self.said());
            thread::sleep(POLL);
        }
    }

    fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pipe in &self.pipes {
            // The next run creates them again.
            let _ = fs::remove_file(pipe);
        }
    }
}

/// A named pipe that is open at both ends here, so that opening it never blocks.
fn pipe(path: &Path) -> Result<File> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .with_context(|| format!("making the pipe {}", path.display()))?;
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).context("a flag")?;
    Ok(OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?)
}
