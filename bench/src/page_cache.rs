//! Measures how much of the kernel's page cache files take, and empties it.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The bytes of these files in the page cache, as util-linux' `fincore` reports them.
pub fn resident(files: &[PathBuf]) -> Result<u64> {
    if files.is_empty() {
        return Ok(0);
    }
    let mut command = Command::new("fincore");
    let output = command.args(["--bytes", "--noheadings", "--output", "RES"]).args(files).output();
    let output = output.context("starting fincore, of the package util-linux")?;
    ensure!(output.status.success(), "fincore failed: {}", String::from_utf8_lossy(&output.stderr));
    sum(&String::from_utf8_lossy(&output.stdout))
}

fn sum(lines: &str) -> Result<u64> {
    let bytes = lines.split_whitespace().map(str::parse::<u64>);
    bytes.sum::<Result<u64, _>>().context("fincore says something else than numbers")
}

/// Writes dirty pages, and drops every clean page of the machine. Needs root.
pub fn drop_all() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "1").context("dropping the page cache, which root alone may")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_added_up() {
        assert_eq!(sum("  4096\n 8192\n").unwrap(), 12_288);
        assert!(sum("RES\n4096\n").is_err());
    }
}
