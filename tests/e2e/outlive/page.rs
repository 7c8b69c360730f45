//! What a user sees, and waits to see.

use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::tree::Snapshot;
use streamfleet_testkit::wire::{ClientState, WidgetValue};

use crate::server::shown;

/// What tells the text that names the serving process, which is the one thing that may change when a session moves.
const NAMES_PROCESS: &[u8] = b"runner=";
/// `Element.toast.body`.
const TOAST_BODY: [u64; 2] = [50, 1];

/// The page but for what names the serving process.
pub fn picture(browser: &Browser) -> Snapshot {
    let mut picture = browser.page.tree.snapshot();
    picture.retain(|_, shown| !shown.content.windows(NAMES_PROCESS.len()).any(|part| part == NAMES_PROCESS));
    picture
}

/// Where two pictures differ, and what either shows there, one place per line.
pub fn differences(expected: &Snapshot, found: &Snapshot) -> String {
    let places = expected.keys().chain(found.keys().filter(|place| !expected.contains_key(place)));
    let text = |picture: &Snapshot, place| {
        let shown = picture.get(place).map(|shown| format!("[{}] {}", shown.fragment_id, shown.content.escape_ascii()));
        shown.unwrap_or_else(|| "nothing".to_owned())
    };
    let differing = places.filter(|place| expected.get(place) != found.get(place));
    let lines = differing.map(|place| {
        let (path, kind, _) = place;
        format!("\n  {kind:?} at {path:?}\n    - {}\n    + {}", text(expected, place), text(found, place))
    });
    lines.collect()
}

/// Presses a button and does not wait.
pub async fn press(browser: &mut Browser, key: &str) {
    put(browser, key, WidgetValue::Trigger(true)).await;
}

/// Sets a widget and does not wait.
pub async fn put(browser: &mut Browser, key: &str, value: WidgetValue) {
    let id = browser.widget(key).unwrap_or_else(|| panic!("there is no {key:?} on the page"));
    browser.put(id.clone(), value);
    let fragment_id = browser.page.tree.fragment_of(&id);
    browser.start(ClientState { fragment_id, ..browser.state() }).await.unwrap();
}

/// Waits until the session has come to rest and `name=value;` is shown. Runs that are cut short or repeated may show less on
/// the way; more is an error at once.
pub async fn until_counted(browser: &mut Browser, name: &str, value: i64) {
    loop {
        let session = browser.client.session_id().to_owned();
        if let Err(error) = browser.settle().await {
            panic!("{error}, in session {session}, with {name}={:?} for {value}", shown(browser, name));
        }
        // A run that was stopped may have shown none.
        let count = shown(browser, name).map_or(0, |count| count.parse().unwrap());
        assert!(count <= value, "{name} is {count} instead of {value}, in session {session}");
        if count == value {
            return;
        }
    }
}

/// Presses the button of the counting apps, and waits until that has been counted once.
pub async fn count(browser: &mut Browser, value: i64) {
    press(browser, "click").await;
    until_counted(browser, "count", value).await;
}

/// Receives until a toast is shown, and returns its text.
pub async fn toast(browser: &mut Browser) -> String {
    loop {
        if let Some(body) = browser.page.tree.element_strings(&TOAST_BODY).into_iter().next() {
            return body;
        }
        let message = browser.client.next().await.unwrap_or_else(|error| {
            let contents: Vec<_> = browser.page.tree.contents().iter().map(|c| c.escape_ascii().to_string()).collect();
            panic!("{error}, and nobody told the user; the page has {contents:#?}")
        });
        browser.page.absorb(&message).unwrap();
    }
}
