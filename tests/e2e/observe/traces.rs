//! One trace for each interaction, across the processes that have a part in it.

use std::time::Duration;

use rustix::process::Signal;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::otlp::{OtlpReceiver, ReceivedSpan};
use streamfleet_testkit::wire::WidgetValue;

use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::{click, public_id, shown, shown_number};

const GATEWAY: &str = "streamfleet-gateway";
const RUNNER: &str = "streamfleet-runner";

async fn fleet(collector: &OtlpReceiver, runners: usize, settings: &[(&'static str, &str)]) -> Fleet {
    let mut launch = FleetLaunch::new("observed.py");
    (launch.runners, launch.gateways) = (runners, 2);
    launch.everywhere = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ];
    launch.everywhere.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    launch.start().await
}

async fn press(browser: &mut Browser, key: &str) {
    let id = browser.widget(key).expect("the button is there");
    browser.click(&id).await.unwrap();
}

fn attribute<'a>(span: &'a ReceivedSpan, name: &str) -> &'a str {
    span.attributes.get(name).map_or("", String::as_str)
}

/// The spans of the trace that a span is in.
fn trace_of<'a>(spans: &'a [ReceivedSpan], span: &ReceivedSpan) -> Vec<&'a ReceivedSpan> {
    spans.iter().filter(|other| other.trace == span.trace).collect()
}

fn child<'a>(trace: &[&'a ReceivedSpan], parent: &ReceivedSpan, name: &str) -> &'a ReceivedSpan {
    let found = trace.iter().find(|span| span.name == name && span.parent.as_ref() == Some(&parent.span));
    found.unwrap_or_else(|| panic!("no {name:?} below {:?} in {trace:#?}", parent.name))
}

/// Whether an interaction has its run, and that its snapshot; a fragment's that changes nothing has none.
fn is_whole(spans: &[ReceivedSpan], interaction: &ReceivedSpan) -> bool {
    let trace = trace_of(spans, interaction);
    let mut below = trace.iter().filter(|span| span.parent.as_ref() == Some(&interaction.span));
    let run = below.find(|span| span.name.starts_with("run "));
    run.is_some_and(|run| {
        let stored = trace.iter().any(|span| span.name == "snapshot" && span.parent.as_ref() == Some(&run.span));
        stored || attribute(run, "streamfleet.run.reason") == "fragment"
    })
}

fn interactions<'a>(spans: &'a [ReceivedSpan], session: &str) -> Vec<&'a ReceivedSpan> {
    let public = public_id(session);
    let of_session = |span: &&ReceivedSpan| attribute(span, "streamfleet.session") == public;
    spans.iter().filter(|span| span.name == "interaction").filter(of_session).collect()
}

#[tokio::test]
async fn a_click_is_one_trace_through_all_processes() {
    let collector = OtlpReceiver::start().await.unwrap();
    let fleet = fleet(&collector, 2, &[]).await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    let session = browser.client.session_id().to_owned();
    press(&mut browser, "click").await;
    press(&mut browser, "part").await;
    let spans = collector
        .wait_for("three interactions", |spans| {
            let found = interactions(spans, &session);
            found.len() == 3 && found.iter().all(|interaction| is_whole(spans, interaction))
        })
        .await
        .unwrap();

    let opened = spans.iter().find(|span| span.service == GATEWAY && span.name == "open session").unwrap();
    let trace = trace_of(&spans, opened);
    assert_eq!(opened.parent, None);
    let place = child(&trace, opened, "place");
    assert_eq!(attribute(place, "streamfleet.placement.reason"), "new");
    let attach = child(&trace, opened, "attach");
    let at_runner = child(&trace, attach, "open session");
    assert_eq!((at_runner.service.as_str(), attribute(at_runner, "streamfleet.session.origin")), (RUNNER, "new"));

    let all = interactions(&spans, &session);
    for interaction in &all {
        assert_eq!((interaction.service.as_str(), &interaction.parent), (GATEWAY, &None));
        assert_eq!(trace_of(&spans, interaction).iter().filter(|span| span.parent.is_none()).count(), 1);
    }
    let clicked = all[1];
    let trace = trace_of(&spans, clicked);
    let queue = child(&trace, clicked, "queue");
    let run = child(&trace, clicked, "run /");
    assert!(queue.service == RUNNER && run.service == RUNNER);
    assert_eq!(attribute(run, "streamfleet.session"), public_id(&session));
    assert_eq!(attribute(run, "streamfleet.run.reason"), "interaction");
    assert_eq!(attribute(run, "streamfleet.run.outcome"), "finished");
    assert!(attribute(run, "streamfleet.run.messages").parse::<u64>().unwrap() > 1, "{run:?}");
    for part in ["callbacks", "body"] {
        let part = child(&trace, run, part);
        assert!(part.start >= run.start && part.end <= run.end + Duration::from_millis(1), "{part:?} {run:?}");
    }
    let snapshot = child(&trace, run, "snapshot");
    assert!(attribute(snapshot, "streamfleet.snapshot.bytes").parse::<u64>().unwrap() > 0);
    assert!(!attribute(run, "streamfleet.runner").is_empty() && !attribute(run, "streamfleet.revision").is_empty());
    assert_ne!(clicked.trace, all[2].trace);
    let fragment = trace_of(&spans, all[2]).into_iter().find(|span| span.name.starts_with("run ")).unwrap();
    assert_eq!(attribute(fragment, "streamfleet.run.reason"), "fragment");
    assert!(trace_of(&spans, all[2]).iter().any(|span| span.name == "fragment part"));
    let whole: Vec<_> =
        spans.iter().flat_map(|span| span.attributes.values()).filter(|text| **text == session).collect();
    assert!(whole.is_empty(), "the whole id of a session is told");
}

