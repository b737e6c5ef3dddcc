//! A port in front of a broker: takes connections, opens one to the broker for each, and hands both
//! on. What passes between them is the business of those who stand in the door: `proxy`,
//! `coverage/recorder`, `crash/liar`.

use anyhow::Result;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

/// Open from `open` until the process ends.
#[derive(Debug)]
pub struct Door {
    port: u16,
    /// The broker's port; 0 until it is known.
    upstream: Arc<AtomicU16>,
}

impl Door {
    /// `serve` gets the client's connection and the broker's, and must not block.
    pub fn open(serve: impl Fn(TcpStream, TcpStream) -> Result<()> + Send + 'static) -> Result<Door> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let upstream = Arc::new(AtomicU16::new(0));
        let known = Arc::clone(&upstream);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A broker that is down refuses: its client is then refused too, and finds out.
                let broker = TcpStream::connect(("127.0.0.1", known.load(Ordering::SeqCst)));
                let _ = broker.map(|broker| serve(client, broker));
            }
        });
        Ok(Door { port, upstream })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Names the broker behind.
    pub fn connect_to(&self, port: u16) {
        self.upstream.store(port, Ordering::SeqCst);
    }
}
