//! The values of widgets, as the browser sends them.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::FileUrls;

/// The values of widgets.
#[derive(Clone, PartialEq, Message)]
pub struct WidgetStates {
    /// In any order.
    #[prost(message, repeated, tag = "1")]
    pub widgets: Vec<WidgetState>,
}

/// The value of one widget.
#[derive(Clone, PartialEq, Message)]
pub struct WidgetState {
    /// As in the element, `$$ID-<hash>-<key>`.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its value.
    #[prost(oneof = "WidgetValue", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16")]
    pub value: Option<WidgetValue>,
}

/// What a widget can hold.
#[derive(Clone, PartialEq, Oneof)]
pub enum WidgetValue {
    /// Pressed, for one run.
    #[prost(bool, tag = "2")]
    Trigger(bool),
    /// Checkboxes, toggles.
    #[prost(bool, tag = "3")]
    Bool(bool),
    /// Float inputs.
    #[prost(double, tag = "4")]
    Double(f64),
    /// Integer inputs, radio.
    #[prost(sint64, tag = "5")]
    Int(i64),
    /// Texts, dates, colours.
    #[prost(string, tag = "6")]
    Text(String),
    /// Sliders.
    #[prost(message, tag = "7")]
    Doubles(DoubleArray),
    /// Chosen indices.
    #[prost(message, tag = "8")]
    Ints(SInt64Array),
    /// Chosen options, date ranges.
    #[prost(message, tag = "9")]
    Texts(StringArray),
    /// Selections, editor changes, component values.
    #[prost(string, tag = "10")]
    Json(String),
    /// A data frame from a component.
    #[prost(bytes = "bytes", tag = "11")]
    Arrow(Bytes),
    /// Bytes from a component.
    #[prost(bytes = "bytes", tag = "12")]
    Raw(Bytes),
    /// Uploaded files.
    #[prost(message, tag = "13")]
    Files(FileUploaderState),
    /// A text for one run.
    #[prost(message, tag = "14")]
    TextTrigger(StringTriggerValue),
    /// A chat message for one run.
    #[prost(message, tag = "15")]
    Chat(ChatInputValue),
    /// JSON for one run.
    #[prost(string, tag = "16")]
    JsonTrigger(String),
}

impl WidgetValue {
    /// Whether the value holds for one run only, so that a browser forgets it after sending it.
    pub fn is_trigger(&self) -> bool {
        matches!(self, Self::Trigger(_) | Self::TextTrigger(_) | Self::Chat(_) | Self::JsonTrigger(_))
    }
}

/// Several floats.
#[derive(Clone, PartialEq, Message)]
pub struct DoubleArray {
    /// The values.
    #[prost(double, repeated, tag = "1")]
    pub data: Vec<f64>,
}

/// Several integers.
#[derive(Clone, PartialEq, Message)]
pub struct SInt64Array {
    /// The values.
    #[prost(sint64, repeated, tag = "1")]
    pub data: Vec<i64>,
}

/// Several strings.
#[derive(Clone, PartialEq, Message)]
pub struct StringArray {
    /// The values.
    #[prost(string, repeated, tag = "1")]
    pub data: Vec<String>,
}

/// A text for one run.
#[derive(Clone, PartialEq, Message)]
pub struct StringTriggerValue {
    /// The text.
    #[prost(string, optional, tag = "1")]
    pub data: Option<String>,
}

/// The files in an uploader.
#[derive(Clone, PartialEq, Message)]
pub struct FileUploaderState {
    /// In the order they are shown.
    #[prost(message, repeated, tag = "2")]
    pub uploaded_file_info: Vec<UploadedFileInfo>,
}

/// One uploaded file.
#[derive(Clone, PartialEq, Message)]
pub struct UploadedFileInfo {
    /// Its name on the user's machine.
    #[prost(string, tag = "2")]
    pub name: String,
    /// In bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// As given by the server.
    #[prost(string, tag = "4")]
    pub file_id: String,
    /// As given by the server.
    #[prost(message, optional, tag = "5")]
    pub file_urls: Option<FileUrls>,
}

/// A chat message for one run.
#[derive(Clone, PartialEq, Message)]
pub struct ChatInputValue {
    /// The text.
    #[prost(string, optional, tag = "1")]
    pub data: Option<String>,
    /// Attached files.
    #[prost(message, optional, tag = "2")]
    pub file_uploader_state: Option<FileUploaderState>,
    /// A recording.
    #[prost(message, optional, tag = "3")]
    pub audio_file_info: Option<UploadedFileInfo>,
}
