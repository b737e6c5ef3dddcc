//! Loopback ports for brokers. A port is claimed until this process ends: a killed broker finds it
//! again, and concurrent test processes share none.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the ports that the kernel gives to connecting clients (from 32,768 on): a client could
/// take such a port before the broker listens on it.
const PORTS: Range<u16> = 20_000..32_000;

/// One locked file per port. The locks end with the process.
static CLAIMED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that nobody listens on, and that no other process has claimed.
pub fn claim() -> io::Result<u16> {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = std::env::temp_dir().join("rustmq-test-ports");
    fs::create_dir_all(&folder)?;
    // Two processes rarely begin at the same port.
    let first = usize::try_from(std::process::id()).unwrap_or_default().wrapping_mul(61);
    for number in 0..PORTS.len() {
        let port = PORTS.start + u16::try_from((first + number) % PORTS.len()).expect("the range is of ports");
        let file = File::options().create(true).append(true).open(folder.join(port.to_string()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            claimed.push(file);
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("no port of {PORTS:?} is free: end the processes that listen there"),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::net::{TcpListener, TcpStream};

    use super::claim;

    #[test]
    fn a_claimed_port_goes_to_nobody_who_connects_and_to_no_other_process() {
        let ports: BTreeSet<u16> = (0..20).map(|_| claim().unwrap()).collect();
        assert_eq!(ports.len(), 20);
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let given_out: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(ports.iter().all(|port| *port < given_out), "{ports:?} from {given_out} on");
        let listener = TcpListener::bind(("127.0.0.1", *ports.first().unwrap())).unwrap();
        assert!(TcpStream::connect(listener.local_addr().unwrap()).is_ok());
        for port in ports {
            let file = File::open(std::env::temp_dir().join("rustmq-test-ports").join(port.to_string())).unwrap();
            assert!(file.try_lock().is_err(), "another process must not have port {port}");
        }
    }
}
