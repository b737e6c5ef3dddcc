//! A proxy between a client and the broker. Records which API was requested in which version and
//! answered, and the name that the client gives itself. Forwards frames unchanged, and does not
//! judge their content.

use crate::proxy_listener::ProxyListener;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rustmq_kafka_codec_messages::{ApiKey, ApiVersionsRequest, RequestHeader, decode};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Larger than any frame of the scenarios.
const FRAME_MAX: usize = 64 << 20;
/// The bytes of the key, the version and the correlation id.
const HEADER_MIN: usize = 8;

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    pub key: i16,
    pub version: i16,
}

#[derive(Debug, Default)]
struct Recorded {
    exchanges: BTreeSet<Exchange>,
    softwares: BTreeSet<String>,
}

/// The requests of one connection that wait for their answers, by correlation id.
type Open = Arc<Mutex<BTreeMap<[u8; 4], Exchange>>>;

/// Listens from `start` until the process ends.
#[derive(Debug)]
pub struct Recorder {
    listener: ProxyListener,
    seen: Arc<Mutex<Recorded>>,
}

impl Recorder {
    pub fn start() -> Result<Recorder> {
        let seen = Arc::new(Mutex::new(Recorded::default()));
        let noted = Arc::clone(&seen);
        let listener = ProxyListener::open(move |client, broker| serve(client, broker, &noted))?;
        Ok(Recorder { listener, seen })
    }

    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Sets the port of the broker.
    pub fn connect_to(&self, port: u16) {
        self.listener.connect_to(port);
    }

    /// The requests that were answered so far.
    pub fn exchanges(&self) -> BTreeSet<Exchange> {
        lock(&self.seen).exchanges.clone()
    }

    pub fn has_seen(&self, key: ApiKey) -> bool {
        lock(&self.seen).exchanges.iter().any(|exchange| exchange.key == key as i16)
    }

    /// The names that clients gave their software, if they gave one.
    pub fn softwares(&self) -> BTreeSet<String> {
        lock(&self.seen).softwares.clone()
    }
}

fn serve(client: TcpStream, broker: TcpStream, seen: &Arc<Mutex<Recorded>>) -> Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let open = Open::default();
    let (requests_in, requests_out) = (client.try_clone()?, broker.try_clone()?);
    let (asking, asked) = (Arc::clone(seen), Arc::clone(&open));
    thread::spawn(move || {
        pump(requests_in, requests_out, |frame| {
            let (exchange, correlation) = read_request(frame)?;
            lock(&asked).insert(correlation, exchange);
            if let Some(software) = software(frame, exchange) {
                lock(&asking).softwares.insert(software);
            }
            Ok(())
        });
    });
    let answering = Arc::clone(seen);
    thread::spawn(move || {
        pump(broker, client, |frame| {
            let correlation = frame.first_chunk().context("an answer without a header")?;
            if let Some(exchange) = lock(&open).remove(correlation) {
                lock(&answering).exchanges.insert(exchange);
            }
            Ok(())
        });
    });
    Ok(())
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forwards frames until either side ends. Each frame is recorded first, so that no answer arrives
/// before its request is known.
fn pump(mut from: TcpStream, mut to: TcpStream, mut note: impl FnMut(&[u8]) -> Result<()>) {
    let mut pass = || -> Result<()> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let size = usize::try_from(i32::from_be_bytes(length)).context("a negative length")?;
        ensure!(size <= FRAME_MAX, "a frame of {size} bytes");
        let mut frame = length.to_vec();
        frame.resize(length.len() + size, 0);
        from.read_exact(&mut frame[length.len()..])?;
        note(&frame[length.len()..])?;
        Ok(to.write_all(&frame)?)
    };
    while pass().is_ok() {}
    // Either may be closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// The request, and its correlation id.
fn read_request(frame: &[u8]) -> Result<(Exchange, [u8; 4])> {
    let header: &[u8; HEADER_MIN] = frame.first_chunk().context("a request without a header")?;
    let [k0, k1, v0, v1, correlation @ ..] = *header;
    Ok((Exchange { key: i16::from_be_bytes([k0, k1]), version: i16::from_be_bytes([v0, v1]) }, correlation))
}

/// The name that a client gives in ApiVersions (KIP-511).
fn software(frame: &[u8], exchange: Exchange) -> Option<String> {
    const NAMES_FROM: i16 = 3;
    if exchange.key != ApiKey::ApiVersions as i16 || exchange.version < NAMES_FROM {
        return None;
    }
    let (header, body) = RequestHeader::read(Bytes::copy_from_slice(frame)).ok()?;
    let request: ApiVersionsRequest = decode(header.version, body, FRAME_MAX).ok()?;
    Some(request.client_software_name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    /// A broker that answers each request with its correlation id alone, and never answers key 2.
    fn echo() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4 + HEADER_MIN];
            while stream.read_exact(&mut request).is_ok() {
                if request[5] != 2 {
                    stream.write_all(&[0, 0, 0, 4]).unwrap();
                    stream.write_all(&request[8..]).unwrap();
                }
            }
        });
        port
    }

    #[test]
    fn what_is_answered_is_seen_and_what_is_only_asked_is_not() {
        let recorder = Recorder::start().unwrap();
        recorder.connect_to(echo());
        let mut client = TcpStream::connect(("127.0.0.1", recorder.port())).unwrap();
        for [key, version, correlation] in [[2, 1, 1], [3, 9, 2], [1, 4, 3]] {
            client.write_all(&[0, 0, 0, 8, 0, key, 0, version, 0, 0, 0, correlation]).unwrap();
        }
        let mut answers = [0; 16];
        client.read_exact(&mut answers).unwrap();
        assert_eq!(answers, [0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 3]);
        let expected = [Exchange { key: 1, version: 4 }, Exchange { key: 3, version: 9 }];
        assert_eq!(recorder.exchanges(), expected.into());
        assert!(recorder.has_seen(ApiKey::Metadata) && !recorder.has_seen(ApiKey::ListOffsets));
    }
}
