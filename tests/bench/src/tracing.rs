//! What tracing adds to a click.
//!
//! Three servers are there at once: one that exports traces, and two that don't, of which the second is the control: what it seems to
//! add is what this machine makes of nothing. One user of each clicks in turn, so that whatever the machine does happens to all three.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use streamfleet_testkit::otlp::OtlpReceiver;
use streamfleet_testkit::process::Server;

use crate::app::App;
use crate::candidate::Candidate;
use crate::load::{PAUSE, WARM_UP};
use crate::spread::Spread;
use crate::user::User;

/// One server, and how long its user has waited.
struct Side {
    _server: Server,
    user: User,
    times: Histogram<u64>,
}

impl Side {
    async fn open(server: Server, app: App) -> Result<Self> {
        let user = User::open(server.endpoint(), app, 0).await?;
        Ok(Self { _server: server, user, times: Histogram::new(3)? })
    }

    async fn click(&mut self, counts: bool) -> Result<()> {
        let start = Instant::now();
        self.user.click().await?;
        if counts {
            self.times.record(u64::try_from(start.elapsed().as_micros())?)?;
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    fn median(&self) -> Duration {
        Duration::from_micros(self.times.value_at_quantile(0.5))
    }
}

/// Prints the median click with and without tracing; each turn has servers of its own.
pub(crate) async fn measure(binary: &Path, app: App, turns: usize, clicks: usize) -> Result<()> {
    let collector = OtlpReceiver::start().await?;
    let (mut traced, mut control) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let launch = || Candidate::Streamfleet.launch(binary, app);
        let exporting = launch()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let mut sides = [
            Side::open(exporting.start().await?, app).await?,
            Side::open(launch().start().await?, app).await?,
            Side::open(launch().start().await?, app).await?,
        ];
        for number in 0..WARM_UP + clicks {
            for place in 0..sides.len() {
                // Each comes after each of the others as often.
                let (forth, back) = ((place + number) % sides.len(), (number + sides.len() - place) % sides.len());
                sides[if number % 2 == 0 { forth } else { back }].click(number >= WARM_UP).await?;
            }
        }
        let [on, off, other] = sides.each_ref().map(|side| side.median().as_secs_f64() * 1e3);
        eprintln!("turn {}: {on:.2} ms with tracing, {off:.2} ms without, {other:.2} ms likewise", turn + 1);
        traced.push(on / off);
        control.push(other / off);
    }
    println!("{app}, {turns} turns: a median click with tracing takes {:.3} × of one without", Spread::of(traced));
    println!("without tracing it takes {:.3} ×", Spread::of(control));
    println!("{} spans were received", collector.spans().len());
    Ok(())
}
