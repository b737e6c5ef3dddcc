//! The table of APIs by client families: rendered from the measurement, parsed from the page, and
//! judged.

use super::Family;
use super::recorder::Exchange;
use rustmq_kafka_codec_messages::ApiKey;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The number of families that must exercise an API.
const FAMILIES_MIN: usize = 2;
const MARK: &str = "x";

/// The families that exercise an API, by its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    rows: BTreeMap<i16, BTreeSet<Family>>,
}

fn name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|_| format!("key {key}"), |key| format!("{key:?}"))
}

impl Table {
    pub fn add(&mut self, family: Family, exchanges: &BTreeSet<Exchange>) {
        for exchange in exchanges {
            self.rows.entry(exchange.key).or_default().insert(family);
        }
    }

    pub fn merge(&mut self, other: Table) {
        for (key, families) in other.rows {
            self.rows.entry(key).or_default().extend(families);
        }
    }

    pub fn keys(&self) -> Vec<i16> {
        self.rows.keys().copied().collect()
    }

    /// Renders Markdown.
    pub fn render(&self) -> String {
        let mut text = String::from("| API |");
        for family in Family::ALL {
            write!(text, " {} |", family.name()).expect("a string takes all");
        }
        text.push_str("\n| --- |");
        text.push_str(&" --- |".repeat(Family::ALL.len()));
        for (key, families) in &self.rows {
            write!(text, "\n| {} |", name(*key)).expect("a string takes all");
            for family in Family::ALL {
                let mark = if families.contains(&family) { MARK } else { "" };
                write!(text, " {mark} |").expect("a string takes all");
            }
        }
        text.push('\n');
        text
    }

    /// Parses the table within a page that `render` wrote.
    pub fn parse(page: &str) -> Table {
        let keys: BTreeMap<String, i16> = ApiKey::ALL.iter().map(|key| (name(*key as i16), *key as i16)).collect();
        let mut rows = BTreeMap::new();
        for line in page.lines().filter_map(|line| line.strip_prefix("| ")) {
            let mut cells = line.split('|').map(str::trim);
            let Some(key) = cells.next().and_then(|name| keys.get(name)) else { continue };
            let marked = Family::ALL.into_iter().zip(cells).filter(|(_, cell)| *cell == MARK);
            rows.insert(*key, marked.map(|(family, _)| family).collect());
        }
        Table { rows }
    }

    /// The ways in which this table is wrong as a promise, given the measurement: APIs with too few
    /// families, and marks without evidence.
    pub fn complaints(&self, measured: &Table) -> Vec<String> {
        let mut complaints = Vec::new();
        for (key, families) in &self.rows {
            if families.len() < FAMILIES_MIN {
                complaints.push(format!("{} has {} of {FAMILIES_MIN} clients", name(*key), families.len()));
            }
            let seen = measured.rows.get(key).cloned().unwrap_or_default();
            for family in families.difference(&seen) {
                complaints.push(format!("{} was not seen from {}", name(*key), family.name()));
            }
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn measured(marks: &[(ApiKey, Family)]) -> Table {
        let mut table = Table::default();
        for (key, family) in marks {
            table.add(*family, &[Exchange { key: *key as i16, version: 0 }].into());
        }
        table
    }

    #[test]
    fn a_page_is_read_back_as_it_was_written() {
        let table = measured(&[
            (ApiKey::Produce, Family::Java),
            (ApiKey::Produce, Family::Kafkajs),
            (ApiKey::DescribeTopicPartitions, Family::Librdkafka),
        ]);
        assert_eq!(Table::parse(&format!("# Page\ntext\n\n{}\nmore", table.render())), table);
    }

    #[test]
    fn a_lone_client_and_a_mark_without_evidence_are_found() {
        let seen = measured(&[
            (ApiKey::Produce, Family::Java),
            (ApiKey::Produce, Family::Kafkajs),
            (ApiKey::Fetch, Family::Java),
        ]);
        assert_eq!(seen.complaints(&seen), ["Fetch has 1 of 2 clients"]);
        assert!(Table::parse("| Produce | | x |  |  |  | x |").complaints(&seen).is_empty());
        assert_eq!(Table::parse("| ListOffsets | | |").complaints(&seen), ["ListOffsets has 0 of 2 clients"]);
        let promised = measured(&[(ApiKey::Fetch, Family::Java), (ApiKey::Fetch, Family::Aiokafka)]);
        assert_eq!(promised.complaints(&seen), ["Fetch was not seen from aiokafka"]);
    }
}
