//! Thousands of connections, slow senders, readers that never read, and the largest requests. Each
//! crowd has its own broker, so that the memory of each is measured alone.

use super::bystander::{fetch_frame, store, topic, turn, unharmed};
use super::frame;
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, MetadataRequest, RequestKind, metadata_request};
use rustmq_compat_tests::versions::batch_of;
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{Server, Settings, Target, process};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 10;
/// The memory for the bystander's own requests, and the allocator's slack.
const SLACK_KIB: u64 = 64 * MIB;
/// The memory of a connection whose request is missing or small.
const CONNECTION_KIB: u64 = 16;
/// `socket.request.max.bytes`.
const REQUEST_BYTES_MAX: usize = 100 << 20;

/// The bytes that each fetch requests.
const FETCH_BYTES_MAX: i32 = 50 << 20;
/// The memory for answers that slow clients have not taken.
const COPIES_KIB: u64 = 256 * MIB;

/// The memory for answers from the disk.
const READS_KIB: u64 = 64 * MIB;

/// A broker. It and this process have enough descriptors for ten thousand connections between them.
fn broker() -> Server {
    static DESCRIPTORS: Once = Once::new();
    DESCRIPTORS.call_once(|| {
        let pid = std::process::id().to_string();
        process::run_to_end(Command::new("prlimit").args(["--pid", &pid, "--nofile=12000:12000"]))
            .expect("these scenarios need 12,000 descriptors: raise the hard limit (ulimit -Hn)");
    });
    Server::start(settings()).unwrap()
}

/// A small log, because this test is not about the descriptors of a large one.
fn settings() -> Settings {
    Settings::default().with("wal.capacity_bytes", "1GiB")
}

/// A number of connections; fewer on Kafka, whose heap is small here.
fn crowd(server: &Server, ours: u64, kafkas: u64) -> u64 {
    if server.target() == Target::Kafka { kafkas } else { ours }
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.port())).unwrap()
}

