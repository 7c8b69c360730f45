//! `steps.toml`: what the user of an app does.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use streamfleet_testkit::wire::{DoubleArray, SInt64Array, StringArray, StringTriggerValue, WidgetValue};

/// An app and the steps that its user takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// The script, in the app's folder.
    #[serde(default = "app_py")]
    pub(super) script: String,
    /// Flags for either server.
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// The app's `server.baseUrlPath`.
    #[serde(default)]
    pub(super) base_path: String,
    /// The page to open, as in the URL; empty for the entry page.
    #[serde(default)]
    pub(super) page: String,
    /// The query string to open it with.
    #[serde(default)]
    pub(super) query: String,
    /// Headers for the WebSocket and HTTP requests.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// What to do once the page is there.
    #[serde(default, rename = "step")]
    pub(super) steps: Vec<Step>,
}

fn app_py() -> String {
    "app.py".to_owned()
}

/// One thing that a user or the front end does. A `key` is a widget's key, or `#n` for the `n`th widget without one.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Step {
    /// Presses a button.
    Click { key: String },
    /// Sets a widget.
    Set { key: String, value: Value },
    /// Fills a form and presses its button.
    Submit { key: String, values: Vec<Input> },
    /// Uploads files to a file, camera or audio input.
    Upload { key: String, files: Vec<File> },
    /// Sends a chat message, with files if there are any.
    Chat {
        key: String,
        text: String,
        #[serde(default)]
        files: Vec<File>,
    },
    /// Goes to another page, by its path in the URL.
    Page { name: String },
    /// Reruns all, with another query string if one is given.
    Rerun { query: Option<String> },
    /// Fires the timer of the `n`th fragment that has one.
    Tick {
        #[serde(default)]
        timer: usize,
    },
    /// Presses a button, and stops the script when a text is on the page.
    StopAt { key: String, text: String },
    /// Presses two buttons, the second when a text is on the page.
    Interrupt { key: String, text: String, then: String },
    /// Drops the connection and comes back with the session's id.
    Reconnect,
    /// Fetches all media files on the page.
    Media { range: Option<String> },
    /// Fetches a path under the app; `{session}` in it stands for the session's id.
    Request {
        #[serde(default = "get")]
        method: String,
        path: String,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        #[serde(default)]
        body: String,
        /// Repeats the body, for a large one.
        #[serde(default = "once")]
        body_times: usize,
    },
    /// Has the content of the `n`th on-demand download made, and fetches it.
    Deferred {
        #[serde(default)]
        nth: usize,
    },
    /// Sends a frame that is no message, notes how the connection ends, and comes back.
    Frame { frame: Frame },
    /// Opens one more connection, with these headers, and notes how that goes.
    Connect { headers: BTreeMap<String, String> },
    /// Has some rows sent of the first data frame that is fetched in parts.
    Chunk { offset: u64, limit: u32 },
}

fn get() -> String {
    "GET".to_owned()
}

/// What is in a frame that is no message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Frame {
    /// A text frame.
    Text(String),
    /// A binary frame with this content.
    Binary(Vec<u8>),
    /// A binary frame of so many zeros.
    Zeros(usize),
}

/// A widget's new value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pub(super) key: String,
    pub(super) value: Value,
}

/// A value, by the type it has on the wire.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
    Texts(Vec<String>),
    Json(String),
    Raw(String),
    TextTrigger(String),
    JsonTrigger(String),
}

impl From<Value> for WidgetValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Double(value) => Self::Double(value),
            Value::Text(value) => Self::Text(value),
            Value::Ints(data) => Self::Ints(SInt64Array { data }),
            Value::Doubles(data) => Self::Doubles(DoubleArray { data }),
            Value::Texts(data) => Self::Texts(StringArray { data }),
            Value::Json(value) => Self::Json(value),
            Value::Raw(value) => Self::Raw(value.into()),
            Value::TextTrigger(value) => Self::TextTrigger(StringTriggerValue { data: Some(value) }),
            Value::JsonTrigger(value) => Self::JsonTrigger(value),
        }
    }
}

/// A text file on the user's machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) mime: String,
    #[serde(default)]
    pub(super) text: String,
    /// Repeats the text, for a large file.
    #[serde(default = "once")]
    pub(super) times: usize,
}

fn once() -> usize {
    1
}

impl Scenario {
    /// Reads an app's `steps.toml`.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("steps.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}
