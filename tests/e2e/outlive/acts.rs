//! What a user does with `apps/everything`, step by step.

use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::{Browser, LocalFile};
use streamfleet_testkit::client::ClientError;
use streamfleet_testkit::tree::Snapshot;
use streamfleet_testkit::wire::{ChatInputValue, ClientState, DoubleArray, WidgetValue};

use super::page::{differences, picture, press, put};

/// One thing that a user does. Each changes what is shown.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    Press(&'static str),
    Type(&'static str, &'static str),
    /// Fills in the form, and sends it.
    Submit(&'static str, i64),
    Say(&'static str),
    Slide(f64),
    /// Uploads a file with this text.
    Upload(&'static str),
    /// Goes to the page of this name; the entry page has none.
    Visit(&'static str),
}

/// The whole course.
pub const ACTS: [Act; 30] = [
    Act::Press("click"),
    Act::Press("click"),
    Act::Press("add"),
    Act::Press("press"),
    Act::Type("word", "one"),
    Act::Press("press"),
    Act::Submit("Ann", 30),
    Act::Say("hello"),
    Act::Slide(3.0),
    Act::Press("buy"),
    Act::Press("bump-array"),
    Act::Press("bump-frame"),
    Act::Upload("the first file"),
    Act::Press("add"),
    Act::Upload("another file"),
    Act::Say("is anybody there?"),
    Act::Visit("second"),
    Act::Type("note", "kept for later"),
    Act::Visit(""),
    Act::Press("click"),
    Act::Press("press"),
    Act::Type("word", "two"),
    Act::Press("bump-frame"),
    Act::Press("bump-array"),
    Act::Press("buy"),
    Act::Slide(7.0),
    Act::Submit("Bob", 41),
    Act::Visit("second"),
    Act::Type("note", "and changed"),
    Act::Visit(""),
];

impl Act {
    /// Does it, and does not wait for what follows.
    pub async fn begin(self, browser: &mut Browser) {
        match self {
            Self::Press(key) => press(browser, key).await,
            Self::Type(key, text) => put(browser, key, WidgetValue::Text(text.to_owned())).await,
            Self::Submit(name, age) => {
                let (name_id, age_id) = (browser.widget("name").unwrap(), browser.widget("age").unwrap());
                browser.put(name_id, WidgetValue::Text(name.to_owned()));
                browser.put(age_id, WidgetValue::Int(age));
                press(browser, "send").await;
            }
            Self::Say(text) => {
                let message = ChatInputValue { data: Some(text.to_owned()), ..ChatInputValue::default() };
                put(browser, "chat", WidgetValue::Chat(message)).await;
            }
            Self::Slide(to) => put(browser, "least", WidgetValue::Doubles(DoubleArray { data: vec![to] })).await,
            Self::Upload(text) => {
                let file = LocalFile { name: "file.txt", mime: "text/plain", content: text.as_bytes() };
                let uploaded = browser.upload(&[file]).await.unwrap();
                put(browser, "file", WidgetValue::Files(uploaded)).await;
            }
            Self::Visit(name) => {
                let page = browser.page.app_pages.iter().find(|page| page.url_pathname == name);
                let page_script_hash = page.unwrap_or_else(|| panic!("no page {name:?}")).page_script_hash.clone();
                let state = ClientState { page_script_hash, ..browser.state() };
                browser.start(state).await.unwrap();
            }
        }
    }
}

/// What is shown at first and after each act.
pub struct Course(Vec<Snapshot>);

impl Course {
    /// Takes the whole course on a server that nothing happens to.
    pub async fn undisturbed(endpoint: &Endpoint) -> Self {
        let mut browser = Browser::open(endpoint).await.unwrap();
        let mut course = vec![picture(&browser)];
        for act in ACTS {
            act.begin(&mut browser).await;
            browser.settle().await.unwrap();
            let shown = picture(&browser);
            assert_ne!(Some(&shown), course.last(), "{act:?} changes nothing, so nobody would notice if it were lost");
            course.push(shown);
        }
        Self(course)
    }

    /// Asserts that another course showed the same.
    pub fn assert_same(&self, other: &Self) {
        for (number, (expected, found)) in self.0.iter().zip(&other.0).enumerate() {
            assert_eq!(expected, found, "after {number} acts:{}", differences(expected, found));
        }
    }
}

/// Somebody who takes the course, whatever happens.
pub struct Walker {
    pub browser: Browser,
    done: usize,
}

impl Walker {
    pub async fn start(endpoint: &Endpoint) -> Self {
        Self { browser: Browser::open(endpoint).await.unwrap(), done: 0 }
    }

    /// Takes so many steps in peace.
    pub async fn walk(&mut self, steps: usize, course: &Course) {
        for _ in 0..steps {
            self.begin().await;
            self.arrive(course).await;
        }
    }

    /// Begins the next step.
    pub async fn begin(&mut self) {
        ACTS[self.done].begin(&mut self.browser).await;
    }

    /// Waits until the step that was begun shows what it shows in peace. Runs that are cut short or repeated may be seen on
    /// the way.
    pub async fn arrive(&mut self, course: &Course) {
        self.done += 1;
        let expected = &course.0[self.done];
        loop {
            let settled = self.browser.settle().await;
            let shown = picture(&self.browser);
            if settled.is_ok() && shown == *expected {
                return;
            }
            if let Err(error) = settled {
                self.fail(&error, expected, &shown);
            }
        }
    }

    /// Asserts that the session is being served, and that the page is still what it was.
    pub async fn look_again(&mut self, course: &Course) {
        let expected = &course.0[self.done];
        let answered = self.browser.heartbeat().await;
        // A run that is repeated is none of the heartbeat's business, and may be under way.
        while answered.is_ok() && picture(&self.browser) != *expected {
            if let Err(error) = self.browser.settle().await {
                self.fail(&error, expected, &picture(&self.browser));
            }
        }
        if let Err(error) = answered {
            self.fail(&error, expected, &picture(&self.browser));
        }
    }

    fn fail(&self, error: &ClientError, expected: &Snapshot, shown: &Snapshot) -> ! {
        let (session, act) = (self.browser.client.session_id(), &ACTS[self.done - 1]);
        let differences = differences(expected, shown);
        panic!("session {session}, act {}, {act:?}: {error}{differences}", self.done);
    }
}
