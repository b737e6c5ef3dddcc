//! A TCP proxy in front of the broker that can cut every connection at a chosen moment: after a request has reached the broker
//! and before the answer reaches the client, which is what idempotence is for. It understands no protocol.

use anyhow::Result;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

#[derive(Debug, Default)]
struct Shared {
    /// The broker's port; 0 until it is known.
    upstream: AtomicU16,
    /// Set while answers are withheld: what the broker sends is dropped, and the connection with it.
    swallow: AtomicBool,
    cut: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// Listens from `start` until the process ends.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn start() -> Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                serve(client, &accepting);
            }
        });
        Ok(Proxy { port, shared })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Names the broker behind.
    pub fn connect_to(&self, port: u16) {
        self.shared.upstream.store(port, Ordering::SeqCst);
    }

    /// Drops the next answer of every connection, and the connection with it.
    pub fn swallow_answers(&self, swallow: bool) {
        self.shared.swallow.store(swallow, Ordering::SeqCst);
    }

    /// Cuts all connections now.
    pub fn cut(&self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            if stream.shutdown(Shutdown::Both).is_ok() {
                self.shared.cut.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// How many streams were cut so far, answers swallowed included.
    pub fn cuts(&self) -> u64 {
        self.shared.cut.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let port = shared.upstream.load(Ordering::SeqCst);
    let Ok(broker) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let copies = [client.try_clone(), client.try_clone(), broker.try_clone(), broker.try_clone()];
    let [Ok(client_in), Ok(client_out), Ok(broker_in), Ok(broker_out)] = copies else { return };
    shared.open.lock().unwrap_or_else(PoisonError::into_inner).extend([client, broker]);
    thread::spawn(move || pump(client_in, broker_out, None));
    let shared = Arc::clone(shared);
    thread::spawn(move || pump(broker_in, client_out, Some(&shared)));
}

/// Copies until either side ends; `answers` is given for the direction from the broker.
fn pump(mut from: TcpStream, mut to: TcpStream, answers: Option<&Shared>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if let Some(shared) = answers.filter(|shared| shared.swallow.load(Ordering::SeqCst)) {
            shared.cut.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
