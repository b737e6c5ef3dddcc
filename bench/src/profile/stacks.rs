//! Parses the samples of `perf script` with their stacks, and sums them: by whole stack for the
//! flame graph, by the running function, and by cost.

use super::cost::Cost;
use super::threads::Kind;
use std::collections::BTreeMap;

/// Frames, the outermost first.
pub type Stack = Vec<String>;

/// One line of a stack. The innermost comes first in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub symbol: String,
    pub is_kernel: bool,
    /// The shared library, if it has no symbols.
    pub library: String,
}

/// The sums of the samples.
#[derive(Debug, Default)]
pub struct Samples {
    pub count: u64,
    pub stacks: BTreeMap<(Kind, Stack), u64>,
    /// By the running function.
    pub own: BTreeMap<(Kind, String), u64>,
    pub costs: BTreeMap<(Kind, Cost), u64>,
}

impl Samples {
    /// Parses the output of `perf script -F comm,tid,ip,sym,dso`.
    pub fn read(text: &str) -> Samples {
        let mut samples = Samples::default();
        for (name, frames) in records(text) {
            samples.enter(Kind::of(name), &frames);
        }
        samples
    }

    fn enter(&mut self, kind: Kind, frames: &[Frame]) {
        let Some(leaf) = frames.first() else { return };
        self.count += 1;
        *self.own.entry((kind, leaf.shown())).or_default() += 1;
        *self.costs.entry((kind, Cost::of(frames))).or_default() += 1;
        let stack = frames.iter().rev().map(Frame::shown).collect();
        *self.stacks.entry((kind, stack)).or_default() += 1;
    }

    pub fn of_kind(&self, kind: Kind) -> u64 {
        self.costs.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum()
    }

    pub fn of_cost(&self, cost: Cost) -> u64 {
        self.costs.iter().filter(|((_, of), _)| *of == cost).map(|(_, count)| count).sum()
    }

    /// The kinds of threads in the samples, the busiest first.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.costs.keys().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        kinds.sort_by_key(|kind| std::cmp::Reverse(self.of_kind(*kind)));
        kinds
    }

    /// The functions that ran most on threads of this kind.
    pub fn top(&self, kind: Kind, most: usize) -> Vec<(&str, u64)> {
        let own = self.own.iter().filter(|((of, _), _)| *of == kind);
        let mut own: Vec<(&str, u64)> = own.map(|((_, symbol), count)| (symbol.as_str(), *count)).collect();
        own.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        own.truncate(most);
        own
    }
}

impl Frame {
    fn shown(&self) -> String {
        match (self.is_kernel, self.symbol.as_str()) {
            (true, symbol) => format!("{symbol} [k]"),
            (false, "[unknown]") => format!("[{}]", self.library),
            (false, symbol) => symbol.to_owned(),
        }
    }
}

/// Each sample's thread name and frames, the innermost first.
pub fn records(text: &str) -> impl Iterator<Item = (&str, Vec<Frame>)> {
    text.split("\n\n").filter_map(|record| {
        let mut lines = record.lines().skip_while(|line| line.trim().is_empty());
        // A name may contain spaces; the thread's number is the last word.
        let (name, _) = lines.next()?.trim().trim_end_matches(':').rsplit_once(' ')?;
        Some((name.trim(), lines.filter_map(frame).collect()))
    })
}

/// Parses `    55d0c0ffee rustmq::foo+0x12 (/path/rustmq)`. The offset may be missing.
pub fn frame(line: &str) -> Option<Frame> {
    let (_, rest) = line.trim().split_once(' ')?;
    let (symbol, object) = rest.rsplit_once(" (")?;
    let object = object.trim_end_matches(')');
    let is_kernel = object.starts_with("[kernel") || object.starts_with("[guest");
    let library = object.rsplit('/').next().unwrap_or(object).to_owned();
    Some(Frame { symbol: plain(symbol), is_kernel, library })
}

/// Removes the offset, the hash of Rust's names, and generic arguments.
fn plain(symbol: &str) -> String {
    let symbol = symbol.rsplit_once("+0x").map_or(symbol, |(name, _)| name);
    let hash =
        |last: &str| last.len() == 17 && last.starts_with('h') && last[1..].bytes().all(|b| b.is_ascii_hexdigit());
    let symbol = match symbol.rsplit_once("::") {
        Some((name, last)) if hash(last) => name,
        _ => symbol,
    };
    without_generics(symbol)
}

/// Turns `<a::B<C> as d::E<F>>::g` into `<a::B as d::E>::g`.
fn without_generics(symbol: &str) -> String {
    let mut shown = String::with_capacity(symbol.len());
    let mut depth = 0_usize;
    let mut before = None;
    for letter in symbol.chars() {
        match letter {
            // A bracket after a name opens its parameters; at the start of a path it is part of the
            // path.
            '<' if depth > 0 || before.is_some_and(|letter: char| letter.is_alphanumeric() || letter == '_') => {
                depth += 1;
            }
            '>' if depth > 0 && before != Some('-') => depth -= 1,
            _ if depth == 0 => shown.push(letter),
            _ => {}
        }
        before = Some(letter);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "tokio-rt-worker  77\n\tffffffff81 rep_movs_alternative+0x1 ([kernel.kallsyms])\n\
        \t 55aa <a::B<C<D>> as e::F<G>>::h::h0123456789abcdef+0x1f (/x/rustmq)\n\n\
        rustmq-shard-0  78 \n\t 7f00 [unknown] (/usr/lib/libc.so.6)\n\t 55aa rustmq_engine_shard::run (/x/rustmq)\n\n";

    #[test]
    fn samples_are_read_and_summed() {
        let samples = Samples::read(TEXT);
        assert_eq!(samples.count, 2);
        assert_eq!(samples.top(Kind::Connection, 9), [("rep_movs_alternative [k]", 1)]);
        assert_eq!(samples.top(Kind::Shard, 9), [("[libc.so.6]", 1)]);
        let stack = vec!["<a::B as e::F>::h".to_owned(), "rep_movs_alternative [k]".to_owned()];
        assert_eq!(samples.stacks.get(&(Kind::Connection, stack)), Some(&1));
    }

    #[test]
    fn names_are_shortened() {
        assert_eq!(plain("core::ops::FnOnce::call_once::h0123456789abcdef"), "core::ops::FnOnce::call_once");
        assert_eq!(plain("std::thread::Thread<fn() -> u8>::run+0xab"), "std::thread::Thread::run");
    }
}
