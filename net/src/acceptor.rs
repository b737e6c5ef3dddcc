//! Accepting connections, also while the process is out of descriptors. Whom to serve is not
//! decided here.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: u32 = 1024;
/// How long accepting pauses after it failed.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection was closed at once, since the process is out of descriptors.
#[derive(Debug)]
pub(crate) struct OutOfDescriptors;

/// A listener whose failures are waited out, and said when they begin and when they end. It holds
/// descriptors for when there are no others: the last of them is for accepting a connection only to
/// close it, so that its client learns of it at once.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    local_addr: SocketAddr,
    spares: SpareDescriptors,
    failures: Failures,
}

impl Acceptor {
    /// Takes the address; port 0 takes a free one. A port in the state that a closed connection
    /// leaves behind is taken over. So many connections are served even if there are no other
    /// descriptors. Called within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be taken.
    pub fn bind(address: SocketAddr, served_by_spares: usize) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let local_addr = listener.local_addr()?;
        let spares = SpareDescriptors::hold(served_by_spares + 1);
        Ok(Self { listener, local_addr, spares, failures: Failures { count: 0 } })
    }

    /// The address that is listened on, its port known.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The next connection, or one that was closed at once. May be cancelled.
    pub(crate) async fn accept(&mut self) -> Result<(TcpStream, SocketAddr), OutOfDescriptors> {
        loop {
            let error = match self.listener.accept().await {
                Ok(accepted) => {
                    self.spares.refill();
                    // A success that cost a spare descriptor is none: each connection would else
                    // write two lines while the process has no others.
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
                match self.spares.give_up() {
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

    /// Accepts the connection that is there, and closes it; whether that worked.
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

/// What a failed accept is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptFailure {
    /// The process, or the machine, has no descriptor left.
    Descriptors,
    /// The connection that was to be accepted: the next one may be better (accept(2), *Error
    /// handling*).
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

/// Descriptors that are held to be given up.
#[derive(Debug)]
struct SpareDescriptors {
    held: Vec<File>,
    count: usize,
}

/// What a descriptor that was given up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpareUse {
    Serve,
    Refuse,
}

impl SpareDescriptors {
    /// Holds as many as there are, up to `count`.
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

    /// Closes one of them, if there is one.
    fn give_up(&mut self) -> Option<SpareUse> {
        drop(self.held.pop()?);
        Some(if self.held.is_empty() { SpareUse::Refuse } else { SpareUse::Serve })
    }
}

/// Failures without a success between them.
#[derive(Debug)]
struct Failures {
    count: u64,
}

impl Failures {
    /// One more; whether it is the first.
    const fn add(&mut self) -> bool {
        self.count += 1;
        self.count == 1
    }

    /// A success; how many failed before it, if any did.
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
            let uses: Vec<_> = std::iter::from_fn(|| spares.give_up()).collect();
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
