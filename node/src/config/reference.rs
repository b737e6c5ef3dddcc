//! What a person reads of the configuration: the reference page, and what is in force with its
//! origins.

use std::fmt::Write;

use super::settings::SETTINGS;
use super::sources::Sources;

/// The reference page, `docs/configuration.md`.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Generated from the list of settings; do not edit. A value is taken from the flags, else from the environment, else from the file\n\
         (`--config FILE`, TOML), else it is the default. `rustmq --print-config` shows what is in force and where it came from. Unknown keys\n\
         in the file are refused. No setting changes while the process runs.\n\n\
         Kafka's broker-wide settings stand in `[kafka]` under their own names (`num.partitions = 3`), in the environment as `RUSTMQ_` and the\n\
         name in capitals with underscores (`RUSTMQ_NUM_PARTITIONS=3`). Those without effect here are taken with a warning. Refused are those that\n\
         a setting of this page decides (`listeners`, `log.dirs`), those that the process decides (`node.id`, `process.roles`, `num.network.threads`),\n\
         and those of what RustMQ does not have (TLS, SASL, remote storage).\n\n",
    );
    for setting in SETTINGS {
        let default = setting.default.map_or_else(|| "none, see above".to_owned(), |default| format!("`{default}`"));
        let mut names = vec![setting.environment_name()];
        names.extend(setting.aliases.iter().map(|alias| (*alias).to_owned()));
        names.dedup();
        write!(
            page,
            "## `{}`\n\n{}\n\n- Form: {}\n- Default: {default}\n- Environment: `{}`\n\n",
            setting.name,
            setting.documentation,
            setting.form.describe(),
            names.join("`, `")
        )
        .expect("writing to a string does not fail");
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// Every setting in force, one a line, with where it came from.
#[must_use]
pub fn effective(sources: &Sources) -> String {
    let mut out = String::new();
    for setting in SETTINGS {
        let line = match sources.lookup(setting.name) {
            Some((text, origin)) => format!("{} = {text:?}  # {origin}\n", setting.name),
            None => format!("# {} is not set: {}\n", setting.name, setting.documentation),
        };
        out.push_str(&line);
    }
    for (name, text, origin) in sources.kafka_origins() {
        writeln!(out, "kafka.{name} = {text:?}  # {origin}").expect("writing to a string does not fail");
    }
    out
}
