//! The command line of `rustmq`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::config::Flags;

/// A message broker that Kafka clients use unchanged. Starts on embedded defaults; every setting is
/// in docs/configuration.md.
#[derive(Debug, Parser)]
#[command(name = "rustmq", version, about)]
pub struct Arguments {
    /// Configuration file (TOML)
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
    pub fn flags(&self) -> Flags {
        let mut flags = Vec::new();
        if let Some(data_dir) = &self.data_dir {
            flags.push(("data_dir", "--data-dir", data_dir.clone()));
        }
        if let Some(kafka) = &self.kafka {
            flags.push(("network.kafka_listen", "--kafka", kafka.to_string()));
        }
        if let Some(http) = &self.http {
            flags.push(("network.http_listen", "--http", http.to_string()));
        }
        Flags(flags)
    }
}
