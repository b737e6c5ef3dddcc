//! Logs each panic of a thread or task in the configured format, and counts it. A panic that ends
//! only a connection or a read is visible nowhere else.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Replaces the text on standard error, from now on. Logging must have started.
pub fn log_and_count() {
    panic::set_hook(Box::new(on_panic));
}

pub fn register(registry: &mut Registry) {
    registry.register("rustmq_panics", "Panics of threads and tasks", PANICS.clone());
}

fn on_panic(info: &PanicHookInfo<'_>) {
    PANICS.inc();
    let reason = info.payload_as_str().unwrap_or("no text");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    // Captured only if RUST_BACKTRACE is set.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread, location, reason, backtrace, "a thread or task has panicked");
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::{log_and_count, register};

    #[test]
    fn a_panic_is_counted() {
        let mut registry = Registry::default();
        register(&mut registry);
        log_and_count();
        let panicked = std::thread::spawn(|| panic!("on order")).join();
        let _ = std::panic::take_hook();
        assert!(panicked.is_err());
        let mut page = String::new();
        assert!(text::encode(&mut page, &registry).is_ok());
        assert!(!page.contains("rustmq_panics_total 0"), "{page}");
    }
}
