//! Each API is exercised by at least two different clients. This is measured: every family of
//! clients has its own broker behind a recording proxy. The page `docs/client-coverage.md` must
//! agree with the result.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use rustmq_compat_tests::coverage::{Family, Recorder, Table, tour};
use rustmq_compat_tests::versions::Session;
use rustmq_compat_tests::{Server, Settings, Target};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// The names that clients give themselves. Two are too old to give one.
fn introduction(family: Family) -> Option<&'static str> {
    match family {
        Family::Librdkafka => Some("librdkafka"),
        Family::Java => Some("apache-kafka-java"),
        Family::Franz => Some("kgo"),
        Family::KafkaPython => Some("kafka-python"),
        Family::Aiokafka | Family::Kafkajs => None,
    }
}

/// The APIs that the clients of a family exercise.
fn measure(family: Family) -> Table {
    let recorder = Recorder::start().unwrap();
    let settings = Settings::default().with("group.initial.rebalance.delay.ms", "100").advertised(recorder.port());
    let server = Server::start(settings).unwrap();
    recorder.connect_to(server.port());
    for kind in family.clients() {
        tour::take(*kind, &server, &recorder);
    }
    let introduced = recorder.softwares();
    if let Some(name) = introduction(family) {
        assert!(introduced.contains(name), "{name} in {introduced:?}");
    }
    let mut table = Table::default();
    table.add(family, &recorder.exchanges());
    table
}

#[test]
fn every_api_is_exercised_by_two_clients_and_the_page_says_which() {
    // Six Kafka brokers at once are too many for a small machine.
    let turn = (Target::from_environment().unwrap() == Target::Kafka).then(|| Mutex::new(()));
    let turn = turn.as_ref();
    let mut measured = Table::default();
    std::thread::scope(|scope| {
        let measuring = Family::ALL.map(|family| {
            scope.spawn(move || {
                let _turn = turn.map(|turn| turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
                measure(family)
            })
        });
        let failed: Vec<&str> = Family::ALL
            .into_iter()
            .zip(measuring)
            .filter_map(|(family, thread)| match thread.join() {
                Ok(table) => {
                    measured.merge(table);
                    None
                }
                Err(_) => Some(family.name()),
            })
            .collect();
        assert!(failed.is_empty(), "failed with {failed:?}; their messages are above");
    });
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/client-coverage.md");
    let promised = Table::parse(&fs::read_to_string(&page).unwrap_or_default());
    let mut complaints = promised.complaints(&measured);
    // Kafka advertises more.
    if Target::from_environment().unwrap() == Target::RustMq {
        let advertised: Vec<i16> = Session::open().advertised().keys().copied().collect();
        if promised.keys() != advertised {
            complaints.push("the page's APIs are not those that are advertised".to_owned());
        }
    }
    let seen = measured.render();
    print!("{seen}");
    assert!(complaints.is_empty(), "{complaints:#?}\nmeasured:\n{seen}");
}
