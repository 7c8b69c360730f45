//! Plays a scenario against one server, and notes all that can be compared after each step.

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use streamfleet_testkit::browser::{Browser, Event, LocalFile};
use streamfleet_testkit::client::{Client, ClientError, ConnectOptions, RawFrame, decode};
use streamfleet_testkit::http::{self as plain_http, Response};
use streamfleet_testkit::tree::Snapshot;
use streamfleet_testkit::wire::{
    Back, BackendOperationRequest, BackendOperationResponse, ChatInputValue, ClientState, DataframeChunkRequest,
    DeferredFileRequest, FileUploaderState, Forward, WidgetValue,
};
use streamfleet_testkit::{Endpoint, mask};

use super::scenario::{File, Frame, Scenario, Step};

/// Headers that a browser or a cache acts on.
const COMPARED_HEADERS: [&str; 12] = [
    "accept-ranges",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "allow",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-range",
    "content-type",
    "location",
    "x-content-type-options",
];

/// `Element.download_button.deferred_file_id`.
const DEFERRED_FILE_ID: [u64; 2] = [43, 12];

/// `Element.dataframe.lazy_data.source_id`.
const LAZY_SOURCE_ID: [u64; 3] = [40, 14, 1];

/// What a server showed after a step.
#[derive(Debug)]
pub(super) struct Observation {
    /// The page.
    pub(super) page: Snapshot,
    /// The runs that the step caused, and how they ended; no other events.
    pub(super) runs: Vec<Event>,
    /// What else the server said, since the last run began. What it says before is lost or not, as chance has it.
    pub(super) said: Vec<Event>,
    /// The address bar.
    pub(super) query_string: String,
    /// Answers to plain HTTP requests.
    pub(super) answers: Vec<Answer>,
}

/// The answer to a plain HTTP request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What was asked.
    pub(super) request: String,
    /// The status and the headers that matter.
    pub(super) head: Vec<String>,
    /// The body, masked.
    pub(super) body: Vec<u8>,
}

/// Opens the app and takes all steps. The first observation is of the page as it opens.
pub(super) async fn all_steps(endpoint: &Endpoint, scenario: &Scenario) -> Result<Vec<Observation>> {
    let options = ConnectOptions { headers: headers(&scenario.headers)?, ..ConnectOptions::default() };
    let browser = Browser::open_with(endpoint, options, &scenario.page, &scenario.query).await.context("opening")?;
    let mut player = Player { browser, answers: Vec::new() };
    let mut observations = vec![player.observe()];
    for (number, step) in scenario.steps.iter().enumerate() {
        player.take(step).await.with_context(|| format!("step {}: {step:?}", number + 1))?;
        observations.push(player.observe());
    }
    Ok(observations)
}

struct Player {
    browser: Browser,
    answers: Vec<Answer>,
}

impl Player {
    fn observe(&mut self) -> Observation {
        let events = self.browser.page.take_events();
        let last_start = events.iter().rposition(|event| matches!(event, Event::Started(_))).unwrap_or(0);
        let is_said = |event: &&Event| matches!(event, Event::Said(..));
        // A `new_session` is noted right after its `Started`, so the last one is among these.
        let said = events[last_start..].iter().filter(is_said).cloned().collect();
        Observation {
            page: self.browser.page.tree.snapshot(),
            said,
            query_string: self.browser.page.query_string().to_owned(),
            runs: events.into_iter().filter(|event| !is_said(&event)).collect(),
            answers: std::mem::take(&mut self.answers),
        }
    }

