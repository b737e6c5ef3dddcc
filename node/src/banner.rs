//! The text on standard output when the broker is ready: its addresses, its data folder, and the
//! first commands to try.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustmq_model::ByteSize;

/// The facts that the text shows.
#[derive(Debug)]
pub struct Started<'a> {
    pub kafka: SocketAddr,
    pub http: SocketAddr,
    pub data_dir: &'a Path,
    pub wal_capacity: ByteSize,
    pub fsync: bool,
    pub driver: &'static str,
    pub shards: usize,
    pub took: Duration,
}

/// An address that a client on this machine can dial.
fn dialable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}

#[must_use]
pub fn text(started: &Started<'_>) -> String {
    let kafka = dialable(started.kafka);
    let http = dialable(started.http);
    let durability = if started.fsync {
        "every acknowledged record is synced to disk"
    } else {
        "wal.fsync_on_write = false: a power cut loses acknowledged records"
    };
    format!(
        "\nRustMQ {version} is ready ({took} ms)\n\
         \n  Kafka    {kafka}\
         \n  HTTP     http://{http}/health  /ready  /metrics\
         \n  Data     {data} (up to {capacity} of log; at that point produce waits for retention)\
         \n  Engine   {shards} shard(s), {driver}; {durability}\n\
         \nNext, in another terminal:\n\
         \n  echo hello | kcat -b {kafka} -t greetings -P\
         \n  kcat -b {kafka} -t greetings -C -e\n\
         \nCtrl-C stops it; the data stays.\n",
        version = env!("CARGO_PKG_VERSION"),
        took = started.took.as_millis(),
        data = started.data_dir.display(),
        capacity = human(started.wal_capacity),
        shards = started.shards,
        driver = started.driver,
    )
}

/// A size in its largest unit, to one decimal.
fn human(size: ByteSize) -> String {
    let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, factor)) = units.iter().find(|(_, factor)| size.0 >= *factor) else { return size.to_string() };
    format!("{}.{} {unit}", size.0 / factor, size.0 % factor * 10 / factor)
}

#[cfg(test)]
mod tests {
    use super::{ByteSize, human};

    #[test]
    fn sizes_are_rounded_for_people() {
        assert_eq!(human(ByteSize::gib(3)), "3.0 GiB");
        assert_eq!(human(ByteSize(1_610_612_736)), "1.5 GiB");
        assert_eq!(human(ByteSize(12)), "12B");
    }
}
