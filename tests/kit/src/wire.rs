//! The part of Streamlit's protobuf protocol that a client needs, with Streamlit's public field numbers.
//!
//! Message-typed fields whose content nobody here looks into are declared `bytes`, which is the same on the wire. So a
//! [`ForwardMsg`] decodes without copying or understanding its payload, and elements stay comparable byte by byte.

use bytes::Bytes;
use prost::{Message, Oneof};

/// A message from the server; every WebSocket frame holds one.
#[derive(Clone, PartialEq, Message)]
pub struct ForwardMsg {
    /// Content hash, set on messages that a script made.
    #[prost(bytes = "bytes", tag = "1")]
    pub hash: Bytes,
    /// An encoded [`Metadata`].
    #[prost(bytes = "bytes", tag = "2")]
    pub metadata: Bytes,
    /// What the message says.
    #[prost(oneof = "Forward", tags = "4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 18, 19, 20, 21, 22, 23, 24, 26, 27, 28")]
    pub kind: Option<Forward>,
}

/// The payload of a [`ForwardMsg`]. Variants that hold `Bytes` hold an encoded message.
#[derive(Clone, PartialEq, Oneof)]
pub enum Forward {
    /// A [`NewSession`]: a run begins.
    #[prost(bytes = "bytes", tag = "4")]
    NewSession(Bytes),
    /// A [`Delta`]: one change of the page.
    #[prost(bytes = "bytes", tag = "5")]
    Delta(Bytes),
    /// A [`Finish`]: a run ended.
    #[prost(enumeration = "Finish", tag = "6")]
    ScriptFinished(i32),
    /// A [`SessionStatus`].
    #[prost(bytes = "bytes", tag = "9")]
    SessionStatusChanged(Bytes),
    /// Source changed, script stopped by the user, or a compile error.
    #[prost(bytes = "bytes", tag = "10")]
    SessionEvent(Bytes),
    /// Stands for an earlier cacheable message with this hash.
    #[prost(string, tag = "11")]
    RefHash(String),
    /// A [`PageInfo`]: the query string changed.
    #[prost(bytes = "bytes", tag = "12")]
    PageInfoChanged(Bytes),
    /// Title, icon, layout.
    #[prost(bytes = "bytes", tag = "13")]
    PageConfigChanged(Bytes),
    /// Git state of the app's folder.
    #[prost(bytes = "bytes", tag = "14")]
    GitInfoChanged(Bytes),
    /// The page that was asked for does not exist.
    #[prost(bytes = "bytes", tag = "15")]
    PageNotFound(Bytes),
    /// Usage statistics; never sent when `browser.gatherUsageStats` is off.
    #[prost(bytes = "bytes", tag = "18")]
    PageProfile(Bytes),
    /// A [`FileUrlsResponse`].
    #[prost(bytes = "bytes", tag = "19")]
    FileUrlsResponse(Bytes),
    /// For the page that embeds the app.
    #[prost(bytes = "bytes", tag = "20")]
    ParentMessage(Bytes),
    /// An [`AutoRerun`]: a fragment wants to be run on a timer.
    #[prost(bytes = "bytes", tag = "21")]
    AutoRerun(Bytes),
    /// The app's logo.
    #[prost(bytes = "bytes", tag = "22")]
    Logo(Bytes),
    /// The pages of `st.navigation`.
    #[prost(bytes = "bytes", tag = "23")]
    Navigation(Bytes),
    /// Sends the browser to a login page.
    #[prost(bytes = "bytes", tag = "24")]
    AuthRedirect(Bytes),
    /// Answers [`Back::AppHeartbeat`].
    #[prost(bool, tag = "26")]
    HeartbeatAck(bool),
    /// A [`BackendOperationResponse`].
    #[prost(bytes = "bytes", tag = "27")]
    BackendOperationResponse(Bytes),
    /// Fragments whose timers end.
    #[prost(bytes = "bytes", tag = "28")]
    StopAutoRerun(Bytes),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Finish {
    /// The whole script ran (or was stopped, or showed its exception on the page).
    Success = 0,
    /// The script does not compile.
    CompileError = 1,
    /// Cut short or done, and another run follows at once.
    EarlyForRerun = 2,
    /// Only fragments ran.
    FragmentSuccess = 3,
}

/// Where a delta belongs, and which run it or a lifecycle message is of.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// The browser may keep the message and be sent a [`Forward::RefHash`] next time.
    #[prost(bool, tag = "1")]
    pub cacheable: bool,
    /// The path from the root of the page.
    #[prost(uint32, repeated, tag = "2")]
    pub delta_path: Vec<u32>,
    /// The page script that made it.
    #[prost(string, tag = "4")]
    pub active_script_hash: String,
    /// The run, on `new_session` and `script_finished` only.
    #[prost(message, optional, tag = "6")]
    pub run: Option<RunIdentity>,
}

/// One run of a script or of some of its fragments.
#[derive(Clone, PartialEq, Message)]
pub struct RunIdentity {
    /// New for each run.
    #[prost(string, tag = "1")]
    pub script_run_id: String,
    /// Empty for a run of the whole script.
    #[prost(string, repeated, tag = "2")]
    pub fragment_ids: Vec<String>,
}

