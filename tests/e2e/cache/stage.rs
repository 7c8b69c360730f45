//! A server or a cluster with users in each of its workers, who make calls and see what comes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Pid;
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::process::{Launch, Server};
use streamfleet_testkit::wire::WidgetValue;
use tempfile::TempDir;

use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::outlive::page::{picture, put};
use crate::server::{LIMIT, app, binary, shown, shown_number, until, wait_for_workers};

/// Users of each stage, one in each worker if there are as many.
pub const USERS: usize = 4;
const RUNNERS: usize = 2;
/// Browsers that are opened before a worker counts as one that nobody gets to.
const TRIES: usize = 100;
/// `Element.text.body`.
const TEXT_BODY: [u64; 2] = [1, 1];
/// `Element.exception.type`.
const EXCEPTION_TYPE: [u64; 2] = [8, 1];
/// `Element.exception.message`.
const EXCEPTION_MESSAGE: [u64; 2] = [8, 2];

/// What the users talk to.
pub enum Host {
    /// One server: plain Streamlit, or `streamfleet run`.
    Alone(Server),
    Fleet(Box<Fleet>),
}

/// Users of an app, and what their calls have shown so far.
pub struct Stage {
    name: &'static str,
    pub host: Host,
    /// Users 0 and 1 are on one runner, 2 and 3 on the other, where there are any.
    pub users: Vec<Browser>,
    /// How many processes run the app.
    pub workers: usize,
    folder: TempDir,
    noted: Vec<String>,
}

/// A function that really ran.
#[derive(Debug, Clone)]
pub struct Mark {
    pub what: String,
    /// The worker.
    pub pid: Pid,
    /// When it began, on the machine's clock.
    pub nanos: i64,
}

impl Stage {
    /// Plain Streamlit, with one of the apps in `apps/cached`.
    pub async fn plain(name: &str) -> Self {
        let folder = folder();
        let launch = environment(folder.path()).into_iter().fold(Launch::plain_streamlit(&path(name)), with_variable);
        let server = launch.start().await.unwrap();
        Self::fill("plain Streamlit", Host::Alone(server), 1, folder).await
    }

    /// `streamfleet run` on so many workers, with some more arguments.
    pub async fn run(name: &str, workers: usize, args: &[&str]) -> Self {
        let folder = folder();
        let launch = Launch::streamfleet(binary(), &path(name)).option("--workers", workers.to_string()).args(args);
        let server = environment(folder.path()).into_iter().fold(launch, with_variable).start().await.unwrap();
        wait_for_workers(&server, workers).await;
        Self::fill("streamfleet run", Host::Alone(server), workers, folder).await
    }

    /// Two runners of two workers each.
    pub async fn fleet(name: &str) -> Self {
        Self::fleet_of(path(name), &[]).await
    }

