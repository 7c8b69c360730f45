//! The apps that are compared, and what their users do.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::wire::{WidgetState, WidgetValue};

/// An app of `tests/bench/apps`. Each counts the clicks of its session and shows `count=N;` with every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum App {
    Counter,
    Form,
    Dashboard,
    Table,
    Cpu,
    Streaming,
    Widgets,
    Image,
    /// What hits in the shared cache are measured with; it does not count, and is compared by itself.
    #[value(skip)]
    Cached,
}

/// Inputs of the app that has many.
const INPUTS: u64 = 200;
/// What the table's answer has at least, in bytes.
const TABLE_BYTES: usize = 5_000_000;
/// The end of what the text that streams in turns out to be.
const LAST_WORDS: &str = "word38 word39";

impl App {
    /// Those that are compared, in the order of the report.
    pub(crate) const ALL: [Self; 8] = [
        Self::Counter,
        Self::Form,
        Self::Dashboard,
        Self::Table,
        Self::Cpu,
        Self::Streaming,
        Self::Widgets,
        Self::Image,
    ];

    /// Its name on the command line, which is its script's too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Form => "form",
            Self::Dashboard => "dashboard",
            Self::Table => "table",
            Self::Cpu => "cpu",
            Self::Streaming => "streaming",
            Self::Widgets => "widgets",
            Self::Image => "image",
            Self::Cached => "cached",
        }
    }

    /// What it is, for a reader.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Form => "form",
            Self::Dashboard => "dashboard (2 charts, table, metrics)",
            Self::Table => "DataFrame of 5 MB",
            Self::Cpu => "CPU-bound (20 ms of Python)",
            Self::Streaming => "streaming text (40 words)",
            Self::Widgets => "200 widgets",
            Self::Image => "image",
            Self::Cached => "cached values",
        }
    }

    /// Its script.
    pub(crate) fn script(self) -> PathBuf {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "apps", self.name()].iter().collect();
        path.with_extension("py")
    }

    /// What the browser sends with its `click`th click.
    pub(crate) fn input(self, widgets: &Widgets, click: u64) -> Vec<WidgetState> {
        let state = |id: &String, value| WidgetState { id: id.clone(), value: Some(value) };
        let mut states = vec![state(&widgets.button, WidgetValue::Trigger(true))];
        match self {
            Self::Form => {
                states.extend(widgets.others.iter().map(|id| state(id, WidgetValue::Text(format!("word {click}")))));
            }
            Self::Widgets => states.extend(widgets.others.iter().zip(0..).map(|(id, place)| {
                #[expect(clippy::cast_precision_loss, reason = "a number of clicks")]
                state(id, WidgetValue::Double(last_change(place, click) as f64))
            })),
            _ => {}
        }
        states
    }

    /// What the answer to the `click`th click shows.
    pub(crate) fn expected(self, click: u64) -> String {
        match self {
            Self::Form => format!("count={click};text=word {click};"),
            Self::Widgets => {
                let total: u64 = (0..INPUTS).map(|place| last_change(place, click)).sum();
                format!("count={click};total={total};")
            }
            _ => format!("count={click};"),
        }
    }

    /// What some message of each answer has in it besides.
    pub(crate) fn last_words(self) -> Option<&'static str> {
        (self == Self::Streaming).then_some(LAST_WORDS)
    }

    /// What an answer has at least, in bytes.
    pub(crate) fn least_bytes(self) -> usize {
        if self == Self::Table { TABLE_BYTES } else { 0 }
    }
}

/// The value of an input after so many clicks, each of which sets the next one to its number.
fn last_change(place: u64, click: u64) -> u64 {
    // Less than nothing is before the first.
    click.saturating_sub((click + INPUTS - place) % INPUTS)
}

/// The ids of the widgets that a user touches.
#[derive(Debug)]
pub(crate) struct Widgets {
    button: String,
    others: Vec<String>,
}

impl Widgets {
    /// Finds them on the app's page.
    pub(crate) fn find(app: App, browser: &Browser) -> Result<Self> {
        let find =
            |key: &str| browser.widget(key).with_context(|| format!("the app has no widget with the key {key:?}"));
        let others = match app {
            App::Form => vec![find("text")?],
            App::Widgets => (0..INPUTS).map(|number| find(&format!("input{number}"))).collect::<Result<_>>()?,
            _ => Vec::new(),
        };
        Ok(Self { button: find("click")?, others })
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_keep_the_number_of_the_click_that_set_them_last() {
        assert_eq!([0, 1, 2, 199].map(|place| last_change(place, 1)), [0, 1, 0, 0]);
        assert_eq!([0, 1, 199].map(|place| last_change(place, 200)), [200, 1, 199]);
        assert_eq!([0, 1, 2].map(|place| last_change(place, 401)), [400, 401, 202]);
        assert_eq!(App::Widgets.expected(2), "count=2;total=3;");
    }
}
