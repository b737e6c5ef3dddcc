//! The report of one profiled scenario, in Markdown: what limits it, and the counts behind that.

use super::cost;
use super::events::ALL_SYSCALLS;
use super::limit::{self, percent};
use super::page::Work;
use super::probes::Probe;
use super::threads::Kind;
use super::watcher::{Counted, Observations, Probed, Quiet, Sampled};
use crate::figure::{Figure, digits};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const TOP: usize = 15;
const WAKEUPS_SHOWN: usize = 14;

pub fn render(name: &str, load: &str, machine: &[String], figures: &[Figure], seen: &Observations) -> String {
    let mut text = format!("# What limits {name}\n\n{}\n\n- load: {load}\n", limit::line(seen));
    for line in machine {
        let _ = writeln!(text, "- {line}");
    }
    let figures: Vec<String> = figures
        .iter()
        .map(|figure| format!("{} {} {}", figure.name, digits(figure.value), figure.unit.symbol()))
        .collect();
    let _ = writeln!(text, "- the run's own figures, with all that looked on: {}\n", figures.join(", "));
    quiet(&mut text, &seen.quiet);
    part(&mut text, "Where the broker's processor time goes", seen.sampled.as_ref(), sampled);
    part(&mut text, "System calls and wake-ups", seen.counted.as_ref(), counted);
    part(&mut text, "Allocations and CRC", seen.probed.as_ref(), probed);
    text
}

fn part<T>(text: &mut String, title: &str, part: Result<&T, &anyhow::Error>, show: impl FnOnce(&mut String, &T)) {
    let _ = writeln!(text, "\n## {title}\n");
    match part {
        Ok(part) => show(text, part),
        Err(error) => {
            let _ = writeln!(text, "Not measured: this machine does not offer it here. {error:#}");
        }
    }
}

fn heading(text: &mut String, first: &str, columns: &[String]) {
    let _ = write!(text, "| {first} |");
    for column in columns {
        let _ = write!(text, " {column} |");
    }
    let _ = writeln!(text, "\n| --- |{}", " ---: |".repeat(columns.len()));
}

fn row(text: &mut String, first: &str, values: &[String]) {
    let _ = writeln!(text, "| {first} | {} |", values.join(" | "));
}

/// A count per second, then per unit of each kind of work.
fn per(count: f64, work: &Work) -> Vec<String> {
    let mut values = vec![digits(count / work.seconds)];
    values.extend(work.units().into_iter().map(|(_, units)| digits(count / units)));
    values
}

fn per_columns(work: &Work) -> Vec<String> {
    let mut columns = vec!["a second".to_owned()];
    columns.extend(work.units().into_iter().map(|(unit, _)| format!("per {unit}")));
    columns
}

fn work_line(text: &mut String, work: &Work) {
    let units = work.units().into_iter().map(|(unit, count)| format!("{unit} {}", digits(count / work.seconds)));
    let units = units.collect::<Vec<_>>().join(", ");
    let [bytes_in, bytes_out, committed] =
        [work.bytes_in, work.bytes_out, work.commit_bytes].map(|bytes| digits(bytes / work.seconds / 1e6));
    let _ = writeln!(
        text,
        "In {} s, a second: {units}; MB in {bytes_in}, out {bytes_out}, committed with padding {committed}.\n",
        digits(work.seconds)
    );
}

fn quiet(text: &mut String, quiet: &Quiet) {
    let Quiet { work, spent, threads } = quiet;
    text.push_str("## Undisturbed\n\n");
    work_line(text, work);
    let [broker, generator, others] =
        [spent.broker, spent.generator, spent.others].map(|time| digits(spent.cores(time)));
    let committing = percent(work.commit_seconds / work.seconds);
    let _ = writeln!(
        text,
        "Cores: broker {broker}, load generator {generator}, others {others}. A commit was under way {committing} of the time.\n"
    );
    let columns = ["cores", "cores waited for", "voluntary switches/s", "involuntary/s", "minor faults/s", "major/s"];
    heading(text, "threads", &columns.map(str::to_owned));
    for (kind, usage) in threads {
        let values = [
            usage.seconds,
            usage.delayed_seconds,
            usage.voluntary,
            usage.involuntary,
            usage.minor_faults,
            usage.major_faults,
        ];
        row(text, kind.title(), &values.map(|value| digits(value / work.seconds)));
    }
    text.push('\n');
    let mut columns = per_columns(work);
    columns[0] = "of a core, ms/s".to_owned();
    for column in &mut columns[1..] {
        *column = format!("us {column}");
    }
    heading(text, "processor time of", &columns);
    for (kind, usage) in threads {
        let mut values = per(usage.seconds * 1e6, work);
        values[0] = digits(usage.seconds / work.seconds * 1e3);
        row(text, kind.title(), &values);
    }
}

