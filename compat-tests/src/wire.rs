//! One connection that speaks the protocol directly, for requests that no client library would
//! send: a given key in a given version. `kafka-protocol` encodes and decodes, or our own codec if
//! the version is newer than that. Nothing here retries.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use rustmq_kafka_codec_messages::{Decode, Encode, Reader, Request, encode_request};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Larger than any answer of the scenarios.
const LARGEST_FRAME: usize = 64 << 20;

#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    correlation: i32,
}

impl Wire {
    pub fn connect(port: u16) -> Result<Wire> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, correlation: 0 })
    }

    /// Sends `request` as `version` of `key`, without waiting.
    pub fn send(&mut self, key: ApiKey, version: i16, request: &RequestKind) -> Result<()> {
        self.correlation += 1;
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("compat-wire")))
            .encode(&mut frame, key.request_header_version(version))?;
        request.encode(&mut frame, version)?;
        self.send_frame(&frame)
    }

    /// Sends any bytes as one frame.
    pub fn send_frame(&mut self, frame: &[u8]) -> Result<()> {
        let length = u32::try_from(frame.len()).context("a frame too long")?;
        self.send_raw(&length.to_be_bytes())?;
        self.send_raw(frame)
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// The next frame.
    pub fn receive_frame(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("waiting for an answer")?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        ensure!(length <= LARGEST_FRAME, "an answer of {length} bytes");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).context("reading an answer")?;
        Ok(frame.into())
    }

    /// Receives the answer to the last request, and decodes it to its last byte.
    pub fn receive(&mut self, key: ApiKey, version: i16) -> Result<ResponseKind> {
        let mut frame = self.receive_frame()?;
        let header = ResponseHeader::decode(&mut frame, key.response_header_version(version))?;
        ensure!(
            header.correlation_id == self.correlation,
            "an answer to {} instead of {}",
            header.correlation_id,
            self.correlation
        );
        let response = ResponseKind::decode(key, &mut frame, version)
            .with_context(|| format!("decoding {key:?} v{version}: {frame:?}"))?;
        ensure!(!frame.has_remaining(), "{key:?} v{version} has {} bytes after its end", frame.remaining());
        Ok(response)
    }

    pub fn call(&mut self, key: ApiKey, version: i16, request: &RequestKind) -> Result<ResponseKind> {
        self.send(key, version, request)?;
        self.receive(key, version)
    }

    /// Sends a request by our own codec, and decodes the answer to its last byte.
    pub fn ask<M>(&mut self, version: i16, request: &M) -> Result<M::Response>
    where
        M: Request + Encode,
        M::Response: Decode,
    {
        self.correlation += 1;
        self.send_raw(&encode_request(self.correlation, "compat-wire", version, request)?)?;
        let mut frame = self.receive_frame()?;
        let correlation = frame.try_get_i32()?;
        ensure!(correlation == self.correlation, "an answer to {correlation} instead of {}", self.correlation);
        if M::KEY.has_flexible_response_header(version) {
            ensure!(frame.try_get_u8()? == 0, "tagged fields in a header");
        }
        let mut reader = Reader::new(frame, version, M::KEY.is_flexible(version), LARGEST_FRAME);
        let response = M::Response::decode(&mut reader).with_context(|| format!("decoding {} v{version}", M::KEY))?;
        let left = reader.rest().len();
        ensure!(left == 0, "{} v{version} has {left} bytes after its end", M::KEY);
        Ok(response)
    }

    /// Ends the sending side, and waits until the broker has handled everything and closes the
    /// connection.
    pub fn finish(mut self) -> Result<()> {
        // A broker that has closed already, or resets the connection of a refused request, has
        // handled it, too.
        let _ = self.stream.shutdown(Shutdown::Write);
        match self.stream.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("the connection stays open"),
            _ => Ok(()),
        }
    }

    /// Whether the broker has closed the connection. Waits as long as for an answer. A connection
    /// that is silent and open is not closed.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}