    /// The same with any script, and with settings of the runners.
    pub async fn fleet_of(path: PathBuf, settings: &[(&'static str, &str)]) -> Self {
        let folder = folder();
        let mut launch = FleetLaunch::new("");
        launch.path = path;
        (launch.runners, launch.gateways, launch.workers) = (RUNNERS, 1, USERS / RUNNERS);
        launch.env = environment(folder.path());
        launch.env.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let fleet = launch.start().await;
        for runner in &fleet.runners {
            wait_for_workers(&runner.server, USERS / RUNNERS).await;
        }
        Self::fill("the fleet", Host::Fleet(Box::new(fleet)), USERS, folder).await
    }

    async fn fill(name: &'static str, host: Host, workers: usize, folder: TempDir) -> Self {
        let mut stage = Self { name, host, users: Vec::new(), workers, folder, noted: Vec::new() };
        stage.users = one_in_each(&stage.endpoint(), workers).await;
        while stage.users.len() < USERS {
            stage.users.push(Browser::open(&stage.endpoint()).await.unwrap());
        }
        stage
    }

    /// Where browsers go.
    pub fn endpoint(&self) -> Endpoint {
        match &self.host {
            Host::Alone(server) => server.endpoint().clone(),
            Host::Fleet(fleet) => fleet.endpoint(),
        }
    }

    /// The cluster.
    pub fn cluster(&mut self) -> &mut Fleet {
        match &mut self.host {
            Host::Fleet(fleet) => fleet,
            Host::Alone(_) => panic!("{} is no cluster", self.name),
        }
    }

    /// Has a user make a call, and returns what is shown of it: see [`answer`].
    pub async fn call(&mut self, user: usize, call: &str) -> String {
        self.begin(user, call).await;
        self.finish(user, call).await
    }

    /// The same, where how often it is asked is chance: it is not compared.
    pub async fn look(&mut self, user: usize, call: &str) -> String {
        self.begin(user, call).await;
        answered(&mut self.users[user], call).await
    }

    /// Looks again and again while something holds, asserting what is shown meanwhile.
    pub async fn look_while(&mut self, user: usize, call: &str, shown: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while holds(self) {
            assert_eq!(self.look(user, call).await, shown, "{} to user {user}", self.name);
            self.check(deadline, user, call);
        }
    }

    /// Looks again and again until this is shown.
    pub async fn look_until(&mut self, user: usize, call: &str, shown: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.look(user, call).await != shown {
            self.check(deadline, user, call);
        }
    }

    fn check(&self, deadline: Instant, user: usize, call: &str) {
        let marks = || self.marks();
        assert!(Instant::now() < deadline, "{}: in vain user {user} looks at {call:?}; {:#?}", self.name, marks());
    }

    /// Asserts what a user's call shows.
    pub async fn expect(&mut self, user: usize, call: &str, expected: &str) {
        let answer = self.call(user, call).await;
        assert_eq!(answer, expected, "{} to user {user}", self.name);
    }

    /// Has a user make a call, and does not wait.
    pub async fn begin(&mut self, user: usize, call: &str) {
        put(&mut self.users[user], "call", WidgetValue::Text(call.to_owned())).await;
    }

    /// Waits for what comes of a call.
    pub async fn finish(&mut self, user: usize, call: &str) -> String {
        let answer = answered(&mut self.users[user], call).await;
        self.noted.push(format!("user {user} has {call:?} answered: {answer}"));
        answer
    }

    /// Has all users make the same call, one after the other, and asserts what each is shown.
    pub async fn expect_everywhere(&mut self, call: &str, expected: &str) {
        for user in 0..USERS {
            self.expect(user, call, expected).await;
        }
    }

    /// Notes what a user's page shows, to be compared.
    pub fn note_page(&mut self, user: usize) {
        for ((place, kind, _), shown) in picture(&self.users[user]) {
            self.noted.push(format!("user {user} sees {kind:?} at {place:?}: {}", shown.content.escape_ascii()));
        }
    }

    /// Notes anything else to be compared.
    pub fn note(&mut self, what: impl Into<String>) {
        self.noted.push(what.into());
    }

    /// All functions that really ran, as they began.
    pub fn marks(&self) -> Vec<Mark> {
        let text = std::fs::read_to_string(marks_in(self.folder.path())).unwrap_or_default();
        text.lines().map(parse).collect()
    }

    /// Those of one name.
    pub fn runs(&self, what: &str) -> Vec<Mark> {
        self.marks().into_iter().filter(|mark| mark.what == what).collect()
    }

    /// Asserts how often a function has really run.
    pub fn assert_ran(&self, what: &str, times: usize) {
        let runs = self.runs(what);
        assert_eq!(runs.len(), times, "how often {what:?} ran on {}: {runs:#?}", self.name);
    }

    /// Waits until a function has begun for this time.
    pub async fn until_ran(&self, what: &str, times: usize) {
        until(&format!("{what:?} to run"), || self.runs(what).len() >= times).await;
    }

    /// Lets functions pass that wait for this.
    pub fn open_gate(&self, name: &str) {
        std::fs::write(format!("{}.{name}", marks_in(self.folder.path()).display()), "").unwrap();
    }

    /// Whether Streamlit has what came with `max_size`. What it hasn't can't be tested.
    pub async fn is_modern(&mut self) -> bool {
        let modern = self.call(0, "MODERN").await == "True";
        if !modern {
            eprintln!("this Streamlit is too old to have it");
        }
        modern
    }
}

/// Plays the same on plain Streamlit and on a fleet, and asserts that the same was to be seen. With `STREAMFLEET_SOAK=1` it is played on
/// one server of several workers as well, which differs from a fleet only in where values are stored.
pub async fn compare(name: &str, scenario: impl AsyncFn(&mut Stage)) {
    let own = std::env::var_os("STREAMFLEET_CACHE_SELF").is_some_and(|value| value == "1");
    let play = async |mut stage: Stage| {
        scenario(&mut stage).await;
        stage.noted
    };
    let plain = async || play(Stage::plain(name).await).await;
    if own {
        let (one, other) = tokio::join!(plain(), plain());
        assert_same(&one, &other, "itself");
        return;
    }
    let run = async || match std::env::var_os("STREAMFLEET_SOAK") {
        Some(_) => Some(play(Stage::run(name, USERS, &[]).await).await),
        None => None,
    };
    let fleet = async || play(Stage::fleet(name).await).await;
    let (plain, run, fleet) = tokio::join!(plain(), run(), fleet());
    if let Some(run) = run {
        assert_same(&plain, &run, "one server");
    }
    assert_same(&plain, &fleet, "a fleet");
}

fn assert_same(plain: &[String], other: &[String], name: &str) {
    for (plain, other) in plain.iter().zip(other) {
        assert_eq!(plain, other, "on the left plain Streamlit, on the right {name}");
    }
    assert_eq!(plain.len(), other.len(), "plain Streamlit and {name} have not shown as much: {plain:#?} {other:#?}");
}

/// Waits until a call's value or an exception is shown, by this run or by one that repeats it.
pub async fn answered(browser: &mut Browser, call: &str) -> String {
    loop {
        let settled = browser.settle().await;
        if let Some(answer) = answer(browser, call) {
            return answer;
        }
        if let Err(error) = settled {
            panic!("{error}, and {call:?} is not answered in session {}", browser.client.session_id());
        }
    }
}

/// What a page shows of a call: the value, or the exception, or first the one and then the other.
fn answer(browser: &Browser, call: &str) -> Option<String> {
    let tree = &browser.page.tree;
    let texts = tree.element_strings(&TEXT_BODY);
    let value = texts.iter().find_map(|text| text.strip_prefix(call)?.strip_prefix(" -> ").map(str::to_owned));
    let (types, messages) = (tree.element_strings(&EXCEPTION_TYPE), tree.element_strings(&EXCEPTION_MESSAGE));
    let raised = types.iter().zip(&messages).map(|(name, message)| format!("{name}: {message}"));
    let parts: Vec<String> = value.into_iter().chain(raised).collect();
    if parts.is_empty() { None } else { Some(parts.join("\n")) }
}

/// Opens the app until there is a browser in each worker. The others are closed.
pub async fn one_in_each(endpoint: &Endpoint, workers: usize) -> Vec<Browser> {
    let (mut found, mut rest) = (BTreeMap::new(), Vec::new());
    for _ in 0..TRIES {
        let browser = Browser::open(endpoint).await.unwrap();
        let place = (shown(&browser, "runner"), shown_number(&browser, "pid"));
        rest.extend(found.insert(place, browser));
        if found.len() == workers {
            return found.into_values().collect();
        }
    }
    panic!("there are {workers} workers, and none of {TRIES} browsers got into one but {:?}", found.keys());
}

/// The path of an app.
pub fn path(name: &str) -> PathBuf {
    app(&format!("cached/{name}"))
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("home")).unwrap();
    folder
}

fn marks_in(folder: &Path) -> PathBuf {
    folder.join("marks")
}

/// Variables of the processes that run the app. What is cached on disk goes to a home of its own.
fn environment(folder: &Path) -> Vec<(&'static str, String)> {
    let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
    vec![("MARKS", text(marks_in(folder))), ("HOME", text(folder.join("home")))]
}

fn with_variable(launch: Launch, (name, value): (&'static str, String)) -> Launch {
    launch.env(name, value)
}

fn parse(line: &str) -> Mark {
    let mut parts = line.split('\t');
    let mut next = || parts.next().unwrap();
    Mark {
        what: next().to_owned(),
        pid: Pid::from_raw(next().parse().unwrap()).unwrap(),
        nanos: next().parse().unwrap(),
    }
}