    async fn take(&mut self, step: &Step) -> Result<()> {
        let browser = &mut self.browser;
        match step {
            Step::Click { key } => {
                let id = widget(browser, key)?;
                browser.click(&id).await?;
            }
            Step::Set { key, value } => {
                let id = widget(browser, key)?;
                browser.set(&id, value.clone().into()).await?;
            }
            Step::Submit { key, values } => {
                for input in values {
                    let id = widget(browser, &input.key)?;
                    browser.put(id, input.value.clone().into());
                }
                let id = widget(browser, key)?;
                browser.click(&id).await?;
            }
            Step::Upload { key, files } => {
                let id = widget(browser, key)?;
                let files = upload(browser, files).await?;
                browser.set(&id, WidgetValue::Files(files)).await?;
            }
            Step::Chat { key, text, files } => {
                let id = widget(browser, key)?;
                let files = if files.is_empty() { None } else { Some(upload(browser, files).await?) };
                let message =
                    ChatInputValue { data: Some(text.clone()), file_uploader_state: files, audio_file_info: None };
                browser.set(&id, WidgetValue::Chat(message)).await?;
            }
            Step::Page { name } => {
                let page = browser.page.app_pages.iter().find(|page| page.url_pathname == *name);
                let hash = page.with_context(|| format!("no page {name:?}"))?.page_script_hash.clone();
                browser.go_to(&hash).await?;
            }
            Step::Rerun { query } => {
                let mut state = browser.state();
                if let Some(query) = query {
                    state.query_string.clone_from(query);
                    state.is_history_navigation = true;
                }
                browser.run(state).await?;
            }
            Step::Tick { timer } => {
                let timer = browser.page.timers.get(*timer).context("no such timer")?;
                let fragment = timer.fragment_id.clone();
                browser.tick(&fragment).await?;
            }
            Step::StopAt { key, text } => {
                press_until(browser, key, text).await?;
                browser.client.send(Back::StopScript(true)).await?;
                browser.settle().await?;
            }
            Step::Interrupt { key, text, then } => {
                press_until(browser, key, text).await?;
                let id = widget(browser, then)?;
                browser.click(&id).await?;
            }
            Step::Reconnect => {
                browser.reconnect().await?;
            }
            Step::Media { range } => self.fetch_media(range.as_deref()).await?,
            Step::Request { method, path, headers: given, body, body_times } => {
                let path = path.replace("{session}", browser.client.session_id());
                let mut all = browser.client.http_headers();
                all.extend(headers(given)?);
                let (endpoint, method) = (browser.client.endpoint(), Method::from_bytes(method.as_bytes())?);
                let line = format!("{method} {path}");
                let target = endpoint.path(&path);
                let response =
                    plain_http::request(endpoint, method, &target, all, body.repeat(*body_times).into()).await?;
                self.note(&line, &response);
            }
            Step::Frame { frame } => self.send_frame(frame).await?,
            Step::Connect { headers: given } => self.connect_once_more(headers(given)?).await?,
            Step::Deferred { nth } => self.fetch_deferred(*nth).await?,
            Step::Chunk { offset, limit } => self.fetch_chunk(*offset, *limit).await?,
        }
        Ok(())
    }

    async fn send_frame(&mut self, frame: &Frame) -> Result<()> {
        let browser = &mut self.browser;
        let raw = match frame {
            Frame::Text(text) => RawFrame::text(text.clone()),
            Frame::Binary(content) => RawFrame::binary(content.clone()),
            Frame::Zeros(length) => RawFrame::binary(vec![0; *length]),
        };
        let end = match browser.client.send_frame(raw).await {
            Ok(()) => browser.settle().await.map(|finish| format!("{finish:?}")),
            Err(error) => Err(error),
        };
        let head = vec![end.unwrap_or_else(|error| closing(&error))];
        self.answers.push(Answer { request: "frame".to_owned(), head, body: Vec::new() });
        self.browser.reconnect().await?;
        Ok(())
    }

    async fn connect_once_more(&mut self, headers: HeaderMap) -> Result<()> {
        let options = ConnectOptions { headers, ..ConnectOptions::default() };
        let outcome = Client::connect_with(self.browser.client.endpoint(), options).await;
        let head = vec![outcome.map_or_else(|error| error.to_string(), |_| "connected".to_owned())];
        self.answers.push(Answer { request: "connect".to_owned(), head, body: Vec::new() });
        Ok(())
    }

    async fn fetch_media(&mut self, range: Option<&str>) -> Result<()> {
        let urls = self.browser.page.tree.media_urls();
        if urls.is_empty() {
            bail!("there are no media files on the page");
        }
        for url in urls {
            let mut more = HeaderMap::new();
            if let Some(range) = range {
                more.insert(http::header::RANGE, range.parse()?);
            }
            let response = self.browser.client.get(&url, more).await?;
            self.note(&format!("GET {url} {}", range.unwrap_or_default()), &response);
        }
        Ok(())
    }

    async fn fetch_deferred(&mut self, nth: usize) -> Result<()> {
        let file_id = self.element_string(&DEFERRED_FILE_ID, nth)?;
        let request =
            BackendOperationRequest { deferred_file: Some(DeferredFileRequest { file_id }), ..Default::default() };
        let answer = self.operate(request).await?;
        let url = answer.deferred_file.with_context(|| answer.error_msg.clone())?.url;
        let response = self.browser.client.get(&url, HeaderMap::new()).await?;
        self.note(&format!("GET {url}"), &response);
        Ok(())
    }