fn sampled(text: &mut String, sampled: &Sampled) {
    let samples = &sampled.samples;
    work_line(text, &sampled.work);
    let all = super::count(samples.count.max(1));
    let _ = writeln!(
        text,
        "{} samples of the processor clock; what runs with interrupts off shows where they are let in again. The stacks are in `flame.svg`.\n",
        samples.count
    );
    let kinds = samples.kinds();
    let mut columns = vec!["all".to_owned()];
    columns.extend(kinds.iter().map(|kind| kind.title().to_owned()));
    heading(text, "time goes to", &columns);
    for cost in cost::ALL {
        let mut values = vec![percent(super::count(samples.of_cost(cost)) / all)];
        values.extend(
            kinds
                .iter()
                .map(|kind| percent(super::count(samples.costs.get(&(*kind, cost)).copied().unwrap_or(0)) / all)),
        );
        row(text, cost.title(), &values);
    }
    let mut values = vec!["100%".to_owned()];
    values.extend(kinds.iter().map(|kind| percent(super::count(samples.of_kind(*kind)) / all)));
    row(text, "sum", &values);
    for kind in kinds {
        let _ = writeln!(text, "\n### Functions that ran most: {}\n", kind.title());
        heading(text, "function", &["of all".to_owned(), "of these threads".to_owned()]);
        let of_kind = super::count(samples.of_kind(kind).max(1));
        for (symbol, count) in samples.top(kind, TOP) {
            let count = super::count(count);
            row(text, &format!("`{symbol}`"), &[percent(count / all), percent(count / of_kind)]);
        }
    }
}

fn counted(text: &mut String, counted: &Counted) {
    let Counted { work, counts, wakeups } = counted;
    work_line(text, work);
    heading(text, "threads: system call or event", &per_columns(work));
    let kinds: BTreeSet<Kind> = counts.keys().map(|(kind, _)| *kind).collect();
    for kind in kinds {
        let mut events: Vec<(&str, f64)> = counts
            .iter()
            .filter(|((of, _), _)| *of == kind)
            .map(|((_, event), count)| (event.as_str(), *count))
            .collect();
        events.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (event, count) in events {
            let name = if event == ALL_SYSCALLS { "**all system calls**" } else { event };
            row(text, &format!("{}: {name}", kind.title()), &per(count, work));
        }
    }
    text.push_str("\nAn interrupt wakes in the name of whatever it interrupts: of the disk's and the network's, some show as wakes by others.\n\n");
    heading(text, "wakes", &per_columns(work));
    let mut wakeups: Vec<_> = wakeups.iter().collect();
    wakeups.sort_by(|a, b| b.1.total_cmp(a.1));
    for ((waker, woken), count) in wakeups.into_iter().take(WAKEUPS_SHOWN) {
        row(text, &format!("{} → {}", waker.title(), woken.title()), &per(*count, work));
    }
}

fn probed(text: &mut String, probed: &Probed) {
    let Probed { work, passes, sites } = probed;
    work_line(text, work);
    text.push_str("Each pass traps: the counts are exact for the work done, the rates are lower than without.\n\n");
    heading(text, "threads: what", &per_columns(work));
    for ((kind, probe), passes) in passes {
        let what = match probe {
            Probe::Allocation => "allocations",
            Probe::Crc => "CRC passes",
        };
        row(text, &format!("{}: {what}", kind.title()), &per(passes.count, work));
        row(text, &format!("{}: bytes of {what}", kind.title()), &per(passes.bytes, work));
    }
    text.push('\n');
    heading(text, "where allocations come from", &["of their number".to_owned(), "of their bytes".to_owned()]);
    for (site, count, bytes) in sites {
        row(text, &format!("`{site}`"), &[percent(*count), percent(*bytes)]);
    }
}
