//! Frames around messages.

use bytes::{BufMut, Bytes, BytesMut};
use rustmq_kafka_codec_messages::api_versions_response::ApiVersion;
use rustmq_kafka_codec_messages::fetch_response::{FetchableTopicResponse, PartitionData};
use rustmq_kafka_codec_messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, DecodeError, EncodeError, FetchResponse, FindCoordinatorResponse,
    HeartbeatRequest, JoinGroupResponse, RequestHeader, decode, encode_request, encode_response,
};

use super::PLENTY;

#[test]
fn a_request_frame_is_read_as_it_was_written() {
    let request = HeartbeatRequest { group_id: "g".to_owned(), generation_id: 7, ..HeartbeatRequest::default() };
    for version in 0..=4 {
        let frame = encode_request(-5, "me", version, &request).unwrap();
        assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_be_bytes());
        let (header, body) = RequestHeader::read(frame.slice(4..)).unwrap();
        let client_id = Some("me".to_owned());
        assert_eq!(header, RequestHeader { key: 12, version, correlation_id: -5, client_id });
        assert_eq!(decode::<HeartbeatRequest>(version, body, PLENTY).unwrap(), request);
    }
}

#[test]
fn headers_are_flexible_where_the_version_is_known_to_be() {
    let header = |key: i16, version: i16, rest: &[u8]| {
        let mut frame = BytesMut::new();
        frame.put_i16(key);
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        frame.put_slice(rest);
        RequestHeader::read(frame.freeze()).map(|(_, body)| body)
    };
    // Two tagged fields, the first of them empty.
    let tagged = [2, 0, 0, 1, 2, 8, 9, 7];
    assert_eq!(header(12, 4, &tagged).unwrap(), &[7][..]);
    assert_eq!(header(12, 3, &tagged).unwrap(), &tagged[..]);
    assert_eq!(header(12, 5, &tagged).unwrap(), &tagged[..], "a version that is not known");
    assert_eq!(header(4000, 5, &tagged).unwrap(), &tagged[..], "a key that is not known");
    for end in 0..7 {
        assert_eq!(header(12, 4, &tagged[..end]), Err(DecodeError::Truncated { field: "tagged fields" }), "{end}");
    }
    let many = [0xe8, 0x07].into_iter().chain([0; 2000]).collect::<Vec<u8>>();
    assert_eq!(header(12, 4, &many), Err(DecodeError::TooManyElements { elements_max: 100 }));
}

#[test]
fn a_header_that_is_cut_or_no_text_is_refused() {
    let frame = encode_request(1, "client", 0, &ApiVersionsRequest::default()).unwrap().slice(4..);
    for end in 0..frame.len() {
        assert!(RequestHeader::read(frame.slice(..end)).is_err(), "{end}");
    }
    let mut forged = frame.to_vec();
    forged[10] = 0xff;
    assert_eq!(RequestHeader::read(forged.into()), Err(DecodeError::NotUtf8 { field: "client_id" }));
}

#[test]
fn the_header_of_a_response_is_flexible_but_for_api_versions() {
    let response = ApiVersionsResponse { api_keys: vec![ApiVersion::default()], ..ApiVersionsResponse::default() };
    let frame = |segments: Vec<Bytes>| segments.concat();
    let inflexible = frame(encode_response(9, 3, &response).unwrap());
    assert_eq!(inflexible[4..11], [0, 0, 0, 9, 0, 0, 2], "code and count follow the correlation id");
    let flexible = frame(encode_response(9, 3, &FindCoordinatorResponse::default()).unwrap());
    assert_eq!(flexible[4..9], [0, 0, 0, 9, 0], "no tagged fields");
}

#[test]
fn records_of_a_response_are_sent_where_they_lie() {
    let batches = [Bytes::from(vec![1; 70]), Bytes::new(), Bytes::from(vec![2; 20_000])];
    let data = |records: &[Bytes]| PartitionData { records: Some(records.to_vec()), ..PartitionData::default() };
    let partitions = vec![data(&batches), data(&[]), data(&batches[2..])];
    let topic = FetchableTopicResponse { partitions, ..FetchableTopicResponse::default() };
    let response = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
    for version in [4, 12, 18] {
        let segments = encode_response(1, version, &response).unwrap();
        let sent = |batch: &Bytes| segments.iter().filter(|segment| segment.as_ptr() == batch.as_ptr()).count();
        assert_eq!((sent(&batches[0]), sent(&batches[2])), (1, 2), "version {version}");
        assert!(segments.iter().all(|segment| !segment.is_empty()), "version {version}");
        let frame: Bytes = segments.concat().into();
        assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_be_bytes(), "version {version}");
        let body = frame.slice(if version >= 12 { 9.. } else { 8.. });
        let received: FetchResponse = decode(version, body, PLENTY).unwrap();
        let whole = received.responses[0].partitions[0].records.clone();
        assert_eq!(whole, Some(vec![Bytes::from(batches.concat())]), "version {version}");
    }
}

#[test]
fn what_a_version_cannot_carry_is_not_sent() {
    let named = JoinGroupResponse { protocol_type: Some("consumer".to_owned()), ..JoinGroupResponse::default() };
    assert!(encode_response(1, 7, &named).is_ok());
    assert!(encode_response(1, 6, &named).is_ok(), "the schema lets it be left out");
    let nameless = JoinGroupResponse { protocol_name: None, ..JoinGroupResponse::default() };
    assert!(encode_response(1, 7, &nameless).is_ok());
    let null = EncodeError::Null { field: "protocol_name", version: 6 };
    assert_eq!(encode_response(1, 6, &nameless).unwrap_err(), null);
    let skipped = JoinGroupResponse { skip_assignment: true, ..JoinGroupResponse::default() };
    let lost = EncodeError::NotInVersion { field: "skip_assignment", version: 8 };
    assert!(encode_response(1, 9, &skipped).is_ok());
    assert_eq!(encode_response(1, 8, &skipped).unwrap_err(), lost);
    let long = JoinGroupResponse { leader: "x".repeat(40_000), ..JoinGroupResponse::default() };
    let length = EncodeError::Length { field: "leader", length: 40_000 };
    assert_eq!(encode_response(1, 9, &long).unwrap_err(), length);
    let unknown = EncodeError::Version { key: ApiKey::JoinGroup, version: 10 };
    assert_eq!(encode_response(1, 10, &named).unwrap_err(), unknown);
}
