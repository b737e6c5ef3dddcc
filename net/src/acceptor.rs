//! Accepts connections, even while the process is out of descriptors. [`crate::Server`] decides
//! whom to serve.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

/// The connections that the kernel completes before they are accepted.
const BACKLOG: u32 = 1024;
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection was closed at once, because the process is out of descriptors.
#[derive(Debug)]
pub(crate) struct OutOfDescriptors;

/// A listener that outlasts failures, and logs when a series of them begins and ends. It holds
/// spare descriptors for times without free ones. The last spare one accepts a connection only to
/// close it, so that its client learns of it at once.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    local_addr: SocketAddr,
    spares: SpareDescriptors,
    failures: Failures,
}

impl Acceptor {
    /// Binds the address; port 0 takes a free port. Takes over a port whose connections the kernel
    /// has not forgotten yet (TIME_WAIT). Can serve `served_by_spares` connections when there are
    /// no other descriptors. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(address: SocketAddr, served_by_spares: usize) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let local_addr = listener.local_addr()?;
        let spares = SpareDescriptors::hold(served_by_spares + 1);
        Ok(Self { listener, local_addr, spares, failures: Failures { count: 0 } })
    }

    /// The address that the listener is bound to, with its real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Waits for the next connection. Returns [`OutOfDescriptors`] if it had to close one. Safe to
    /// cancel.
    pub(crate) async fn accept(&mut self) -> Result<(TcpStream, SocketAddr), OutOfDescriptors> {
        loop {
            let error = match self.listener.accept().await {
                Ok(accepted) => {
                    self.spares.refill();
                    // A success that took a spare descriptor does not end the series: otherwise
                    // each connection would log two lines while there are no free descriptors.
                    if self.spares.are_all_held()
                        && let Some(failures) = self.failures.end()
                    {
                        tracing::warn!(failures, "connections are accepted again");
                    }
                    return Ok(accepted);
                }
                Err(error) => error,
            };
            let failure = AcceptFailure::of(&error);
            if failure == AcceptFailure::OneConnection {
                continue;
            }
            if self.failures.add() {
                tracing::warn!(%error, "accepting connections fails: it is tried again and again");
            }
            if failure == AcceptFailure::Descriptors {
                match self.spares.release() {
                    // The next attempt has a descriptor.
                    Some(SpareUse::Serve) => continue,
                    Some(SpareUse::Refuse) if self.close_one().await => return Err(OutOfDescriptors),
                    Some(SpareUse::Refuse) | None => {}
                }
            }
            sleep(PAUSE).await;
            self.spares.refill();
        }
    }

    /// Accepts the waiting connection and closes it. Returns whether that succeeded.
    async fn close_one(&mut self) -> bool {
        let accepted = poll_fn(|context| match self.listener.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(accepted.is_ok()),
            Poll::Pending => Poll::Ready(false),
        });
        let is_closed = accepted.await;
        self.spares.refill();
        is_closed
    }
}

/// The cause of a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptFailure {
    /// The process or the machine has no free descriptor.
    Descriptors,
    /// The connection itself has failed; the next one may succeed (accept(2), *Error handling*).
    OneConnection,
    Other,
}

impl AcceptFailure {
    fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::Descriptors,
            Some(Errno::PROTO | Errno::NOPROTOOPT | Errno::HOSTDOWN | Errno::NONET | Errno::PERM) => {
                Self::OneConnection
            }
            _ => match error.kind() {
                ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::NetworkDown
                | ErrorKind::NetworkUnreachable
                | ErrorKind::HostUnreachable
                | ErrorKind::TimedOut
                | ErrorKind::Interrupted => Self::OneConnection,
                _ => Self::Other,
            },
        }
    }
}

/// Descriptors that are held in reserve.
#[derive(Debug)]
struct SpareDescriptors {
    held: Vec<File>,
    count: usize,
}

/// The purpose of a spare descriptor that was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpareUse {
    Serve,
    Refuse,
}

impl SpareDescriptors {
    /// Opens up to `count` descriptors, as many as the system allows.
    fn hold(count: usize) -> Self {
        let mut spares = Self { held: Vec::with_capacity(count), count };
        spares.refill();
        spares
    }

    fn refill(&mut self) {
        while self.held.len() < self.count
            && let Ok(spare) = File::open("/dev/null")
        {
            self.held.push(spare);
        }
    }

    const fn are_all_held(&self) -> bool {
        self.held.len() == self.count
    }

    /// Closes one of the descriptors, if there is one.
    fn release(&mut self) -> Option<SpareUse> {
        drop(self.held.pop()?);
        Some(if self.held.is_empty() { SpareUse::Refuse } else { SpareUse::Serve })
    }
}

/// A series of failures without a success between them.
#[derive(Debug)]
struct Failures {
    count: u64,
}

impl Failures {
    /// Counts a failure. Returns whether it is the first of its series.
    const fn add(&mut self) -> bool {
        self.count += 1;
        self.count == 1
    }

    /// Ends the series after a success. Returns the number of its failures, if there were any.
    fn end(&mut self) -> Option<u64> {
        let count = std::mem::take(&mut self.count);
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{AcceptFailure, Failures, SpareDescriptors, SpareUse};

    #[test]
    fn failures_are_said_when_they_begin_and_when_they_end() {
        let mut failures = Failures { count: 0 };
        assert_eq!(failures.end(), None);
        for _ in 0..2 {
            assert!(failures.add());
            assert!(!failures.add() && !failures.add());
            assert_eq!(failures.end(), Some(3));
            assert_eq!(failures.end(), None);
        }
    }

    #[test]
    fn the_last_spare_descriptor_refuses() {
        let mut spares = SpareDescriptors::hold(3);
        for _ in 0..2 {
            let uses: Vec<_> = std::iter::from_fn(|| spares.release()).collect();
            assert_eq!(uses, [SpareUse::Serve, SpareUse::Serve, SpareUse::Refuse]);
            spares.refill();
        }
    }

    #[test]
    fn what_fails_with_one_connection_is_no_failure_of_the_listener() {
        use rustix::io::Errno;
        for (errno, expected) in [
            (Errno::MFILE, AcceptFailure::Descriptors),
            (Errno::NFILE, AcceptFailure::Descriptors),
            (Errno::CONNABORTED, AcceptFailure::OneConnection),
            (Errno::PROTO, AcceptFailure::OneConnection),
            (Errno::HOSTUNREACH, AcceptFailure::OneConnection),
            (Errno::PERM, AcceptFailure::OneConnection),
            (Errno::INTR, AcceptFailure::OneConnection),
            (Errno::NOMEM, AcceptFailure::Other),
            (Errno::INVAL, AcceptFailure::Other),
        ] {
            assert_eq!(AcceptFailure::of(&io::Error::from(errno)), expected, "{errno:?}");
        }
    }
}
