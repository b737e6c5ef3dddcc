//! Produce versions 0 to 2, which carry message sets of before Kafka 0.11. They are advertised, since librdkafka reads the least version as a
//! sign of what compression the broker takes (KAFKA-18659), and refused: each partition is answered with UNSUPPORTED_VERSION.
//!
//! The messages crate begins with version 3, so that both sides are written here. Records are not looked at.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::api::{Call, CallError};
use crate::connection::Handling;
use crate::error_map;
use crate::response::Response;

/// Answers with a refusal of every partition; with acks 0, which has no answer, by the end of the connection.
pub fn refuse(call: &Call) -> Result<Handling, CallError> {
    let (acks, topics) = read(call.body()?).ok_or_else(|| call.undecodable("a null where none is allowed"))?;
    if acks == 0 {
        let reason = format!("Produce version {} carries message sets of before Kafka 0.11", call.version());
        return Err(CallError::RefusedSilently { reason });
    }
    let mut frame = Response::header(call.header.correlation_id, false);
    write(&mut frame, &topics, call.version());
    Ok(Handling::Ready(Response::seal(vec![frame.freeze()], call.version())?))
}

/// A topic's name and the partitions asked for.
type Topic = (Bytes, Vec<i32>);

/// Acks, and the topics.
fn read(mut body: Bytes) -> Option<(i16, Vec<Topic>)> {
    let acks = body.try_get_i16().ok()?;
    let _timeout_ms = body.try_get_i32().ok()?;
    let mut topics = Vec::new();
    for _ in 0..body.try_get_i32().ok()? {
        let length = body.try_get_i16().ok()?;
        let name = take(&mut body, i32::from(length))?;
        let mut partitions = Vec::new();
        for _ in 0..body.try_get_i32().ok()? {
            partitions.push(body.try_get_i32().ok()?);
            let length = body.try_get_i32().ok()?;
            take(&mut body, length.max(0))?;
        }
        topics.push((name, partitions));
    }
    Some((acks, topics))
}

fn take(body: &mut Bytes, length: i32) -> Option<Bytes> {
    let length = usize::try_from(length).ok().filter(|length| *length <= body.len())?;
    Some(body.split_to(length))
}

fn write(frame: &mut BytesMut, topics: &[Topic], version: i16) {
    const FITS: &str = "counts and lengths are those of the request";
    frame.put_i32(i32::try_from(topics.len()).expect(FITS));
    for (name, partitions) in topics {
        frame.put_i16(i16::try_from(name.len()).expect(FITS));
        frame.put_slice(name);
        frame.put_i32(i32::try_from(partitions.len()).expect(FITS));
        for partition in partitions {
            frame.put_i32(*partition);
            frame.put_i16(error_map::UNSUPPORTED_VERSION);
            frame.put_i64(-1);
            if version >= 2 {
                frame.put_i64(-1);
            }
        }
    }
    if version >= 1 {
        frame.put_i32(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::{BufMut, Bytes, BytesMut};

    use super::{read, write};

    #[test]
    fn every_partition_is_refused() {
        let mut body = BytesMut::new();
        body.put_i16(1);
        body.put_i32(1000);
        body.put_i32(1);
        body.put_i16(1);
        body.put_u8(b't');
        body.put_i32(2);
        for partition in [4, 7] {
            body.put_i32(partition);
            body.put_i32(3);
            body.put_slice(b"abc");
        }
        let (acks, topics) = read(body.clone().freeze()).unwrap();
        assert_eq!((acks, topics.as_slice()), (1, [(Bytes::from_static(b"t"), vec![4, 7])].as_slice()));
        for (version, size) in [(0, 4 + 3 + 4 + 2 * 14), (1, 4 + 3 + 4 + 2 * 14 + 4), (2, 4 + 3 + 4 + 2 * 22 + 4)] {
            let mut frame = BytesMut::new();
            write(&mut frame, &topics, version);
            assert_eq!(frame.len(), size, "version {version}");
        }
        for length in 0..body.len() {
            assert_eq!(read(Bytes::copy_from_slice(&body[..length])), None, "{length} bytes");
        }
    }
}