fn framed(content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

/// A batch of one record of this size.
fn large_batch(size: usize) -> Bytes {
    batch_of([vec![7; size].into()].into_iter())
}

#[test]
fn ten_thousand_half_open_connections_leave_the_others_served() {
    let _turn = turn();
    let server = broker();
    // The bystander has the rest of the 10,000.
    let count = crowd(&server, 9_900, 1_000);
    unharmed(&server, count * CONNECTION_KIB + SLACK_KIB, || {
        let request = framed(&frame(ApiKey::ApiVersions, 0, &RequestKind::ApiVersions(ApiVersionsRequest::default())));
        let mut open: Vec<TcpStream> = (0..count).map(|_| connect(&server)).collect();
        for (stream, number) in open.iter_mut().zip(0..) {
            // Nothing, a length, half a request.
            let sent = [0, 4, request.len() / 2][number % 3];
            stream.write_all(&request[..sent]).unwrap();
        }
        // Half a request is not lost: the other half completes it.
        for (stream, number) in open.iter_mut().zip(0..) {
            let sent = [0, 4, request.len() / 2][number % 3];
            stream.write_all(&request[sent..]).unwrap();
        }
        for stream in &mut open {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.read_exact(&mut [0; 8]).unwrap();
        }
    });
}

#[test]
fn requests_that_come_byte_by_byte_are_answered_and_slow_nobody() {
    const COUNT: u64 = 500;
    let _turn = turn();
    let server = broker();
    unharmed(&server, COUNT * CONNECTION_KIB + SLACK_KIB, || {
        let request = framed(&frame(ApiKey::ApiVersions, 0, &RequestKind::ApiVersions(ApiVersionsRequest::default())));
        let mut slow: Vec<TcpStream> = (0..COUNT).map(|_| connect(&server)).collect();
        for byte in &request {
            for stream in &mut slow {
                stream.set_nodelay(true).unwrap();
                stream.write_all(&[*byte]).unwrap();
            }
            thread::sleep(Duration::from_millis(20));
        }
        for stream in &mut slow {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.read_exact(&mut [0; 8]).unwrap();
        }
    });
}

/// Sends as much of an endless request as each connection takes, for a while. Returns the number of
/// bytes.
fn push(streams: &mut Vec<TcpStream>, within: Duration) -> usize {
    let piece = vec![0; 1 << 20];
    let deadline = Instant::now() + within;
    let mut sent = 0;
    while Instant::now() < deadline {
        let before = sent;
        streams.retain_mut(|stream| match stream.write(&piece) {
            Ok(written) => {
                sent += written;
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        if sent == before {
            thread::sleep(Duration::from_millis(5));
        }
    }
    sent
}

#[test]
fn the_largest_requests_from_every_connection_are_bounded() {
    // The memory of all requests together, of one beyond them, and of each before it counts; and
    // the same again, since the allocator keeps outgrown buffers for some seconds.
    const GROWTH_MAX_KIB: u64 = 2 * (256 * MIB + 100 * MIB) + 100 * 64 + 2 * SLACK_KIB;
    let _turn = turn();
    let server = broker();
    unharmed(&server, GROWTH_MAX_KIB, || {
        let mut large: Vec<TcpStream> = (0..crowd(&server, 100, 2)).map(|_| connect(&server)).collect();
        for stream in &mut large {
            stream.write_all(&u32::try_from(REQUEST_BYTES_MAX).unwrap().to_be_bytes()).unwrap();
            // The start of a Produce request.
            stream.write_all(&[0, 0, 0, 9]).unwrap();
            stream.set_nonblocking(true).unwrap();
        }
        let sent = push(&mut large, Duration::from_secs(5));
        assert!(sent >= REQUEST_BYTES_MAX, "only {sent} bytes went: this tries nothing");
    });
}

/// The bytes that the broker reports; Kafka reports none.
fn gauge(server: &Server, name: &str) -> Option<u64> {
    let (_, page) = server.get("/metrics").ok().filter(|_| server.target() == Target::RustMq)?;
    let start = format!("rustmq_kafka_{name} ");
    page.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

/// Sends this much of a request, or as much as the broker takes.
fn begin_upload(stream: &mut TcpStream, bytes: usize) {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(&u32::try_from(REQUEST_BYTES_MAX).unwrap().to_be_bytes()).unwrap();
    let piece = vec![0; 1 << 20];
    let _blocked = (0..bytes >> 20).try_for_each(|_| stream.write_all(&piece));
}

#[test]
fn large_uploads_that_stall_hold_up_no_ordinary_ones_and_give_their_memory_back() {
    const ROUNDS: i64 = 20;
    const GAUGE: &str = "large_request_memory_bytes";
    let _turn = turn();
    let server = broker();
    let fat = topic(&server, "fat", 1);
    unharmed(&server, 2 * (256 * MIB + 100 * MIB) + 2 * SLACK_KIB, || {
        let mut stalled: Vec<TcpStream> = (0..crowd(&server, 4, 1)).map(|_| connect(&server)).collect();
        for stream in &mut stalled {
            begin_upload(stream, REQUEST_BYTES_MAX - (1 << 20));
        }
        assert!(gauge(&server, GAUGE).is_none_or(|held| held > 100 << 20), "this tries nothing");
        let mut wire = Wire::connect(server.port()).unwrap();
        let batch = large_batch(500_000);
        let begun = Instant::now();
        for offset in 1..=ROUNDS {
            assert_eq!(store(&mut wire, &fat, batch.clone()), Ok(offset));
        }
        let took = begun.elapsed();
        println!("{ROUNDS} requests of 500 KB beside {} that stall: {took:.1?}", stalled.len());
        assert!(took < Duration::from_secs(5), "ordinary requests took {took:?}");
        drop(stalled);
        // The broker notices the end of a connection with its next read.
        let deadline = Instant::now() + Duration::from_secs(10);
        while gauge(&server, GAUGE).is_some_and(|held| held > 0) {
            assert!(Instant::now() < deadline, "the memory does not come back");
            thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn metadata_that_nobody_reads_is_bounded() {
    const ASKED: usize = 300;
    // One answer per connection, and the memory to encode it.
    const GROWTH_MAX_KIB: u64 = 100 * MIB;
    let _turn = turn();
    let server = broker();
    let wide = topic(&server, "wide", if server.target() == Target::Kafka { 100 } else { 5_000 });
    unharmed(&server, GROWTH_MAX_KIB, || {
        let named = metadata_request::MetadataRequestTopic::default().with_name(Some(wide.name.clone()));
        let request = RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![named])));
        let request = framed(&frame(ApiKey::Metadata, 9, &request));
        let mut silent: Vec<TcpStream> = (0..crowd(&server, 50, 2)).map(|_| connect(&server)).collect();
        for stream in &mut silent {
            stream.write_all(&request.repeat(ASKED)).unwrap();
        }
        // Long enough to encode them all, if the broker encodes them.
        thread::sleep(Duration::from_secs(5));
        drop(silent);
    });
}

/// Connections that request a whole topic many times, and read nothing.
fn answers_unread(megabytes: usize, connections: u64, growth_max_kib: u64) {
    const ASKED: usize = 20;
    let _turn = turn();
    let server = broker();
    let fat = topic(&server, "fat", 1);
    let mut wire = Wire::connect(server.port()).unwrap();
    let batch = large_batch(1_000_000);
    for _ in 0..megabytes {
        store(&mut wire, &fat, batch.clone()).unwrap();
    }
    unharmed(&server, growth_max_kib, || {
        let request = framed(&fetch_frame(&fat, 0, FETCH_BYTES_MAX));
        let mut silent: Vec<TcpStream> = (0..crowd(&server, connections, 2)).map(|_| connect(&server)).collect();
        for stream in &mut silent {
            stream.write_all(&request.repeat(ASKED)).unwrap();
        }
        // Longer than the engine's memory may be held for them.
        thread::sleep(Duration::from_secs(3));
        drop(silent);
    });
}

#[test]
fn answers_from_memory_that_nobody_reads_are_bounded() {
    // Copies of the segments that slow readers would hold.
    answers_unread(60, 100, COPIES_KIB + SLACK_KIB);
}

#[test]
fn answers_from_the_disk_that_nobody_reads_are_bounded() {
    // Also the memory for recent records, which the load keeps filling.
    answers_unread(400, 100, COPIES_KIB + READS_KIB + 128 * MIB + SLACK_KIB);
}

#[test]
fn connections_leave_the_log_its_descriptors() {
    let _turn = turn();
    let server = Server::start(settings().launcher(&["prlimit", "--nofile=700:700"])).unwrap();
    let fat = topic(&server, "fat", 1);
    let mut wire = Wire::connect(server.port()).unwrap();
    // The broker closes excess connections at once.
    let crowd: Vec<TcpStream> = (0..1_000).map(|_| connect(&server)).collect();
    let batch = large_batch(1_000_000);
    // Several segments of the log.
    for offset in 1..=200 {
        assert_eq!(store(&mut wire, &fat, batch.clone()), Ok(offset));
    }
    drop(crowd);
    let request = RequestKind::ApiVersions(ApiVersionsRequest::default());
    let is_served =
        || Wire::connect(server.port()).is_ok_and(|mut new| new.call(ApiKey::ApiVersions, 0, &request).is_ok());
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_served() {
        assert!(Instant::now() < deadline, "newcomers are not served again");
    }
}
