//! A stand-in for the little of AWS that a process calls: Auto Scaling with the states, hooks and time-outs of its life cycle, the
//! metadata of machines (version 2 of their protocol), CloudWatch as far as it takes figures, and Secrets Manager.
//!
//! [`Aws`] is one account in one region, at one address for all services. [`Aws::launch`] puts a machine into a group; its metadata have an
//! address of their own, as each real machine has. What is wrong with either can be said: [`Aws::fail`], [`Aws::set_manner`].

mod cbor;
mod group;
mod metadata;
mod services;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::group::Machine;
pub use self::group::{HookSpec, Outcome, State};
pub use self::metadata::Manner;
pub use self::services::{Call, Figure};

/// How long [`Aws::until`] waits.
const LIMIT: Duration = Duration::from_mins(2);
/// How often machines go on by themselves, and time-outs are looked after.
const TICK: Duration = Duration::from_millis(50);
/// The region that it says it is.
pub const REGION: &str = "eu-test-1";
/// Access that it takes for good, for who isn't on one of its machines.
pub const KEY_ID: &str = "ASIADOUBLE";
/// The secret that goes with it. Signatures are not checked.
pub const KEY: &str = "a key that signs requests to nobody";

/// A running double. Dropping it ends it, and its machines' metadata.
#[derive(Debug)]
pub struct Aws {
    address: SocketAddr,
    account: Account,
    tasks: JoinSet<()>,
}

/// All that there is.
#[derive(Debug, Default)]
struct Contents {
    hooks: BTreeMap<String, Vec<HookSpec>>,
    machines: BTreeMap<String, Machine>,
    secrets: BTreeMap<String, Vec<String>>,
    figures: Vec<Figure>,
    calls: Vec<Call>,
    faults: BTreeMap<String, Fault>,
}

/// What some calls get for an answer.
#[derive(Debug, Clone)]
struct Fault {
    status: StatusCode,
    code: &'static str,
    left: u32,
}

#[derive(Debug, Clone)]
struct Account(watch::Sender<Contents>);

impl Account {
    fn change<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        let mut outcome = None;
        self.0.send_modify(|contents| outcome = Some(change(contents)));
        #[expect(clippy::expect_used, reason = "it is called exactly once")]
        outcome.expect("nothing was changed")
    }
}

