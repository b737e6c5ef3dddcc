//! Plans a reload of the configuration: which settings change, and which do not because they take
//! effect at a start only. Reads and applies nothing.

use std::collections::BTreeSet;
use std::fmt;

use rustmq_controller_core::configs::Update;
use rustmq_settings::{Default, Setting, TakesEffect};

use super::catalogue::{self, Judged, Key};
use super::sources::Sources;

/// A planned reload.
#[derive(Debug)]
pub struct Reload {
    /// The values that are in force after it.
    pub next: Sources,
    /// The settings whose values in force differ from those in the file.
    pub differences: Vec<Difference>,
}

/// A setting whose value in force differs from the requested one. The values are fit for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub name: String,
    /// The configured value before the reload. The data folder may have a third value of a setting
    /// that is fixed at its creation.
    pub before: String,
    pub asked: String,
    pub verdict: Verdict,
}

/// Whether a setting changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Changes,
    NeedsRestart,
    /// One of Kafka's settings that admin clients can change.
    NeedsRestartOrAdmin,
    FixedAtCreation,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changes => "it changes",
            Self::NeedsRestart => "it needs a restart",
            Self::NeedsRestartOrAdmin => "it needs a restart here; admin clients can set it while the broker runs",
            Self::FixedAtCreation => "the data folder keeps what it was made with, whatever is configured",
        })
    }
}

impl Reload {
    /// Takes those values from `asked` whose settings may change while the process runs.
    pub fn plan(in_force: &Sources, asked: &Sources) -> Self {
        let names: BTreeSet<&str> = in_force.iter().chain(asked.iter()).map(|(name, _)| name).collect();
        let mut next = in_force.clone();
        let mut differences = Vec::new();
        for name in names {
            let key = catalogue::find(name).expect("what was given exists");
            if value(in_force, key, name) == value(asked, key, name) {
                continue;
            }
            let verdict = verdict(key);
            if verdict == Verdict::Changes {
                next.take_from(asked, name);
            }
            let (before, asked) = (shown(in_force, key, name), shown(asked, key, name));
            differences.push(Difference { name: name.to_owned(), before, asked, verdict });
        }
        Self { next, differences }
    }
}

fn verdict(key: Key) -> Verdict {
    match key {
        Key::Ours(setting) => match setting.takes_effect {
            TakesEffect::OnReload => Verdict::Changes,
            TakesEffect::OnRestart => Verdict::NeedsRestart,
            TakesEffect::OnCreation => Verdict::FixedAtCreation,
        },
        Key::Kafka(entry) => match entry.update {
            Update::ReadOnly | Update::PerListener => Verdict::NeedsRestart,
            Update::PerBroker | Update::ClusterWide => Verdict::NeedsRestartOrAdmin,
        },
    }
}

/// The value of a setting, given or by default. `None` if the process derives it.
fn value(sources: &Sources, key: Key, name: &str) -> Option<Judged> {
    let default = || key.accept(key.default()?).ok();
    sources.given(name).map(|given| given.judged.clone()).or_else(default)
}

fn shown(sources: &Sources, key: Key, name: &str) -> String {
    match (sources.given(name), key) {
        (Some(given), _) => given.shown(),
        (None, Key::Ours(Setting { default: Default::WorkedOut(words), .. })) => format!("not set: {words}"),
        (None, _) => key.default().map_or_else(|| "not set".to_owned(), |text| format!("{text:?} (default)")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Config;
    use super::super::tests::gather;
    use super::{Reload, Verdict};

    type Reported = (&'static str, &'static str, &'static str, Verdict);

    /// Reloads one file after another; `expected` is what each reload reports.
    fn check(environment: &[(&str, &str)], files: &[&str], expected: &[&[Reported]]) -> Config {
        let mut in_force = gather(files[0], environment).unwrap();
        for (file, expected) in files[1..].iter().zip(expected) {
            let Reload { next, differences } = Reload::plan(&in_force, &gather(file, environment).unwrap());
            let reported: Vec<_> = differences
                .iter()
                .map(|found| (found.name.as_str(), found.before.as_str(), found.asked.as_str(), found.verdict))
                .collect();
            assert_eq!(reported, *expected, "{file}");
            in_force = next;
        }
        Config::resolve(&in_force)
    }

    #[test]
    fn what_may_change_changes_and_the_rest_is_refused_by_name_each_time() {
        let asked = "[operations]\ngraceful_shutdown_timeout_ms = \"2s\"\n[network]\nmax_connections = 5\n\
                     [wal]\nsegment_size_bytes = \"32MiB\"\n[engine]\nshards = 9\n[kafka]\nnum.partitions = 3\nbackground.threads = 3";
        let refused: [Reported; 4] = [
            ("engine.shards", "not set: half the processors, at least one", "\"9\"", Verdict::NeedsRestart),
            ("kafka.background.threads", "\"10\" (default)", "\"3\"", Verdict::NeedsRestartOrAdmin),
            ("kafka.num.partitions", "\"1\" (default)", "\"3\"", Verdict::NeedsRestart),
            ("network.max_connections", "\"4\"", "\"5\"", Verdict::NeedsRestart),
        ];
        let created = ("wal.segment_size_bytes", "\"64MiB\" (default)", "\"32MiB\"", Verdict::FixedAtCreation);
        let changed = ("operations.graceful_shutdown_timeout_ms", "\"30000\" (default)", "\"2s\"", Verdict::Changes);
        let first = [&refused[..], &[changed, created]].concat();
        let second = [&refused[..], &[created]].concat();
        let config = check(&[], &["[network]\nmax_connections = 4", asked, asked], &[&first, &second]);
        assert_eq!(config.process.shutdown_timeout.as_secs(), 2);
        assert_eq!((config.gateway.connections_max, config.engine.shards), (4, None));
        assert!(config.kafka.is_empty());
    }

    #[test]
    fn a_value_in_other_words_is_no_change() {
        let first = "[wal]\nsegment_size_bytes = \"64MiB\"\n[operations]\ngraceful_shutdown_timeout_ms = 5000\n[kafka]\nnum.partitions = 3";
        let second = "[operations]\ngraceful_shutdown_timeout_ms = \"5s\"\n[kafka]\n\"num.partitions\" = \" 3 \"";
        let third = "[wal]\nsegment_size_bytes = 67108864\n[operations]\ngraceful_shutdown_timeout_ms = \"5s\"\n[kafka]\nnum.partitions = 3";
        check(&[], &[first, second, third], &[&[], &[]]);
    }

    #[test]
    fn a_key_that_is_taken_out_has_its_default_again() {
        let name = "operations.exit_on_failure";
        let config = check(
            &[],
            &["[operations]\nexit_on_failure = true", ""],
            &[&[(name, "\"true\"", "\"false\" (default)", Verdict::Changes)]],
        );
        assert!(!config.process.exit_on_failure);
    }

    #[test]
    fn the_environment_of_the_start_still_beats_the_file() {
        let config = check(&[("RUSTMQ_LOG_LEVEL", "warn")], &["", "[log]\nlevel = \"debug\""], &[&[]]);
        assert_eq!(config.logs.filter.0.default_level().unwrap().to_string(), "warn");
    }

    #[test]
    fn the_report_shows_names_of_variables() {
        let files = ["[broker]\nid = \"${A}\"", "[broker]\nid = \"${B}\""];
        check(&[("A", "1"), ("B", "2")], &files, &[&[("broker.id", "\"${A}\"", "\"${B}\"", Verdict::NeedsRestart)]]);
        check(&[("A", "1"), ("B", "1")], &files, &[&[]]);
    }
}
