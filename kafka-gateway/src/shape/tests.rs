#![allow(clippy::unwrap_used)]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind};

use super::{ShapeError, check};
use crate::api::APIS;
use crate::fuzzing::fuzz_frame_decoder;
use crate::samples;

const PLENTY: usize = 1000;

/// Every request of every version; versions 0 to 2 of Produce, and 10 of OffsetCommit and
/// OffsetFetch, are not the crate's.
fn for_every_request(mut test: impl FnMut(i16, i16, Bytes)) {
    for api in APIS {
        for version in api.version_min..=api.version_max {
            test(api.key, version, samples::body(api.key, version));
        }
    }
}

#[test]
fn the_walk_ends_where_the_decoder_ends() {
    for_every_request(|key, version, body| {
        let mut longer = BytesMut::from(&body[..]);
        longer.put_slice(b"more");
        assert_eq!(check(key, version, &longer, PLENTY), Ok(body.len()), "{key} {version}");
        if (key == 0 && version < 3) || (matches!(key, 8 | 9) && version == 10) {
            return;
        }
        let mut rest = longer.freeze();
        let decoded = RequestKind::decode(ApiKey::try_from(key).unwrap(), &mut rest, version).unwrap();
        assert_eq!(decoded, samples::request(key, version), "{key} {version}");
        assert_eq!(rest.as_ref(), b"more", "{key} {version}");
    });
}

#[test]
fn a_cut_request_is_refused_at_every_length() {
    for_every_request(|key, version, body| {
        for length in 0..body.len() {
            assert!(check(key, version, &body[..length], PLENTY).is_err(), "{key} {version} cut to {length}");
        }
    });
}

#[test]
fn elements_are_counted() {
    let body = samples::body(15, 0);
    assert!(check(15, 0, &body, 2).is_ok());
    assert_eq!(check(15, 0, &body, 1), Err(ShapeError::TooManyElements { elements_max: 1 }));
}

/// These frames made the decoder reserve terabytes, which ends the process: that it lives is the
/// test.
#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    for count in [i32::MAX, 1 << 30, -2, i32::MIN] {
        let mut body = BytesMut::new();
        body.put_i32(count);
        let refused = check(3, 1, &body, usize::MAX);
        assert!(
            matches!(refused, Err(ShapeError::Truncated { .. } | ShapeError::NegativeLength { .. })),
            "{count}: {refused:?}"
        );
    }
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(check(3, 9, &compact, usize::MAX).is_err());
}

#[test]
fn a_tag_of_another_size_than_its_schema_is_refused() {
    let body = samples::body(1, 17);
    let position = body.windows(6).position(|found| found == [1, 0, 16, 0, 0, 0]).unwrap() + 1;
    let mut forged = BytesMut::from(&body[..]);
    forged[position + 1] = 15;
    assert_eq!(check(1, 17, &forged, PLENTY), Err(ShapeError::TagSize { tag: 0, size: 15, expected: 16 }));
}

#[test]
fn every_byte_of_every_request_may_be_wrong() {
    for_every_request(|key, version, _| {
        let frame = samples::frame(key, version, 1);
        for index in 8..frame.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut forged = frame[4..].to_vec();
                forged[index - 4] = value;
                fuzz_frame_decoder(&forged);
            }
        }
    });
}
