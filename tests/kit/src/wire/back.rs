//! From the browser to the server.

use prost::{Message, Oneof};

use super::WidgetStates;

/// A message to the server.
#[derive(Clone, PartialEq, Message)]
pub struct BackMsg {
    /// What it asks for.
    #[prost(oneof = "Back", tags = "5, 6, 7, 11, 12, 14, 15, 16, 17, 19")]
    pub kind: Option<Back>,
}

/// The payload of a [`BackMsg`].
#[derive(Clone, PartialEq, Oneof)]
pub enum Back {
    /// Drop all cached values.
    #[prost(bool, tag = "5")]
    ClearCache(bool),
    /// Rerun when the source changes.
    #[prost(bool, tag = "6")]
    SetRunOnSave(bool),
    /// Stop the run.
    #[prost(bool, tag = "7")]
    StopScript(bool),
    /// Run the script.
    #[prost(message, tag = "11")]
    RerunScript(ClientState),
    /// Ask for `Forward::GitInfoChanged`.
    #[prost(bool, tag = "12")]
    LoadGitInfo(bool),
    /// Refused outside of Streamlit's own development.
    #[prost(bool, tag = "14")]
    DebugDisconnectWebsocket(bool),
    /// Refused outside of Streamlit's own development.
    #[prost(bool, tag = "15")]
    DebugShutdownRuntime(bool),
    /// Ask where to upload to.
    #[prost(message, tag = "16")]
    FileUrlsRequest(FileUrlsRequest),
    /// Ask for `Forward::HeartbeatAck`.
    #[prost(bool, tag = "17")]
    AppHeartbeat(bool),
    /// Ask for something apart from a run.
    #[prost(message, tag = "19")]
    BackendOperationRequest(BackendOperationRequest),
}

impl From<Back> for BackMsg {
    fn from(kind: Back) -> Self {
        Self { kind: Some(kind) }
    }
}

/// Everything a run depends on that the browser knows.
#[derive(Clone, PartialEq, Message)]
pub struct ClientState {
    /// Without the question mark.
    #[prost(string, tag = "1")]
    pub query_string: String,
    /// The values of all widgets that differ from their default.
    #[prost(message, optional, tag = "2")]
    pub widget_states: Option<WidgetStates>,
    /// The page to run; empty for the entry page or to go by `page_name`.
    #[prost(string, tag = "3")]
    pub page_script_hash: String,
    /// The page as named in the URL.
    #[prost(string, tag = "4")]
    pub page_name: String,
    /// Run just this fragment, if not empty.
    #[prost(string, tag = "5")]
    pub fragment_id: String,
    /// A timer of `run_every` asked for this.
    #[prost(bool, tag = "6")]
    pub is_auto_rerun: bool,
    /// Messages that the browser can be sent as a `Forward::RefHash`.
    #[prost(string, repeated, tag = "7")]
    pub cached_message_hashes: Vec<String>,
    /// What `st.context` shows.
    #[prost(message, optional, tag = "8")]
    pub context_info: Option<ContextInfo>,
    /// The user pressed "back" or "forward".
    #[prost(bool, tag = "9")]
    pub is_history_navigation: bool,
}

/// The browser's locale, URL and looks.
#[derive(Clone, PartialEq, Message)]
pub struct ContextInfo {
    /// Like `Europe/Berlin`.
    #[prost(string, optional, tag = "1")]
    pub timezone: Option<String>,
    /// Minutes behind UTC.
    #[prost(int32, optional, tag = "2")]
    pub timezone_offset: Option<i32>,
    /// Like `en-US`.
    #[prost(string, optional, tag = "3")]
    pub locale: Option<String>,
    /// The page's URL.
    #[prost(string, optional, tag = "4")]
    pub url: Option<String>,
    /// The app is shown in a frame of another page.
    #[prost(bool, optional, tag = "5")]
    pub is_embedded: Option<bool>,
    /// `light` or `dark`.
    #[prost(string, optional, tag = "6")]
    pub color_scheme: Option<String>,
}

/// Asks where files can be uploaded to.
#[derive(Clone, PartialEq, Message)]
pub struct FileUrlsRequest {
    /// Comes back in the answer.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// One per file.
    #[prost(string, repeated, tag = "2")]
    pub file_names: Vec<String>,
    /// The asking session.
    #[prost(string, tag = "3")]
    pub session_id: String,
}

/// Asks for something apart from a run.
#[derive(Clone, PartialEq, Message)]
pub struct BackendOperationRequest {
    /// Comes back in the answer.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// The asking session.
    #[prost(string, tag = "2")]
    pub session_id: String,
    /// The content of a download button that is made on demand.
    #[prost(message, optional, tag = "3")]
    pub deferred_file: Option<DeferredFileRequest>,
    /// Rows of a data frame that is sent in parts.
    #[prost(message, optional, tag = "6")]
    pub dataframe_chunk: Option<DataframeChunkRequest>,
}

/// See [`BackendOperationRequest::deferred_file`].
#[derive(Clone, PartialEq, Message)]
pub struct DeferredFileRequest {
    /// As in the download button's element.
    #[prost(string, tag = "1")]
    pub file_id: String,
}

/// See [`BackendOperationRequest::dataframe_chunk`].
#[derive(Clone, PartialEq, Message)]
pub struct DataframeChunkRequest {
    /// As in the data frame's element.
    #[prost(string, tag = "1")]
    pub source_id: String,
    /// The first row.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// At most so many rows.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}
