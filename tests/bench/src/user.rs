//! A user who clicks, and checks every answer.

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::client::{ConnectOptions, last_finish};
use streamfleet_testkit::wire::{ClientState, Finish, Forward, WidgetStates};

use crate::app::{App, Widgets};

/// What names a user to whoever must tell users apart that all come from this machine.
pub(crate) const USER: HeaderName = HeaderName::from_static("x-user");
/// The count is shown in a short message; longer ones are not searched for it.
const SHORT: usize = 4096;
const MEDIA: &[u8] = b"/media/";

/// A user who clicks one button, again and again.
#[derive(Debug)]
pub(crate) struct User {
    app: App,
    browser: Browser,
    widgets: Widgets,
    /// What every click sends, but for the widgets.
    state: ClientState,
    clicks: u64,
    /// Where the session's owner may be lost, the page may be shown anew, as it was, before a click is answered: then the wait goes on
    /// for the right answer.
    pub(crate) is_patient: bool,
    /// The changes of the page that an answer has; all have as many.
    deltas: Option<usize>,
}

impl User {
    /// Opens the app's page.
    pub(crate) async fn open(endpoint: &Endpoint, app: App, number: usize) -> Result<Self> {
        let options = ConnectOptions::default().header(USER, HeaderValue::from(number));
        let browser = Browser::open_with(endpoint, options, "", "").await?;
        let widgets = Widgets::find(app, &browser)?;
        let mut state = browser.state();
        // So that every answer is a whole one.
        state.cached_message_hashes.clear();
        Ok(Self { app, browser, widgets, state, clicks: 0, is_patient: false, deltas: None })
    }

    /// Clicks, waits for the end of the run, and checks the answer. Pictures are fetched too.
    pub(crate) async fn click(&mut self) -> Result<()> {
        if let Some(address) = self.answered().await? {
            let picture = self.browser.client.get(&address, HeaderMap::new()).await?;
            ensure!(
                picture.status.is_success() && !picture.body.is_empty(),
                "the picture {address} is answered with {}",
                picture.status
            );
        }
        Ok(())
    }

    /// The address of the picture in the answer, if there is one.
    async fn answered(&mut self) -> Result<Option<String>> {
        self.clicks += 1;
        let widgets = self.app.input(&self.widgets, self.clicks);
        let state = ClientState { widget_states: Some(WidgetStates { widgets }), ..self.state.clone() };
        let client = &mut self.browser.client;
        client.rerun(state).await?;
        let expected = self.app.expected(self.clicks);
        let (mut counted, mut said, mut picture) = (false, self.app.last_words().is_none(), None);
        let (mut deltas, mut bytes) = (0, 0);
        loop {
            let message = client.next().await?;
            match &message.kind {
                Some(Forward::Delta(delta)) => {
                    deltas += 1;
                    bytes += delta.len();
                    if delta.len() < SHORT {
                        counted = counted || contains(delta, expected.as_bytes());
                        said = said || self.app.last_words().is_some_and(|words| contains(delta, words.as_bytes()));
                        if self.app == App::Image {
                            picture = address(delta).or(picture);
                        }
                    }
                }
                Some(Forward::ScriptFinished(_)) if last_finish(&message) == Some(Finish::Success) => {
                    if counted || !self.is_patient {
                        break;
                    }
                    (deltas, bytes) = (0, 0);
                }
                _ => {}
            }
        }
        ensure!(counted, "the answer to click {} does not show {expected:?}", self.clicks);
        ensure!(said, "the text of the answer to click {} is not complete", self.clicks);
        ensure!(bytes >= self.app.least_bytes(), "the answer to click {} has {bytes} bytes", self.clicks);
        let usual = *self.deltas.get_or_insert(deltas);
        // Streamlit sends of an element that changes several times in a run what there is to send, which is a matter of moments.
        ensure!(
            deltas == usual || self.app == App::Streaming,
            "the answer to click {} has {deltas} elements, not {usual}",
            self.clicks
        );
        if self.app == App::Image {
            picture = Some(picture.context("the answer has no picture")?);
        }
        Ok(picture)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The first address of a media file in a message.
fn address(message: &[u8]) -> Option<String> {
    let start = message.windows(MEDIA.len()).position(|window| window == MEDIA)?;
    let end = message[start..].iter().position(|&byte| !(byte.is_ascii_graphic())).map(|length| start + length);
    String::from_utf8(message[start..end.unwrap_or(message.len())].to_vec()).ok()
}
