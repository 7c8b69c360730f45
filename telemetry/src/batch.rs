//! The task that exports: takes spans from the queue in batches, and waits for a collector that is away.
//!
//! A batch that can't be delivered is tried again for as long as the variables allow, while what ends meanwhile fills the queue. So a
//! collector that restarts misses nothing, one that stays away costs what the queue holds, and nobody ever waits for either.

use std::{future::Future, sync::Arc, time::Duration};

use opentelemetry_sdk::trace::SpanData;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{queue::Queue, tracer::Counts};

/// First and longest pause between two attempts to deliver a batch.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Delivers spans.
pub(crate) trait Export: Send + Sync + 'static {
    /// Delivers a batch. Fails with the reason.
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = Result<(), String>> + Send;
}

/// How spans are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// How many spans may wait.
    pub(crate) queue: usize,
    /// How many are exported at once.
    pub(crate) batch: usize,
    /// How long a span waits for others at most.
    pub(crate) delay: Duration,
    /// For how long a batch is tried.
    pub(crate) patience: Duration,
    /// How long one attempt may take.
    pub(crate) attempt: Duration,
}

/// The task's state.
pub(crate) struct Batcher<E> {
    exporter: E,
    limits: BatchLimits,
    queue: Arc<Queue>,
    counts: Counts,
    stop: CancellationToken,
    /// Whether the collector was away when it was last tried.
    away: bool,
}

impl<E: Export> Batcher<E> {
    pub(crate) fn new(
        exporter: E,
        limits: BatchLimits,
        queue: Arc<Queue>,
        counts: Counts,
        stop: CancellationToken,
    ) -> Self {
        Self { exporter, limits, queue, counts, stop, away: false }
    }

    /// Exports until it is told to stop and has exported what was queued by then.
    pub(crate) async fn run(mut self) {
        while let Some(batch) = self.next().await {
            self.deliver(batch).await;
        }
    }

    /// The next batch; none when there will be no other.
    async fn next(&mut self) -> Option<Vec<SpanData>> {
        if self.stop.run_until_cancelled(self.queue.has_some()).await.is_some() {
            // Full, due or at the end, it goes.
            let full = self.stop.run_until_cancelled(self.queue.has_batch());
            let _ = timeout(self.limits.delay, full).await;
        }
        if self.stop.is_cancelled() {
            // What is queued is still given out; what would come is refused.
            self.queue.close();
        }
        let batch = self.queue.take();
        (!batch.is_empty()).then_some(batch)
    }

    /// Delivers a batch, or gives it up.
    async fn deliver(&mut self, batch: Vec<SpanData>) {
        let batch = Undelivered { batch, counts: &self.counts };
        let until = Instant::now() + self.limits.patience;
        let mut pause = RETRY_MIN;
        loop {
            let attempt = timeout(self.limits.attempt, self.exporter.export(batch.batch.clone())).await;
            let reason = match attempt.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
                Ok(()) => {
                    if std::mem::take(&mut self.away) {
                        info!("traces are exported again");
                    }
                    batch.delivered();
                    return;
                }
                Err(reason) => reason,
            };
            if !std::mem::replace(&mut self.away, true) {
                warn!("cannot export traces: {reason}");
            }
            if self.stop.is_cancelled() || Instant::now() + pause >= until {
                return;
            }
            // Told to end, it tries once more and then no longer.
            self.stop.run_until_cancelled(sleep(pause)).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}

impl<E> Drop for Batcher<E> {
    /// Counts what nobody will export any more.
    fn drop(&mut self) {
        self.queue.close();
        loop {
            let given_up = self.queue.take().len();
            if given_up == 0 {
                break;
            }
            self.counts.dropped.inc_by(given_up as u64);
        }
    }
}

/// A batch that counts as dropped unless it is delivered, however its delivery ends.
struct Undelivered<'a> {
    batch: Vec<SpanData>,
    counts: &'a Counts,
}

