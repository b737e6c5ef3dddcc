//! One line about a scenario: what limits it now, judged by the measurements of the quiet part and
//! by the samples.

use super::cost::{self, Cost};
use super::threads::Kind;
use super::watcher::{Observations, Quiet};
use crate::figure::digits;
use crate::usage::Spent;
use std::thread;

/// Above this share of the machine's processors, nothing waits for anything else.
const BUSY: f64 = 0.85;
/// Above this share of the time with a commit in flight, the disk sets the pace.
const COMMITTING: f64 = 0.9;
const COSTS_NAMED: usize = 3;
/// If other processes use more cores than this, a run proves little.
const DISTURBED: f64 = 0.3;

pub fn line(seen: &Observations) -> String {
    let Quiet { work, spent, .. } = &seen.quiet;
    let cores = super::count(thread::available_parallelism().map_or(1, usize::from) as u64);
    let [broker, generator, others] = [spent.broker, spent.generator, spent.others].map(|time| spent.cores(time));
    let committing = if work.seconds > 0.0 { work.commit_seconds / work.seconds } else { 0.0 };
    let shares = shares(spent, cores);
    let own = own(seen).map_or(String::new(), |own| format!("; within the broker: {own}"));
    if broker + generator + others >= BUSY * cores {
        return if generator > broker {
            format!("client: the processors are busy, most of it with the load generator ({shares}){own}")
        } else {
            format!("processor: the broker takes most of it ({shares}){own}")
        };
    }
    if committing >= COMMITTING {
        let mean = milliseconds(work.commit_seconds, work.commits);
        return format!("disk: a commit is under way {} of the time, {mean} each ({shares}){own}", percent(committing));
    }
    if work.produces > 0.0 && work.commits > 0.0 {
        let request = milliseconds(work.produce_seconds, work.produces);
        let commit = milliseconds(work.commit_seconds, work.commits);
        let delayed = seen.quiet.threads.get(&Kind::Connection).map_or(0.0, |usage| usage.delayed_seconds);
        let delay = milliseconds(delayed, work.produces);
        return format!(
            "client: it sets the rate ({shares}); of the {request} that a produce request takes in the broker, write and sync take \
             {commit}, the wait for a processor {delay}{own}"
        );
    }
    format!("client: nothing in the broker is busy ({shares}){own}")
}

fn shares(spent: &Spent, cores: f64) -> String {
    let [broker, generator, others] = [spent.broker, spent.generator, spent.others].map(|time| spent.cores(time));
    let disturbed = if others > DISTURBED { ": the run was disturbed" } else { "" };
    let [broker, generator, others] = [broker, generator, others].map(digits);
    format!("of {cores} cores the generator takes {generator}, the broker {broker}, others {others}{disturbed}")
}

/// The costs of the broker's time, the largest first.
fn own(seen: &Observations) -> Option<String> {
    let samples = &seen.sampled.as_ref().ok()?.samples;
    let mut costs: Vec<(Cost, f64)> =
        cost::ALL.into_iter().map(|cost| (cost, super::count(samples.of_cost(cost)))).collect();
    costs.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all = super::count(samples.count.max(1));
    let words =
        costs.iter().take(COSTS_NAMED).map(|(cost, count)| format!("{} {}", cost.title(), percent(count / all)));
    Some(words.collect::<Vec<_>>().join(", "))
}

pub fn percent(share: f64) -> String {
    format!("{}%", digits(share * 100.0))
}

fn milliseconds(seconds: f64, count: f64) -> String {
    if count > 0.0 { format!("{} ms", digits(seconds / count * 1e3)) } else { "nothing".to_owned() }
}
