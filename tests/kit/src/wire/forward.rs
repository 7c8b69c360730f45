//! From the server to the browser.

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
    /// Answers `Back::AppHeartbeat`.
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
    /// Names the page in a `ClientState`.
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

/// Answers a `BackendOperationRequest`.
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
