//! The forms of values: their syntax, units and bounds. Does not know the purpose of a value.

use std::net::SocketAddr;

use rustmq_model::ByteSize;

/// The form that the text of a value must have. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text of 1 to `bytes_max` bytes. `what` names it in messages, with an example if its type has
    /// a stricter syntax.
    Text {
        what: &'static str,
        bytes_max: usize,
    },
    /// `IP:PORT`.
    Address,
    /// A number of bytes, plain or with KiB, MiB, GiB or TiB.
    Size {
        min: ByteSize,
        max: ByteSize,
    },
    /// A whole number of `unit`.
    Count {
        unit: &'static str,
        min: u64,
        max: u64,
    },
    /// A plain number, or a number with `ms`, `s`, `m` or `h`.
    Milliseconds {
        min: u64,
        max: u64,
    },
    Flag,
    Choice(&'static [&'static str]),
}

impl Form {
    /// The canonical text of a value, which all its spellings share: a plain number of bytes,
    /// milliseconds or units. `None` if `text` does not have this form or is out of bounds.
    #[must_use]
    pub fn canonical(&self, text: &str) -> Option<String> {
        let within = |value: Option<u64>, min, max| {
            value.filter(|value| (min..=max).contains(value)).map(|value| value.to_string())
        };
        match *self {
            Self::Text { bytes_max, .. } => (1..=bytes_max).contains(&text.len()).then(|| text.to_owned()),
            Self::Address => text.parse::<SocketAddr>().ok().map(|address| address.to_string()),
            Self::Size { min, max } => within(text.parse::<ByteSize>().ok().map(|size| size.0), min.0, max.0),
            Self::Count { min, max, .. } => within(text.parse().ok(), min, max),
            Self::Milliseconds { min, max } => within(milliseconds(text), min, max),
            Self::Flag => matches!(text, "true" | "false").then(|| text.to_owned()),
            Self::Choice(choices) => choices.contains(&text).then(|| text.to_owned()),
        }
    }

    /// Describes the form with its unit and bounds, for messages and the reference page.
    #[must_use]
    pub fn describe(&self) -> String {
        match *self {
            Self::Text { what, bytes_max } => format!("{what}, at most {bytes_max} bytes"),
            Self::Address => "an address such as \"0.0.0.0:9092\"".to_owned(),
            Self::Size { min, max } => format!("a size from {min} to {max}, such as \"64MiB\""),
            Self::Count { unit, min, max } => format!("a whole number of {unit} from {min} to {max}"),
            Self::Milliseconds { min, max } => format!("milliseconds from {min} to {max}, or text such as \"30s\""),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(choices) => format!("one of {}", choices.join(", ")),
        }
    }
}

/// Parses a number of milliseconds, plain or with a unit.
fn milliseconds(text: &str) -> Option<u64> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("", 1)];
    units.iter().find_map(|(unit, factor)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*factor))
}

#[cfg(test)]
mod tests {
    use rustmq_model::ByteSize;

    use super::Form;

    #[test]
    fn spellings_of_a_value_share_one_text_and_bounds_are_inclusive() {
        let check = |form: Form, text: &str, canonical: Option<&str>| {
            assert_eq!(form.canonical(text).as_deref(), canonical, "{text:?}");
        };
        let size = Form::Size { min: ByteSize::kib(1), max: ByteSize::kib(4) };
        check(size, "2KiB", Some("2048"));
        check(size, "2048", Some("2048"));
        check(size, "1024", Some("1024"));
        check(size, "1023", None);
        check(size, "4KiB", Some("4096"));
        check(size, "4097", None);
        check(size, "2KB", None);
        let duration = Form::Milliseconds { min: 250, max: 7_200_000 };
        check(duration, "250", Some("250"));
        check(duration, "5s", Some("5000"));
        check(duration, "2 h", Some("7200000"));
        check(duration, "3h", None);
        check(duration, "fast", None);
        check(duration, "99999999999999999h", None);
        let count = Form::Count { unit: "threads", min: 1, max: 64 };
        check(count, "64", Some("64"));
        check(count, "0", None);
        check(count, "65", None);
        check(count, "-1", None);
        let text = Form::Text { what: "a name", bytes_max: 3 };
        check(text, "abc", Some("abc"));
        check(text, "", None);
        check(text, "abcd", None);
        check(Form::Address, "127.0.0.1:1", Some("127.0.0.1:1"));
        check(Form::Address, "[0:0::1]:1", Some("[::1]:1"));
        check(Form::Address, "localhost:1", None);
        check(Form::Flag, "true", Some("true"));
        check(Form::Flag, "yes", None);
        check(Form::Choice(&["text", "json"]), "json", Some("json"));
        check(Form::Choice(&["text", "json"]), "xml", None);
    }
}