impl Undelivered<'_> {
    fn delivered(mut self) {
        self.counts.exported.inc_by(self.batch.len() as u64);
        self.batch.clear();
    }
}

impl Drop for Undelivered<'_> {
    fn drop(&mut self) {
        self.counts.dropped.inc_by(self.batch.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::VecDeque,
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::fmt::MakeWriter;

    use crate::{TraceOptions, Tracer};

    /// A collector that answers as it was told, and otherwise takes all.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        answers: VecDeque<Result<(), String>>,
        batches: Vec<(Instant, usize)>,
    }

    impl Export for Fake {
        async fn export(&self, batch: Vec<SpanData>) -> Result<(), String> {
            let mut state = self.0.lock().unwrap();
            state.batches.push((Instant::now(), batch.len()));
            state.answers.pop_front().unwrap_or(Ok(()))
        }
    }

    impl Fake {
        fn fail(&self, times: usize) {
            self.0.lock().unwrap().answers.extend((0..times).map(|_| Err("it rains".to_owned())));
        }

        fn sizes(&self) -> Vec<usize> {
            self.0.lock().unwrap().batches.iter().map(|(_, size)| *size).collect()
        }

        fn last(&self) -> Instant {
            self.0.lock().unwrap().batches.last().unwrap().0
        }
    }

    fn start(fake: &Fake) -> Tracer {
        let environment = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3"), ("OTEL_BSP_MAX_QUEUE_SIZE", "100")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let endpoint = Some("http://collector:4317".to_owned());
        let options = TraceOptions { endpoint, environment, ..TraceOptions::default() };
        Tracer::with_exporter(&options.configure().unwrap().unwrap(), fake.clone())
    }

    fn spans(tracer: &Tracer, count: usize) {
        (0..count).for_each(|_| tracer.span("x", None).end());
    }

    /// Until nothing is left to be done but wait, and a little longer. The clock is paused, so this takes no time.
    async fn wait(duration: Duration) {
        sleep(duration + Duration::from_millis(2)).await;
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Log {
        fn counts(&self) -> (usize, usize) {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let count = |what: &str| text.matches(what).count();
            (count("WARN"), count("exported again"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_when_it_is_full_or_due() {
        let fake = Fake::default();
        let tracer = start(&fake);
        let began = Instant::now();
        spans(&tracer, 2);
        wait(Duration::from_secs(5)).await;
        assert_eq!(fake.sizes(), [2]);
        assert!(fake.last() - began >= Duration::from_secs(5));
        spans(&tracer, 7);
        wait(Duration::ZERO).await;
        assert_eq!(fake.sizes(), [2, 3, 3]);
        wait(Duration::from_secs(5)).await;
        assert_eq!(fake.sizes(), [2, 3, 3, 1]);
        assert_eq!(tracer.stats().exported, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_once_and_so_is_its_end() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let fake = Fake::default();
        let tracer = start(&fake);
        spans(&tracer, 1);
        wait(Duration::from_secs(5)).await;
        assert_eq!(log.counts(), (0, 0));
        for outage in 1..=2 {
            // More than one batch can wait for.
            fake.fail(15);
            spans(&tracer, 9);
            wait(Duration::from_secs(35)).await;
            assert_eq!(log.counts(), (outage, outage - 1));
            wait(Duration::from_mins(2)).await;
            assert_eq!(log.counts(), (outage, outage));
        }
        let stats = tracer.stats();
        assert!(stats.dropped > 0 && stats.exported > 10, "{stats:?}");
        assert_eq!(stats.dropped + stats.exported, 19);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_a_collector_that_is_away() {
        let fake = Fake::default();
        fake.fail(1000);
        let tracer = start(&fake);
        spans(&tracer, 10);
        wait(Duration::from_secs(1)).await;
        let began = Instant::now();
        tracer.shutdown(Duration::from_mins(1)).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(tracer.stats().dropped, 10);
    }
}
