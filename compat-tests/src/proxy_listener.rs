//! A port in front of a broker: accepts connections, opens one to the broker for each, and passes
//! both on. Its users handle the traffic: `proxy`, `coverage/recorder`, `crash/lying_proxy`.

use anyhow::Result;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

/// Listens from `open` until the process ends.
#[derive(Debug)]
pub struct ProxyListener {
    port: u16,
    /// The broker's port; 0 until it is known.
    upstream: Arc<AtomicU16>,
}

impl ProxyListener {
    /// `serve` gets the client's connection and the broker's, and must not block.
    pub fn open(serve: impl Fn(TcpStream, TcpStream) -> Result<()> + Send + 'static) -> Result<ProxyListener> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let upstream = Arc::new(AtomicU16::new(0));
        let known = Arc::clone(&upstream);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A stopped broker refuses the connection. Dropping the client's connection lets
                // the client notice.
                let broker = TcpStream::connect(("127.0.0.1", known.load(Ordering::SeqCst)));
                let _ = broker.map(|broker| serve(client, broker));
            }
        });
        Ok(ProxyListener { port, upstream })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the port of the broker.
    pub fn connect_to(&self, port: u16) {
        self.upstream.store(port, Ordering::SeqCst);
    }
}