#[tokio::test]
async fn who_waits_for_a_cached_value_sees_for_how_long() {
    let collector = OtlpReceiver::start().await.unwrap();
    let fleet = fleet(&collector, 2, &[]).await;
    let mut browsers = Vec::new();
    while !(0..2).all(|runner| browsers.iter().any(|(_, place)| *place == runner)) {
        let browser = Browser::open(&fleet.endpoint()).await.unwrap();
        let place = fleet.owner(browser.client.session_id()).await;
        browsers.push((browser, place));
    }
    let first = browsers.iter().position(|(_, place)| *place == 0).unwrap();
    let second = browsers.iter().position(|(_, place)| *place == 1).unwrap();
    let [first, second] = browsers.get_disjoint_mut([first, second]).unwrap();
    tokio::join!(press(&mut first.0, "compute"), press(&mut second.0, "compute"));
    let is_claim = |span: &&ReceivedSpan| span.name == "cache claim";
    let spans = collector.wait_for("two claims", |spans| spans.iter().filter(is_claim).count() == 2).await.unwrap();
    let mut outcomes: Vec<_> = Vec::new();
    for claim in spans.iter().filter(is_claim) {
        let run = spans.iter().find(|span| Some(&span.span) == claim.parent.as_ref());
        assert!(run.is_none_or(|run| run.name == "run /" && run.trace == claim.trace), "{run:?}");
        let waited: u64 = attribute(claim, "streamfleet.cache.wait_ms").parse().unwrap();
        outcomes.push((attribute(claim, "streamfleet.cache.outcome").to_owned(), waited >= 500));
    }
    outcomes.sort();
    assert_eq!(outcomes, [("granted".to_owned(), false), ("value".to_owned(), true)]);
    assert!(spans.iter().any(|span| span.name == "cache get" && attribute(span, "streamfleet.cache.level") == "none"));
}

#[tokio::test]
async fn a_failover_is_in_the_trace_of_the_click_that_it_met() {
    let collector = OtlpReceiver::start().await.unwrap();
    let mut fleet =
        fleet(&collector, 2, &[("OTEL_TRACES_SAMPLER", "always_off"), ("STREAMFLEET_TRACE_SLOW_AFTER", "60")]).await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    click(&mut browser).await.unwrap();
    let session = browser.client.session_id().to_owned();
    let owner = fleet.owner(&session).await;
    let id = browser.widget("wait").unwrap();
    browser.put(id, WidgetValue::Trigger(true));
    browser.start(browser.state()).await.unwrap();
    browser.wait_for("waiting").await.unwrap();
    let server = &mut fleet.runners[owner].server;
    server.quiet();
    server.signal(Signal::KILL).unwrap();
    browser.settle().await.unwrap();
    assert_eq!(shown(&browser, "waited").as_deref(), Some("1"));
    let spans = collector
        .wait_for("the trace of a failover", |spans| {
            let reattached = spans.iter().find(|span| span.name == "reattach");
            reattached.is_some_and(|span| {
                let trace = trace_of(spans, span);
                let has = |name: &str| trace.iter().any(|span| span.name == name);
                has("interaction") && has("open session") && has("run /")
            })
        })
        .await
        .unwrap();
    let interaction = spans.iter().find(|span| span.name == "interaction").unwrap();
    let trace = trace_of(&spans, interaction);
    let reattach = child(&trace, interaction, "reattach");
    assert_eq!(attribute(reattach, "streamfleet.reattach.reason"), "failure");
    // The first attempts met a runner that is gone.
    let is_attempt = |span: &&&ReceivedSpan| span.name == "attach" && span.parent.as_ref() == Some(&reattach.span);
    let attempts: Vec<_> = trace.iter().filter(is_attempt).collect();
    let opened = trace.iter().find(|span| {
        span.name == "open session" && attempts.iter().any(|attach| span.parent.as_ref() == Some(&attach.span))
    });
    let opened = opened.unwrap_or_else(|| panic!("nobody has taken the session: {trace:#?}"));
    assert_eq!(attribute(opened, "streamfleet.session.origin"), "snapshot");
    for event in ["owner lost", "sent again"] {
        assert!(interaction.events.iter().any(|found| found.name == event), "{event} {interaction:?}");
    }
    let run = trace.iter().find(|span| span.name == "run /" && span.parent.as_ref() == Some(&interaction.span));
    assert!(run.is_some(), "{trace:#?}");
}

