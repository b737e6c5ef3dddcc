//! Reports panics of tasks that a part of the process cannot do without. The process decides what
//! follows from a report.

use tokio::sync::watch;

/// Receives reports of panics, and shows the first one. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct FailureNotice(watch::Sender<Option<String>>);

impl FailureNotice {
    /// The reason of the first panic, once there is one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// Runs the future. Its panic is reported as that of `task`, a noun such as "a coordinator",
    /// and still unwinds.
    pub async fn report_panic<T>(self, task: &'static str, future: impl Future<Output = T>) -> T {
        let _report = PanicReport { task, notice: self };
        future.await
    }
}

struct PanicReport {
    task: &'static str,
    notice: FailureNotice,
}

impl Drop for PanicReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The first reason stays: later panics may be its consequences.
            self.notice.0.send_if_modified(|failure| {
                let is_first = failure.is_none();
                failure.get_or_insert_with(|| format!("{} has panicked", self.task));
                is_first
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FailureNotice;

    #[tokio::test]
    async fn a_panic_is_reported_and_an_end_is_not() {
        let notice = FailureNotice::default();
        assert_eq!(notice.clone().report_panic("the first task", async { 7 }).await, 7);
        assert_eq!(*notice.watch().borrow(), None);
        for task in ["the second task", "the third task"] {
            let panics = notice.clone().report_panic(task, async {
                // Panics at its second step, as a running task does.
                tokio::task::yield_now().await;
                panic!("on order");
            });
            assert!(tokio::spawn(panics).await.is_err());
            assert_eq!(notice.watch().borrow().as_deref(), Some("the second task has panicked"));
        }
    }
}
