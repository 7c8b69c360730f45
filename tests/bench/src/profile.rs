//! Where the time of a click goes, from the browser and back, as the traces of real clicks tell it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use streamfleet_testkit::otlp::{OtlpReceiver, ReceivedSpan};
use streamfleet_testkit::redis::{RedisLaunch, Version};
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::candidate::Candidate;
use crate::load::{self, PAUSE, WARM_UP};
use crate::user::User;
use crate::{cluster, stand_in};

/// Clicks that are looked at, of one user with pauses.
const CLICKS: usize = 200;

/// The parts of a click's way, in order, with the mean time of each.
#[derive(Debug)]
pub(crate) struct Profile {
    /// What the user waits, from the click to the end of the run.
    pub(crate) whole: Duration,
    pub(crate) parts: Vec<(&'static str, Duration)>,
    /// The median click through a gateway, Redis and a runner whose worker answers by heart.
    pub(crate) machinery: Duration,
}

/// Looks at clicks on the counter app in `streamfleet run`, and at what a cluster takes without Streamlit.
pub(crate) async fn measure(binary: &Path) -> Result<Profile> {
    let collector = OtlpReceiver::start().await?;
    let server = Candidate::Streamfleet
        .launch(binary, App::Counter)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .start()
        .await?;
    let mut user = User::open(server.endpoint(), App::Counter, 0).await?;
    let mut waited = Duration::ZERO;
    for number in 0..WARM_UP + CLICKS {
        let start = Instant::now();
        user.click().await?;
        if number >= WARM_UP {
            waited += start.elapsed();
        }
        sleep(PAUSE).await;
    }
    // The opening of the page is an interaction, too.
    let spans = collector
        .wait_for("all clicks", |spans| {
            named(spans, "interaction").count() > WARM_UP + CLICKS && named(spans, "body").count() > WARM_UP + CLICKS
        })
        .await?;
    let whole = waited / u32::try_from(CLICKS)?;
    Ok(Profile { whole, parts: parts(&spans, whole)?, machinery: machinery(binary).await? })
}

fn named<'a>(spans: &'a [ReceivedSpan], name: &'a str) -> impl Iterator<Item = &'a ReceivedSpan> {
    spans.iter().filter(move |span| span.name == name)
}

/// The mean of each part over the last clicks.
fn parts(spans: &[ReceivedSpan], whole: Duration) -> Result<Vec<(&'static str, Duration)>> {
    let mut clicks: Vec<_> = named(spans, "interaction").collect();
    clicks.sort_by_key(|span| span.start);
    let mut sums = [Duration::ZERO; 6];
    let counted = clicks.len().saturating_sub(WARM_UP + 1);
    ensure!(counted > 0, "there are no clicks");
    for click in clicks.into_iter().skip(WARM_UP + 1) {
        for (sum, part) in sums.iter_mut().zip(of_click(spans, click)?) {
            *sum += part;
        }
    }
    let means = sums.map(|sum| sum / u32::try_from(counted).unwrap_or(u32::MAX));
    let seen_by_gateway: Duration = means.iter().sum();
    let names = [
        "gateway, gRPC, runner and socket, to the worker",
        "the worker's event loop, and starting the script's thread",
        "Streamlit, before the script: the page's values, callbacks, compiled code",
        "the script with its elements",
        "Streamlit, after the script",
        "messages serialised, and back through socket, runner and gateway",
    ];
    let mut parts =
        vec![("browser to gateway and back, with the browser's own work", whole.saturating_sub(seen_by_gateway))];
    parts.extend(names.into_iter().zip(means));
    Ok(parts)
}

fn of_click(spans: &[ReceivedSpan], click: &ReceivedSpan) -> Result<[Duration; 6]> {
    let in_trace = |name: &str| {
        let found = spans.iter().find(|span| span.trace == click.trace && span.name.starts_with(name));
        found.with_context(|| format!("a click has no {name:?}"))
    };
    let (queue, run, body) = (in_trace("queue")?, in_trace("run ")?, in_trace("body")?);
    let last = click.events.iter().find(|event| event.name == "last message").map_or(click.end, |event| event.at);
    let between = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    Ok([
        between(click.start, queue.start),
        between(queue.start, run.start),
        between(run.start, body.start),
        between(body.start, body.end),
        between(body.end, run.end),
        between(run.end, last),
    ])
}

/// The median click of one user where everything is as in a cluster but the worker, which answers by heart.
async fn machinery(binary: &Path) -> Result<Duration> {
    let redis = RedisLaunch::new(Version::V7).start().await?;
    let _runner = stand_in::start(1, &redis.url()).await?;
    let gateway = cluster::gateway(binary, &redis).start().await?;
    let mut user = User::open(gateway.endpoint(), App::Counter, 0).await?;
    load::spaced(&mut user, Duration::ZERO, WARM_UP as u64).await?;
    let times = load::spaced(&mut user, Duration::ZERO, CLICKS as u64).await?;
    Ok(Duration::from_micros(times.value_at_quantile(0.5)))
}