#[tokio::test]
async fn what_fails_is_kept_even_if_nothing_is_sampled() {
    let collector = OtlpReceiver::start().await.unwrap();
    let fleet = fleet(&collector, 1, &[("OTEL_TRACES_SAMPLER", "always_off")]).await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    for _ in 0..5 {
        click(&mut browser).await.unwrap();
    }
    press(&mut browser, "fail").await;
    press(&mut browser, "wait").await;
    let is_run = |span: &&ReceivedSpan| span.name == "run /";
    let spans = collector
        .wait_for("a failed and a slow run with their interactions", |spans| {
            let runs: Vec<_> = spans.iter().filter(is_run).collect();
            let whole = |run: &&ReceivedSpan| trace_of(spans, run).iter().any(|span| span.name == "interaction");
            runs.len() >= 2 && runs.iter().all(whole)
        })
        .await
        .unwrap();
    let runs: Vec<_> = spans.iter().filter(is_run).collect();
    assert_eq!(runs.len(), 2, "{runs:#?}");
    let failed = runs.iter().find(|run| run.error.is_some()).expect("one has failed");
    assert_eq!(attribute(failed, "streamfleet.run.outcome"), "exception");
    assert_eq!(attribute(failed, "exception.type"), "KeyError");
    assert!(trace_of(&spans, failed).iter().any(|span| span.name == "interaction" && span.error.is_some()));
}

#[tokio::test]
async fn a_crowd_s_clicks_all_have_their_traces() {
    const USERS: usize = 20;
    const CLICKS: usize = 50;
    let collector = OtlpReceiver::start().await.unwrap();
    let fleet = fleet(&collector, 2, &[("OTEL_BSP_MAX_QUEUE_SIZE", "65536")]).await;
    let endpoint = fleet.endpoint();
    let users: Vec<_> = (0..USERS)
        .map(|_| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move {
                let mut browser = Browser::open(&endpoint).await.unwrap();
                for _ in 0..CLICKS {
                    click(&mut browser).await.unwrap();
                }
                assert_eq!(shown_number(&browser, "count"), i64::try_from(CLICKS).unwrap());
                browser.client.session_id().to_owned()
            })
        })
        .collect();
    let mut sessions = Vec::new();
    for user in users {
        sessions.push(user.await.unwrap());
    }
    let counts = |spans: &[ReceivedSpan]| {
        let runs: std::collections::HashMap<_, _> = spans
            .iter()
            .filter(|span| span.name.starts_with("run "))
            .map(|run| ((run.trace.clone(), run.parent.clone()), run))
            .collect();
        let interactions = spans.iter().filter(|span| span.name == "interaction");
        let whole =
            interactions.clone().filter(|span| runs.contains_key(&(span.trace.clone(), Some(span.span.clone()))));
        (interactions.count(), whole.count())
    };
    // The first run of each session was asked for by a message too.
    let all = USERS * (CLICKS + 1);
    let spans = collector.wait_for("a trace for each click", |spans| counts(spans) == (all, all)).await.unwrap();
    let mut traces: Vec<_> = spans.iter().filter(|span| span.name == "interaction").map(|span| &span.trace).collect();
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), all);
    assert_eq!(sessions.len(), USERS);
}
