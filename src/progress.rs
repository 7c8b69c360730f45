//! Shows on standard error what happens before the app serves.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use streamfleet_runner::interpreter::Progress;

/// Longest detail shown, in characters: a line of a narrow terminal.
const DETAIL_WIDTH: usize = 76;

/// Steps as lines; details, where there is a terminal, in place.
#[derive(Debug, Default)]
pub(crate) struct StderrProgress {
    out: Mutex<()>,
    has_detail: AtomicBool,
}

impl StderrProgress {
    fn write(&self, text: &str, detail: bool) {
        let _guard = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if self.has_detail.swap(detail, Ordering::Relaxed) { "\r\x1b[K" } else { "" };
        let end = if detail { "" } else { "\n" };
        // Nowhere to say that standard error is closed.
        let _ = write!(io::stderr(), "{clear}  {text}{end}");
        let _ = io::stderr().flush();
    }

    /// Removes the last detail.
    pub(crate) fn finish(&self) {
        if self.has_detail.swap(false, Ordering::Relaxed) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Progress for StderrProgress {
    fn step(&self, text: &str) {
        self.write(text, false);
    }

    fn detail(&self, text: &str) {
        if io::stderr().is_terminal() {
            let short: String = text.chars().take(DETAIL_WIDTH).collect();
            self.write(&short, true);
        }
    }
}
