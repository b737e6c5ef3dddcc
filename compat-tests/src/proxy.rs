//! A TCP proxy in front of the broker that can cut every connection at a chosen moment: after a
//! request has reached the broker and before the answer reaches the client. Idempotence is for this
//! case. It understands no protocol.

use crate::proxy_listener::ProxyListener;
use anyhow::Result;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

#[derive(Debug, Default)]
struct Shared {
    /// Set while answers are withheld: data from the broker is dropped, together with the
    /// connection.
    swallow: AtomicBool,
    cut: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// Listens from `start` until the process ends.
#[derive(Debug)]
pub struct Proxy {
    listener: ProxyListener,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn start() -> Result<Proxy> {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let listener = ProxyListener::open(move |client, broker| serve(client, broker, &serving))?;
        Ok(Proxy { listener, shared })
    }

    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Sets the port of the broker.
    pub fn connect_to(&self, port: u16) {
        self.listener.connect_to(port);
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

    /// The number of streams that were cut so far, including those with a dropped answer.
    pub fn cuts(&self) -> u64 {
        self.shared.cut.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, broker: TcpStream, shared: &Arc<Shared>) -> Result<()> {
    let (client_in, client_out) = (client.try_clone()?, client.try_clone()?);
    let (broker_in, broker_out) = (broker.try_clone()?, broker.try_clone()?);
    shared.open.lock().unwrap_or_else(PoisonError::into_inner).extend([client, broker]);
    thread::spawn(move || pump(client_in, broker_out, None));
    let shared = Arc::clone(shared);
    thread::spawn(move || pump(broker_in, client_out, Some(&shared)));
    Ok(())
}

/// Copies until either side ends. `answers` is set for the direction from the broker.
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
