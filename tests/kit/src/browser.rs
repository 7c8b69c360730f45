//! A user's browser tab: a connection, the page, and the values of its widgets.
//!
//! It keeps and sends what Streamlit's front end does: with every rerun all widget values that were set, the query string,
//! the page, and the hashes of the messages it could be spared; values of widgets that left the page are forgotten. Timers
//! (`run_every`) only fire when told to, so that a test decides what happens when.

use std::collections::BTreeMap;

use crate::Endpoint;
use crate::client::{Client, ClientError, ConnectOptions, decode, metadata};
use crate::mask;
use crate::tree::Tree;
use crate::wire::{
    AppPage, AutoRerun, ClientState, ContextInfo, FileUploaderState, Finish, Forward, ForwardMsg, Navigation,
    NewSession, PageInfo, UploadedFileInfo, WidgetState, WidgetStates, WidgetValue,
};

/// Something the server said, apart from changes of the page, in a form that two servers can be compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A run began; of these fragments, or of the whole script.
    Started(Vec<String>),
    /// A run ended.
    Finished(Finish),
    /// Any other message: its kind, and its content, masked.
    Said(&'static str, Vec<u8>),
}

/// The page as it follows from the messages so far.
#[derive(Debug, Default)]
pub struct Page {
    /// Elements and blocks.
    pub tree: Tree,
    /// The pages that the user can choose.
    pub app_pages: Vec<AppPage>,
    /// Fragments that want to be run on a timer.
    pub timers: Vec<AutoRerun>,
    script_hash: String,
    query_string: String,
    events: Vec<Event>,
}

impl Page {
    /// Applies a message.
    pub fn absorb(&mut self, message: &ForwardMsg) -> Result<(), ClientError> {
        self.tree.apply(message)?;
        let Some(kind) = &message.kind else { return Ok(()) };
        match kind {
            Forward::NewSession(encoded) => {
                let session: NewSession = decode(encoded)?;
                let fragments = metadata(message)?.run.unwrap_or_default().fragment_ids;
                if fragments.is_empty() {
                    self.timers.clear();
                    self.app_pages = session.app_pages;
                }
                self.script_hash = session.page_script_hash;
                self.events.push(Event::Started(fragments));
            }
            Forward::ScriptFinished(status) => {
                let finish = Finish::try_from(*status).map_err(|error| ClientError::Garbled(error.to_string()))?;
                self.events.push(Event::Finished(finish));
            }
            Forward::PageInfoChanged(encoded) => self.query_string = decode::<PageInfo>(encoded)?.query_string,
            Forward::AutoRerun(encoded) => {
                let timer: AutoRerun = decode(encoded)?;
                self.timers.retain(|known| known.fragment_id != timer.fragment_id);
                self.timers.push(timer);
            }
            Forward::Navigation(encoded) => {
                let navigation: Navigation = decode(encoded)?;
                self.app_pages = navigation.app_pages;
                self.script_hash = navigation.page_script_hash;
            }
            _ => {}
        }
        if let Some((name, content)) = said(kind) {
            self.events.push(Event::Said(name, mask::bytes(content)));
        }
        Ok(())
    }

    /// The page that is shown.
    pub fn page_script_hash(&self) -> &str {
        &self.script_hash
    }

    /// The query string in the address bar, without the question mark.
    pub fn query_string(&self) -> &str {
        &self.query_string
    }

    /// What was said since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// A file to be chosen in a file dialog.
#[derive(Debug, Clone)]
pub struct LocalFile<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its MIME type, as the browser guesses it.
    pub mime: &'a str,
    /// Its content.
    pub content: &'a [u8],
}

/// A tab with an app in it.
#[derive(Debug)]
pub struct Browser {
    /// The connection.
    pub client: Client,
    /// What the user sees.
    pub page: Page,
    values: BTreeMap<String, WidgetValue>,
}

impl Browser {
    /// Opens an app's entry page and waits until it is there.
    pub async fn open(endpoint: &Endpoint) -> Result<Self, ClientError> {
        Self::open_with(endpoint, ConnectOptions::default(), "", "").await
    }

    /// Opens a page by its name in the URL (empty for the entry page) with a query string.
    pub async fn open_with(
        endpoint: &Endpoint,
        options: ConnectOptions,
        page_name: &str,
        query_string: &str,
    ) -> Result<Self, ClientError> {
        let client = Client::connect_with(endpoint, options).await?;
        let mut browser = Self { client, page: Page::default(), values: BTreeMap::new() };
        query_string.clone_into(&mut browser.page.query_string);
        let state = ClientState { page_name: page_name.to_owned(), ..browser.state() };
        browser.run(state).await?;
        Ok(browser)
    }

    /// Comes back after the connection was lost: presents the session's id, and asks for a run with all values.
    pub async fn reconnect(&mut self) -> Result<Finish, ClientError> {
        let endpoint = self.client.endpoint().clone();
        self.client = Client::connect_with(&endpoint, self.client.reconnect_options()).await?;
        self.run(self.state()).await
    }

    /// The id of the widget with this key, or of the `n`th without one if `key` is `#n`.
    pub fn widget(&self, key: &str) -> Option<String> {
        match key.strip_prefix('#').and_then(|ordinal| ordinal.parse::<usize>().ok()) {
            Some(ordinal) => self.page.tree.keyless_widgets().into_iter().nth(ordinal),
            None => self.page.tree.widget(key),
        }
    }

    /// Sets a widget without telling the server yet, as a form does.
    pub fn put(&mut self, id: impl Into<String>, value: WidgetValue) {
        self.values.insert(id.into(), value);
    }

