//! `install [KIT...]`: installs the clients that the scenarios drive; all of them if none is named.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result, bail};
use rustmq_compat_tests::install::{Kit, cache};
use std::time::Instant;

fn main() -> Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = names.iter().find(|name| Kit::ALL.iter().all(|kit| kit.name() != name.as_str())) {
        bail!("no kit named {unknown}; there are {:?}", Kit::ALL.map(Kit::name));
    }
    for kit in Kit::ALL {
        if !names.is_empty() && !names.iter().any(|name| name == kit.name()) {
            continue;
        }
        let started = Instant::now();
        let done = kit.install().with_context(|| format!("installing {}", kit.name()))?;
        let what = if done { "installed" } else { "there already" };
        println!("{} {what} ({:.1} s)", kit.name(), started.elapsed().as_secs_f32());
    }
    println!("clients are in {}", cache().display());
    Ok(())
}
