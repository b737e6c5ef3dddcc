//! Texts about the configuration: the reference page of all settings, and the values in force with
//! their origins.

use std::fmt::Write;

use rustmq_settings::{Default, Setting, TakesEffect};

use super::catalogue::{self, Key};
use super::sources::Sources;

const INTRODUCTION: &str = "# Configuration

Generated from the settings that the crates declare; do not edit. A value is taken from the flags, else from the environment, else from
the file (`--config FILE`, TOML), else it is the default. `rustmq --print-config` shows what is in force and where it came from, `rustmq
--check` whether it is valid. Unknown keys in the file are refused, and so is a key that is set twice in one source.

Text values of the file may name variables of the environment: `id = \"${HOSTNAME}\"`. `${NAME:-text}` is `text` where the variable is unset
or empty; without that, an unset variable is an error. The `text` can contain no `${` and no `}`. `$$` is a dollar sign. What is put in is
not looked at again. A setting without a default is not set where variables leave its value empty: `rack_id = \"${RACK:-}\"`.
`--print-config` shows what was put in; what a start or a reload says of a setting shows the value as it was written. A number is named in
quotes: `max_connections = \"${CONNECTIONS}\"`.

`SIGHUP` makes a process with `--config` read the file again (unless `operations.allow_runtime_config_updates` is false). If anything in it is
wrong, nothing changes, and the log says what. Else settings that take effect at a reload change at once; for each other one that differs, the
log says that it does not, and why. The environment and the flags are those of the start. Replace the file by renaming another one to its
name, as Kubernetes replaces ConfigMaps: of a file that is written in place, a reload may see a part. Without `--config`, `SIGHUP` ends the
process unless it was started to ignore it, as `nohup` does.

Kafka's broker-wide settings stand in `[kafka]` under their own names (`num.partitions = 3`), in the environment as `RUSTMQ_` and the
name in capitals with underscores (`RUSTMQ_NUM_PARTITIONS=3`). Those without effect here are taken with a warning. Refused are those that
a setting of this page decides (`listeners`, `log.dirs`), those that the process decides (`node.id`, `process.roles`, `num.network.threads`),
and those of what RustMQ does not have (TLS, SASL, remote storage). In the file they take effect at a restart; admin clients change those
that Kafka lets change, while the broker runs.
";

/// The reference page, `docs/configuration.md`.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(INTRODUCTION);
    for setting in by_name() {
        let default = match setting.default {
            Default::Value(text) => format!("`{text}`"),
            Default::WorkedOut(words) => words.to_owned(),
        };
        let takes_effect = match setting.takes_effect {
            TakesEffect::OnReload => "at a reload",
            TakesEffect::OnRestart => "at a restart",
            TakesEffect::OnCreation => "when the data folder is made",
        };
        write!(
            page,
            "\n## `{}`\n\n{}\n\n- Form: {}\n- Default: {default}\n- Takes effect: {takes_effect}\n- Environment: `{}`\n- Read by: `{}`\n",
            setting.name,
            setting.documentation(),
            setting.form.describe(),
            setting.environment_names().join("`, `"),
            setting.owner,
        )
        .expect("writing to a string does not fail");
    }
    page
}

/// Every setting with its value in force and the value's origin, one per line.
#[must_use]
pub fn effective(sources: &Sources) -> String {
    let mut lines: Vec<String> = Vec::new();
    for setting in by_name() {
        lines.push(match (sources.given(setting.name), setting.default) {
            (Some(given), _) => format!("{} = {:?}  # {}", setting.name, given.text, given.origin),
            (None, Default::Value(text)) => format!("{} = {text:?}  # default", setting.name),
            (None, Default::WorkedOut(words)) => format!("# {} is not set: {words}", setting.name),
        });
    }
    for (name, given) in sources.iter().filter(|(_, given)| matches!(given.key, Key::Kafka(_))) {
        let text = if given.key.is_sensitive() { "(hidden)" } else { &given.text };
        lines.push(format!("{name} = {text:?}  # {}", given.origin));
    }
    lines.join("\n") + "\n"
}

fn by_name() -> Vec<&'static Setting> {
    let mut settings: Vec<_> = catalogue::declared().collect();
    settings.sort_by_key(|setting| setting.name);
    settings
}