impl Aws {
    /// Starts one on a port of 127.0.0.1 that the system picks.
    pub async fn start() -> io::Result<Self> {
        let account = Account(watch::Sender::default());
        let mut tasks = JoinSet::new();
        let answering = account.clone();
        let address = serve(&mut tasks, move |request| services::answer(answering.clone(), request)).await?;
        let ticking = account.clone();
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                ticking.0.send_if_modified(|contents| {
                    let Contents { machines, hooks, .. } = contents;
                    let mut is_news = false;
                    for machine in machines.values_mut() {
                        is_news |= machine.tick(hooks);
                    }
                    is_news
                });
            }
        });
        Ok(Self { address, account, tasks })
    }

    /// Where all services are, as for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Variables for a process on one of the machines: nothing but what real ones have, and where the double is.
    pub fn env(&self, instance: &str) -> Vec<(&'static str, String)> {
        let metadata = self.account.0.borrow().machines.get(instance).map(Machine::metadata).unwrap_or_default();
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata),
            // Neither the developer's profile nor their access.
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ]
    }

    /// Makes a group.
    pub fn make_group(&self, name: &str, hooks: Vec<HookSpec>) {
        self.account.change(|contents| contents.hooks.insert(name.to_owned(), hooks));
    }

    /// Puts a machine into a group, on its way into service. Returns its id.
    pub async fn launch(&mut self, group: &str) -> io::Result<String> {
        let number = self.account.0.borrow().machines.len();
        let id = format!("i-{number:017x}");
        let (account, instance) = (self.account.clone(), id.clone());
        let address =
            serve(&mut self.tasks, move |request| metadata::answer(account.clone(), instance.clone(), request)).await?;
        self.account.change(|contents| contents.machines.insert(id.clone(), Machine::new(&id, group, address)));
        Ok(id)
    }

    /// Has a machine go, as when the group gets smaller.
    pub fn terminate(&self, instance: &str) {
        self.machine(instance, Machine::terminate);
    }

    /// Announces that a Spot machine is taken away after this time.
    pub fn spot_notice(&self, instance: &str, left: Duration) {
        self.machine(instance, |machine| machine.spot_notice(left));
    }

    /// Recommends that a Spot machine be replaced.
    pub fn recommend_rebalance(&self, instance: &str) {
        self.machine(instance, |machine| machine.is_rebalance_recommended = true);
    }

    /// Has a machine's metadata answer like this from now on.
    pub fn set_manner(&self, instance: &str, manner: Manner) {
        self.machine(instance, |machine| machine.manner = manner);
    }

    /// Grants tokens for a machine's metadata for no longer than this, and takes none that were granted before.
    pub fn limit_tokens(&self, instance: &str, life: Duration) {
        self.machine(instance, |machine| machine.tokens.limit(life));
    }

    /// How many tokens a machine's metadata have granted.
    pub fn tokens(&self, instance: &str) -> u32 {
        self.account.0.borrow().machines.get(instance).map_or(0, |machine| machine.tokens.granted())
    }

    fn machine(&self, instance: &str, change: impl FnOnce(&mut Machine)) {
        self.account.0.send_modify(|contents| {
            if let Some(machine) = contents.machines.get_mut(instance) {
                change(machine);
            }
        });
    }

    /// Where a machine is.
    pub fn state(&self, instance: &str) -> Option<State> {
        self.account.0.borrow().machines.get(instance).map(|machine| machine.state)
    }

    /// What became of a machine's hooks, in order.
    pub fn outcomes(&self, instance: &str) -> Vec<(String, Outcome)> {
        self.account.0.borrow().machines.get(instance).map(|machine| machine.outcomes.clone()).unwrap_or_default()
    }

    /// Waits until a machine is in one of these states, and says in which.
    pub async fn until_state(&self, instance: &str, states: &[State]) -> Result<State> {
        let is = |contents: &Contents| {
            let state = contents.machines.get(instance)?.state;
            states.contains(&state).then_some(state)
        };
        self.until(&format!("{instance} to be {states:?}"), is).await
    }

    /// Waits until so many calls of this action have been answered since the beginning, well or not.
    pub async fn until_called(&self, action: &str, times: usize) -> Result<()> {
        let called = |contents: &Contents| {
            let calls = contents.calls.iter().filter(|call| call.action == action).count();
            (calls >= times).then_some(())
        };
        self.until(&format!("{times} calls of {action}"), called).await
    }

    /// Waits until it has been told some figure.
    pub async fn until_figures(&self, count: usize) -> Result<Vec<Figure>> {
        let told = |contents: &Contents| (contents.figures.len() >= count).then(|| contents.figures.clone());
        self.until(&format!("{count} figures"), told).await
    }

    async fn until<T>(&self, what: &str, holds: impl Fn(&Contents) -> Option<T>) -> Result<T> {
        let mut contents = self.account.0.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = holds(&contents.borrow_and_update()) {
                    return Ok(found);
                }
                contents.changed().await.context("the double has ended")?;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| {
            Err(anyhow!("waited {LIMIT:?} for {what}; there were {:#?}", self.account.0.borrow().calls))
        })
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.account.0.borrow().calls.clone()
    }

    /// The names of the actions that were called so far, each once.
    pub fn actions(&self) -> std::collections::BTreeSet<String> {
        self.account.0.borrow().calls.iter().map(|call| call.action.clone()).collect()
    }

    /// Has the next so many calls of an action fail, as `Throttling` with 400 or `ServiceUnavailable` with 503.
    pub fn fail(&self, action: &str, code: &'static str, times: u32) {
        let status = if code == "Throttling" { StatusCode::BAD_REQUEST } else { StatusCode::SERVICE_UNAVAILABLE };
        self.account.change(|contents| contents.faults.insert(action.to_owned(), Fault { status, code, left: times }));
    }

    /// Keeps a secret: its newest version, and those before.
    pub fn keep_secret(&self, name: &str, versions: &[&str]) {
        let versions = versions.iter().map(|&text| text.to_owned()).collect();
        self.account.change(|contents| contents.secrets.insert(name.to_owned(), versions));
    }

    /// Replaces all machines that are in service in a group, as an instance refresh does that keeps all of them: a new one first, and when that
    /// serves an old one goes. `begin` starts what runs on the new machine. False if a new one didn't come to serve; then
    /// it stays at that, as with a refresh that goes back.
    pub async fn refresh(&mut self, group: &str, mut begin: impl AsyncFnMut(&Self, &str)) -> Result<bool> {
        let old: Vec<_> = {
            let contents = self.account.0.borrow();
            let in_service = |machine: &&Machine| machine.group == group && machine.state == State::InService;
            contents.machines.values().filter(in_service).map(|machine| machine.id.clone()).collect()
        };
        for instance in old {
            let new = self.launch(group).await?;
            begin(self, &new).await;
            if self.until_state(&new, &[State::InService, State::Terminated]).await? == State::Terminated {
                return Ok(false);
            }
            self.terminate(&instance);
            self.until_state(&instance, &[State::Terminated]).await?;
        }
        Ok(true)
    }
}

/// Answers HTTP on a port of 127.0.0.1 that the system picks. An answer of `None` closes the connection.
async fn serve<F>(
    tasks: &mut JoinSet<()>,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> io::Result<SocketAddr>
where
    F: Future<Output = Option<Response<Full<Bytes>>>> + Send,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let answered = answer(request);
                    async { answered.await.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted)) }
                });
                // A client that goes away is its own business.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(address)
}