/// The start of a run.
#[derive(Clone, PartialEq, Message)]
pub struct NewSession {
    /// Holds the session's id.
    #[prost(message, optional, tag = "1")]
    pub initialize: Option<Initialize>,
    /// The pages in the `pages/` folder, with the entry page.
    #[prost(message, repeated, tag = "8")]
    pub app_pages: Vec<AppPage>,
    /// The page that runs.
    #[prost(string, tag = "9")]
    pub page_script_hash: String,
    /// The app's entry script.
    #[prost(string, tag = "11")]
    pub main_script_hash: String,
}

/// The pages of `st.navigation`.
#[derive(Clone, PartialEq, Message)]
pub struct Navigation {
    /// All pages.
    #[prost(message, repeated, tag = "2")]
    pub app_pages: Vec<AppPage>,
    /// The page that runs.
    #[prost(string, tag = "4")]
    pub page_script_hash: String,
}

/// A page that the user can choose.
#[derive(Clone, PartialEq, Message)]
pub struct AppPage {
    /// Names the page in a [`ClientState`].
    #[prost(string, tag = "1")]
    pub page_script_hash: String,
    /// Its name, as shown.
    #[prost(string, tag = "2")]
    pub page_name: String,
    /// Its place in the URL.
    #[prost(string, tag = "6")]
    pub url_pathname: String,
}

/// What stays the same while a session lives.
#[derive(Clone, PartialEq, Message)]
pub struct Initialize {
    /// The id to present when the connection is lost and made again.
    #[prost(string, tag = "6")]
    pub session_id: String,
}

/// Whether a script is running.
#[derive(Clone, PartialEq, Message)]
pub struct SessionStatus {
    /// Reruns when the source changes.
    #[prost(bool, tag = "1")]
    pub run_on_save: bool,
    /// A run is in progress.
    #[prost(bool, tag = "2")]
    pub script_is_running: bool,
}

/// One change of the page.
#[derive(Clone, PartialEq, Message)]
pub struct Delta {
    /// The fragment it was made in.
    #[prost(string, tag = "8")]
    pub fragment_id: String,
    /// What to put at the delta path.
    #[prost(oneof = "DeltaKind", tags = "3, 6, 9")]
    pub kind: Option<DeltaKind>,
}

/// The payload of a [`Delta`].
#[derive(Clone, PartialEq, Oneof)]
pub enum DeltaKind {
    /// An encoded `Element`.
    #[prost(bytes = "bytes", tag = "3")]
    NewElement(Bytes),
    /// An encoded `Block`.
    #[prost(bytes = "bytes", tag = "6")]
    AddBlock(Bytes),
    /// A [`Transient`].
    #[prost(message, tag = "9")]
    NewTransient(Transient),
}

/// Elements shown in place of another for a while, like a spinner.
#[derive(Clone, PartialEq, Message)]
pub struct Transient {
    /// Encoded `Element`s; none puts the original back.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub elements: Vec<Bytes>,
}

/// The query string that the browser should show.
#[derive(Clone, PartialEq, Message)]
pub struct PageInfo {
    /// Without the question mark.
    #[prost(string, tag = "1")]
    pub query_string: String,
}

/// A request to run a fragment on a timer.
#[derive(Clone, PartialEq, Message)]
pub struct AutoRerun {
    /// Seconds.
    #[prost(float, tag = "1")]
    pub interval: f32,
    /// The fragment.
    #[prost(string, tag = "2")]
    pub fragment_id: String,
}

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
    /// Ask for [`Forward::GitInfoChanged`].
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
    /// Ask for [`Forward::HeartbeatAck`].
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
    /// Messages that the browser can be sent as a [`Forward::RefHash`].
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

/// Says where files can be uploaded to.
#[derive(Clone, PartialEq, Message)]
pub struct FileUrlsResponse {
    /// The id of the request.
    #[prost(string, tag = "1")]
    pub response_id: String,
    /// In the order of the request.
    #[prost(message, repeated, tag = "2")]
    pub file_urls: Vec<FileUrls>,
    /// Why not, if not.
    #[prost(string, tag = "3")]
    pub error_msg: String,
}

/// Where one file goes.
#[derive(Clone, PartialEq, Message)]
pub struct FileUrls {
    /// Drawn by the server.
    #[prost(string, tag = "1")]
    pub file_id: String,
    /// For `PUT`.
    #[prost(string, tag = "2")]
    pub upload_url: String,
    /// For `DELETE`.
    #[prost(string, tag = "3")]
    pub delete_url: String,
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

/// Answers a [`BackendOperationRequest`].
#[derive(Clone, PartialEq, Message)]
pub struct BackendOperationResponse {
    /// The id of the request.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// Why not, if not.
    #[prost(string, tag = "2")]
    pub error_msg: String,
    /// Where to get the file.
    #[prost(message, optional, tag = "3")]
    pub deferred_file: Option<DeferredFileResponse>,
    /// An encoded chunk of rows.
    #[prost(bytes = "bytes", tag = "6")]
    pub dataframe_chunk: Bytes,
}

/// See [`BackendOperationResponse::deferred_file`].
#[derive(Clone, PartialEq, Message)]
pub struct DeferredFileResponse {
    /// A path under the app.
    #[prost(string, tag = "1")]
    pub url: String,
}