    async fn fetch_chunk(&mut self, offset: u64, limit: u32) -> Result<()> {
        let source_id = self.element_string(&LAZY_SOURCE_ID, 0)?;
        let chunk = DataframeChunkRequest { source_id, offset, limit };
        let request = BackendOperationRequest { dataframe_chunk: Some(chunk), ..Default::default() };
        let answer = self.operate(request).await?;
        let request = format!("rows {offset}+{limit}");
        let body = mask::bytes(&answer.dataframe_chunk);
        self.answers.push(Answer { request, head: vec![answer.error_msg], body });
        Ok(())
    }

    /// Asks for something apart from a run, and waits for the answer.
    async fn operate(&mut self, mut request: BackendOperationRequest) -> Result<BackendOperationResponse> {
        let browser = &mut self.browser;
        request.request_id = browser.client.request_id();
        request.session_id = browser.client.session_id().to_owned();
        browser.client.send(Back::BackendOperationRequest(request)).await?;
        loop {
            let message = browser.client.next().await?;
            browser.page.absorb(&message)?;
            if let Some(Forward::BackendOperationResponse(encoded)) = &message.kind {
                return Ok(decode(encoded)?);
            }
        }
    }

    fn element_string(&self, field: &[u64], nth: usize) -> Result<String> {
        let found = self.browser.page.tree.element_strings(field).into_iter().nth(nth);
        found.with_context(|| format!("no element number {nth} with the field {field:?}"))
    }

    fn note(&mut self, request: &str, response: &Response) {
        // A path that is nowhere may be refused by any part of a server, each in its own words.
        let nowhere = response.status == StatusCode::NOT_FOUND;
        let worded = |name: &&&str| nowhere && **name == "content-length";
        let header = |name: &&str| response.header(name).map(|value| format!("{name}: {}", mask_port(self, value)));
        let head = std::iter::once(response.status.to_string())
            .chain(COMPARED_HEADERS.iter().filter(|name| !worded(name)).filter_map(header));
        let answer = Answer {
            request: mask::text(request),
            head: head.collect(),
            body: if nowhere { Vec::new() } else { mask::bytes(&response.body) },
        };
        self.answers.push(answer);
    }
}

/// How a connection ended. A server that fails may say so (1011) or just drop the connection (a browser's 1006).
fn closing(error: &ClientError) -> String {
    match error {
        ClientError::Closed { code: None | Some(1011), .. } => "failed".to_owned(),
        other => other.to_string(),
    }
}

/// The two servers have two ports, which some headers name.
fn mask_port(player: &Player, value: &str) -> String {
    let authority = &player.browser.client.endpoint().authority;
    authority.split_once(':').map_or_else(|| value.to_owned(), |(_, port)| value.replace(port, "PORT"))
}

fn widget(browser: &Browser, key: &str) -> Result<String> {
    browser.widget(key).with_context(|| format!("no widget {key:?} among {:?}", browser.page.tree.widget_ids()))
}

async fn press_until(browser: &mut Browser, key: &str, text: &str) -> Result<()> {
    let id = widget(browser, key)?;
    browser.put(id.clone(), WidgetValue::Trigger(true));
    let fragment_id = browser.page.tree.fragment_of(&id);
    browser.start(ClientState { fragment_id, ..browser.state() }).await?;
    Ok(browser.wait_for(text).await?)
}

async fn upload(browser: &mut Browser, files: &[File]) -> Result<FileUploaderState> {
    let contents: Vec<String> = files.iter().map(|file| file.text.repeat(file.times)).collect();
    let local = |(file, content): (&'_ File, &'_ String)| (file.name.clone(), file.mime.clone(), content.clone());
    let files: Vec<_> = files.iter().zip(&contents).map(local).collect();
    let files: Vec<_> =
        files.iter().map(|(name, mime, content)| LocalFile { name, mime, content: content.as_bytes() }).collect();
    Ok(browser.upload(&files).await?)
}

fn headers(given: &std::collections::BTreeMap<String, String>) -> Result<HeaderMap> {
    given.iter().map(|(name, value)| Ok((name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?))).collect()
}
