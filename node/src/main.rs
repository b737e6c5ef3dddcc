//! `rustmq`: the whole broker in one process, on embedded defaults.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program speaks through them")]

mod allocator;
mod arguments;
mod banner;
mod config;
mod descriptors;
mod ending;
mod folder;
mod health;
mod http;
mod kafka_names;
mod logs;
mod panics;
mod process;
mod reload;
mod scheduling;
mod signals;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::arguments::Arguments;
use crate::config::{Config, Environment, Inputs, Readable};
use crate::process::Startup;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rustmq: {}", chain_of(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes on one line, without causes that the line contains already.
fn chain_of(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.print_reference {
        print!("{}", config::reference_page());
        return Ok(());
    }
    let inputs = Inputs {
        file: arguments.config.clone(),
        environment: Environment::new(std::env::vars_os()),
        flags: arguments.flag_values(),
    };
    let sources = inputs.gather(Readable::Anything)?;
    let config = Config::resolve(&sources);
    if arguments.print_config {
        print!("{}", config::effective(&sources));
        return Ok(());
    }
    if arguments.check {
        println!("the configuration is valid");
        return Ok(());
    }
    let log_lines = logs::start(&config.logs)?;
    panics::log_and_count();
    for name in config.without_effect() {
        tracing::warn!(name, "a setting of Kafka's that is taken and has no effect in RustMQ");
    }
    for name in &sources.unknown_environment {
        tracing::warn!(name, "an environment variable with our prefix names no setting");
    }
    if arguments.repair {
        return process::repair(&config);
    }
    scheduling::ask_for_short_slices();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(process::connection_threads(&config)).enable_all();
    let runtime = runtime.build().context("starting the runtime")?;
    let served = runtime.block_on(process::serve(Startup { config, sources, inputs, log_lines }));
    // Does not wait for its threads: one of them may wait for a stalled disk.
    runtime.shutdown_background();
    served
}
