//! From the start of the process to its first useful answer: on an empty folder, and after kill -9
//! with a filled log.

use crate::bar::{Bar, Limit};
use crate::contender::Contender::{self, Kafka, Rustmq};
use crate::figure::Figure;
use crate::fill;
use crate::scenario::{Overrides, Run, Scenario};
use anyhow::{Result, ensure};
use std::time::Instant;

pub struct Restart {
    name: &'static str,
    /// The bytes written before kill -9; none for an empty folder.
    filled: Option<u64>,
    seconds_max: f64,
    contenders: &'static [Contender],
}

pub const ALL: [Restart; 3] = [
    Restart { name: "start-empty", filled: None, seconds_max: 0.3, contenders: &[Rustmq, Kafka] },
    Restart { name: "start-killed", filled: Some(200 << 20), seconds_max: 0.5, contenders: &[Rustmq, Kafka] },
    Restart { name: "start-4gib", filled: Some(4 << 30), seconds_max: 3.0, contenders: &[Rustmq] },
];

const TOPIC: &str = "filled";
const PARTITIONS: i32 = 12;
const ANSWERED: &str = "first answer";

impl Scenario for Restart {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, _: &Overrides) -> String {
        match self.filled {
            None => "an empty folder, until a metadata request is answered".to_owned(),
            Some(bytes) => format!(
                "{} MiB over {PARTITIONS} partitions, kill -9, a start, until metadata and the end of every partition are answered",
                bytes >> 20
            ),
        }
    }

    fn contenders(&self) -> &'static [Contender] {
        self.contenders
    }

    fn bars(&self) -> Vec<Bar> {
        vec![Bar::new(ANSWERED, Limit::Below(self.seconds_max))]
    }

    fn is_watched(&self) -> bool {
        false
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let mut broker = run.prepare()?;
        let first = broker.start_again()?;
        let Some(bytes) = self.filled else {
            return Ok(vec![Figure::seconds(ANSWERED, first)]);
        };
        let records = fill::fill(&broker, TOPIC, PARTITIONS, bytes)?;
        broker.kill()?;
        let begun = Instant::now();
        broker.start_again()?;
        let found = fill::end(&broker, TOPIC, PARTITIONS)?;
        let taken = begun.elapsed();
        ensure!(found == records, "{found} of {records} acknowledged records after kill -9");
        Ok(vec![Figure::seconds(ANSWERED, taken)])
    }
}