    /// Sets a widget and waits for the run that follows; of its fragment if it is in one.
    pub async fn set(&mut self, id: &str, value: WidgetValue) -> Result<Finish, ClientError> {
        self.put(id, value);
        let fragment_id = self.page.tree.fragment_of(id);
        self.run(ClientState { fragment_id, ..self.state() }).await
    }

    /// Presses a button.
    pub async fn click(&mut self, id: &str) -> Result<Finish, ClientError> {
        self.set(id, WidgetValue::Trigger(true)).await
    }

    /// Reruns everything, as the "r" key does.
    pub async fn rerun(&mut self) -> Result<Finish, ClientError> {
        self.run(self.state()).await
    }

    /// Goes to another page of the app, which starts without a query string.
    pub async fn go_to(&mut self, page_script_hash: &str) -> Result<Finish, ClientError> {
        self.page.query_string.clear();
        self.run(ClientState { page_script_hash: page_script_hash.to_owned(), ..self.state() }).await
    }

    /// Lets the timer of a fragment fire.
    pub async fn tick(&mut self, fragment_id: &str) -> Result<Finish, ClientError> {
        let fragment_id = fragment_id.to_owned();
        self.run(ClientState { fragment_id, is_auto_rerun: true, ..self.state() }).await
    }

    /// Uploads files and returns what the widget's value has to hold to name them.
    pub async fn upload(&mut self, files: &[LocalFile<'_>]) -> Result<FileUploaderState, ClientError> {
        let endpoint = self.client.endpoint().clone();
        self.upload_through(&endpoint, files).await
    }

    /// The same through another server than the one that the WebSocket leads to.
    pub async fn upload_through(
        &mut self,
        endpoint: &Endpoint,
        files: &[LocalFile<'_>],
    ) -> Result<FileUploaderState, ClientError> {
        let names: Vec<&str> = files.iter().map(|file| file.name).collect();
        let urls = self.client.file_urls(&names, |message| self.page.absorb(message)).await?;
        let mut uploaded = FileUploaderState::default();
        for (file, urls) in files.iter().zip(urls) {
            let upload = self.client.upload_through(endpoint, &urls.upload_url, file.name, file.mime, file.content);
            let answer = upload.await?;
            if !answer.status.is_success() {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(ClientError::Refused { status: answer.status, body });
            }
            uploaded.uploaded_file_info.push(UploadedFileInfo {
                name: file.name.to_owned(),
                size: file.content.len() as u64,
                file_id: urls.file_id.clone(),
                file_urls: Some(urls),
            });
        }
        Ok(uploaded)
    }

    /// The state that a rerun of the page as it is would send.
    pub fn state(&self) -> ClientState {
        let widget = |(id, value): (&String, &WidgetValue)| WidgetState { id: id.clone(), value: Some(value.clone()) };
        ClientState {
            query_string: self.page.query_string.clone(),
            widget_states: Some(WidgetStates { widgets: self.values.iter().map(widget).collect() }),
            page_script_hash: self.page.script_hash.clone(),
            cached_message_hashes: self.page.tree.cached_hashes(),
            context_info: Some(ContextInfo {
                timezone: Some("Europe/Berlin".to_owned()),
                timezone_offset: Some(-60),
                locale: Some("en-GB".to_owned()),
                url: Some("http://app.example/".to_owned()),
                is_embedded: Some(false),
                color_scheme: Some("light".to_owned()),
            }),
            ..ClientState::default()
        }
    }

    /// Asks for a run and waits until the session is settled.
    pub async fn run(&mut self, state: ClientState) -> Result<Finish, ClientError> {
        self.start(state).await?;
        self.settle().await
    }

    /// Asks for a run and does not wait. What holds for one run only is forgotten.
    pub async fn start(&mut self, state: ClientState) -> Result<(), ClientError> {
        self.client.rerun(state).await?;
        self.values.retain(|_, value| !value.is_trigger());
        Ok(())
    }

    /// Receives until the session is settled.
    pub async fn settle(&mut self) -> Result<Finish, ClientError> {
        let finish = self.client.settle(|message| self.page.absorb(message)).await?;
        if finish == Finish::Success {
            let shown = self.page.tree.widget_ids();
            self.values.retain(|id, _| shown.contains(id));
        }
        Ok(finish)
    }

    /// Receives until a text is on the page, in the middle of a run.
    pub async fn wait_for(&mut self, text: &str) -> Result<(), ClientError> {
        while !self.page.tree.contains(text) {
            let message = self.client.next().await?;
            self.page.absorb(&message)?;
        }
        Ok(())
    }

    /// Receives what the server had to say so far.
    pub async fn heartbeat(&mut self) -> Result<(), ClientError> {
        self.client.heartbeat(|message| self.page.absorb(message)).await
    }
}

/// The messages to compare as they are: all but deltas, what depends on the machine, and what answers requests.
fn said(kind: &Forward) -> Option<(&'static str, &[u8])> {
    Some(match kind {
        Forward::NewSession(content) => ("new_session", content),
        Forward::SessionEvent(content) => ("session_event", content),
        Forward::PageInfoChanged(content) => ("page_info_changed", content),
        Forward::PageConfigChanged(content) => ("page_config_changed", content),
        Forward::PageNotFound(content) => ("page_not_found", content),
        Forward::ParentMessage(content) => ("parent_message", content),
        Forward::AutoRerun(content) => ("auto_rerun", content),
        Forward::StopAutoRerun(content) => ("stop_auto_rerun", content),
        Forward::Logo(content) => ("logo", content),
        Forward::Navigation(content) => ("navigation", content),
        Forward::AuthRedirect(content) => ("auth_redirect", content),
        Forward::PageProfile(content) => ("page_profile", content),
        _ => return None,
    })
}
