//! Child processes that never outlive the test: the kernel kills each of them when this process
//! ends, however it ends. Does not read their output; callers choose its destination.

use anyhow::{Context, Result, ensure};
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

type SpawnRequest = (Command, SyncSender<io::Result<Child>>);

/// The kernel's death signal follows the *thread* that spawned a child, and a test's thread ends
/// with its test. So one thread that lives as long as the process spawns all children.
static SPAWNER: LazyLock<Sender<SpawnRequest>> = LazyLock::new(|| {
    let (requests, inbox) = channel::<SpawnRequest>();
    thread::spawn(move || {
        for (mut command, answer) in inbox {
            // Nobody waits any more if the test has already failed. The child dies with this
            // process.
            let _ = answer.send(command.spawn());
        }
    });
    requests
});

/// A command for `program` that `spawn` can start.
pub fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Starts the process of `command`.
pub fn spawn(command: Command) -> io::Result<Child> {
    let (answer, spawned) = sync_channel(1);
    SPAWNER.send((command, answer)).expect("the spawning thread lives as long as the process");
    spawned.recv().expect("the spawning thread answers every request")
}

/// Waits for the end of a child, at most this long. `None` if it still runs.
pub fn wait_within(child: &mut Child, within: Duration) -> io::Result<Option<ExitStatus>> {
    const POLL_EVERY: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + within;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(POLL_EVERY);
    }
}

/// As [`wait_within`], and kills a child that still runs after that time.
pub fn end_within(child: &mut Child, within: Duration) -> io::Result<ExitStatus> {
    if let Some(status) = wait_within(child, within)? {
        return Ok(status);
    }
    child.kill()?;
    child.wait()
}

/// Runs a short command of the system to its end. An error contains its output.
pub fn run_to_end(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let text = || String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, text());
    Ok(())
}
