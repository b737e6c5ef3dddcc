//! The command line of `rustmq`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::config::FlagValue;

/// A message broker that Kafka clients use unchanged. Starts on embedded defaults; every setting is
/// in docs/configuration.md.
#[derive(Debug, Parser)]
#[command(name = "rustmq", version, about)]
pub struct Arguments {
    /// Configuration file (TOML); SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for everything that is stored [default: ./rustmq-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where Kafka clients connect [default: 0.0.0.0:9092]
    #[arg(long, value_name = "ADDR")]
    pub kafka: Option<SocketAddr>,
    /// Where /health, /ready and /metrics answer [default: 0.0.0.0:9642]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Check the configuration and exit
    #[arg(long)]
    pub check: bool,
    /// Show the configuration in force, with the origin of each value, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Print the reference page of all settings and exit
    #[arg(long, hide = true)]
    pub print_reference: bool,
    /// Repair a write-ahead log that is refused as corrupt, report what is lost, and exit
    #[arg(long)]
    pub repair: bool,
}

impl Arguments {
    /// The settings that are given as flags.
    pub fn flag_values(&self) -> Vec<FlagValue> {
        let address = |address: &Option<SocketAddr>| address.as_ref().map(ToString::to_string);
        let flags = [
            ("data_dir", "--data-dir", self.data_dir.clone()),
            ("network.kafka_listen", "--kafka", address(&self.kafka)),
            ("network.http_listen", "--http", address(&self.http)),
        ];
        flags.into_iter().filter_map(|(name, flag, text)| Some(FlagValue { name, flag, text: text? })).collect()
    }
}
