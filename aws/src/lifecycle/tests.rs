//! Lives of machines, in a world of a few variables and a clock that jumps.

use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

use super::*;

/// All that there is.
#[derive(Default)]
struct World {
    /// What the metadata say; `None` in the outer place if they can't be had.
    metadata: Option<Told>,
    /// Where the machine is.
    state: &'static str,
    hooks: Vec<Hook>,
    /// So many calls of the group's fail from now on.
    failing: u32,
    /// It lets the machine go on when all hooks that it waits for are completed.
    completed: Vec<String>,
    heartbeats: u32,
    calls: u32,
    departures: Vec<Departure>,
}

#[derive(Default, Clone)]
struct Told {
    target: Option<&'static str>,
    spot: Option<Duration>,
    rebalance: bool,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn new(target: &'static str, state: &'static str) -> Self {
        let hook = |name: &str, transition| Hook {
            group: "group".to_owned(),
            name: name.to_owned(),
            transition,
            heartbeat_timeout: Duration::from_secs(30),
        };
        let hooks = vec![
            hook("streamfleet-launching", Transition::Launching),
            hook("streamfleet-terminating", Transition::Terminating),
            hook("backup", Transition::Terminating),
        ];
        let metadata = Some(Told { target: Some(target), ..Told::default() });
        Self(Arc::new(Mutex::new(World { metadata, state, hooks, ..World::default() })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn told(&self) -> Result<Told, AwsError> {
        let gone = || AwsError::Failed { what: "metadata", reason: "nobody answers".to_owned() };
        self.world().metadata.clone().ok_or_else(gone)
    }

    fn call(&self) -> Result<MutexGuard<'_, World>, AwsError> {
        let mut world = self.world();
        world.calls += 1;
        if world.failing > 0 {
            world.failing -= 1;
            return Err(AwsError::Failed { what: "group", reason: "Throttling: Rate exceeded".to_owned() });
        }
        Ok(world)
    }

    fn terminate(&self) {
        let mut world = self.world();
        world.state = "Terminating:Wait";
        world.metadata = Some(Told { target: Some("Terminated"), ..Told::default() });
    }

    fn follow(&self) -> (CancellationToken, JoinHandle<()>) {
        let (fake, gone) = (Arc::new(self.clone()), CancellationToken::new());
        let life = LifeCycle::new(Arc::<Self>::clone(&fake), fake, Pace::default());
        let world = self.clone();
        let leave = move |departure| world.world().departures.push(departure);
        let following = life.follow(leave, gone.clone());
        (gone, tokio::spawn(following))
    }

    /// Waits for something. The clock jumps from one timer to the next.
    async fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let began = Instant::now();
        while !holds(&self.world()) {
            assert!(began.elapsed() < Duration::from_hours(1), "waited in vain for {what}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[async_trait]
impl Metadata for Fake {
    async fn instance_id(&self) -> Result<String, AwsError> {
        self.told().map(|_| "i-1".to_owned())
    }

    async fn target_state(&self) -> Result<Option<String>, AwsError> {
        Ok(self.told()?.target.map(str::to_owned))
    }

    async fn spot_notice(&self) -> Result<Option<Duration>, AwsError> {
        Ok(self.told()?.spot)
    }

    async fn is_rebalance_recommended(&self) -> Result<bool, AwsError> {
        Ok(self.told()?.rebalance)
    }
}

#[async_trait]
impl Group for Fake {
    async fn place(&self, instance: &str) -> Result<Option<Place>, AwsError> {
        assert_eq!(instance, "i-1");
        let world = self.call()?;
        let place = Place { group: "group".to_owned(), state: world.state.to_owned() };
        Ok((!world.state.is_empty()).then_some(place))
    }

    async fn hooks(&self, group: &str) -> Result<Vec<Hook>, AwsError> {
        assert_eq!(group, "group");
        Ok(self.call()?.hooks.clone())
    }

    async fn heartbeat(&self, _: &str, _: &Hook) -> Result<(), AwsError> {
        self.call()?.heartbeats += 1;
        Ok(())
    }

    async fn complete(&self, _: &str, hook: &Hook) -> Result<(), AwsError> {
        let mut world = self.call()?;
        let (waits_in, next) = match hook.transition {
            Transition::Launching => ("Pending:Wait", "InService"),
            Transition::Terminating => ("Terminating:Wait", "Terminating:Proceed"),
        };
        if world.state != waits_in {
            return Err(AwsError::Refused { what: "group", reason: "No active Lifecycle Action found".to_owned() });
        }
        world.completed.push(hook.name.clone());
        world.state = next;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_comes_serves_and_goes() {
    let fake = Fake::new("InService", "Pending");
    let (gone, following) = fake.follow();
    fake.until("somebody to ask", |world| world.calls > 2).await;
    assert!(fake.world().completed.is_empty(), "nobody waits yet");
    fake.world().state = "Pending:Wait";
    fake.until("it to serve", |world| world.completed == ["streamfleet-launching"]).await;

    // While it does nothing but serve, nobody is asked but the metadata.
    let calls = fake.world().calls;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(fake.world().calls, calls);
    assert_eq!(fake.world().departures, []);

    fake.terminate();
    fake.until("it to be told so", |world| world.departures == [Departure::Terminating]).await;
    // Good for 30 s each.
    fake.until("heartbeats", |world| world.heartbeats > 10).await;
    assert_eq!(fake.world().completed.len(), 1, "it was let go before it had left");
    gone.cancel();
    following.await.unwrap();
    assert_eq!(fake.world().completed, ["streamfleet-launching", "streamfleet-terminating"]);
}

#[tokio::test(start_paused = true)]
async fn throttling_delays_and_loses_nothing() {
    let fake = Fake::new("InService", "Pending:Wait");
    fake.world().failing = 20;
    let (gone, following) = fake.follow();
    fake.until("it to serve", |world| world.completed == ["streamfleet-launching"]).await;
    fake.terminate();
    fake.world().failing = 3;
    fake.until("heartbeats", |world| world.heartbeats > 1).await;
    fake.world().failing = 5;
    gone.cancel();
    following.await.unwrap();
    assert_eq!(fake.world().completed.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_never_answers_holds_nobody_up() {
    let fake = Fake::new("InService", "InService");
    fake.world().failing = u32::MAX;
    let (gone, following) = fake.follow();
    fake.terminate();
    fake.until("it to be told so", |world| world.departures == [Departure::Terminating]).await;
    let began = Instant::now();
    gone.cancel();
    following.await.unwrap();
    assert!(began.elapsed() <= Pace::default().completing + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn metadata_that_are_away_are_asked_again() {
    let fake = Fake::new("InService", "InService");
    let told = fake.world().metadata.take();
    let (gone, following) = fake.follow();
    sleep(Duration::from_mins(10)).await;
    assert_eq!(fake.world().calls, 0);
    fake.world().metadata = told;
    fake.until("the group to be asked", |world| world.calls > 0).await;
    fake.world().metadata = None;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(fake.world().departures, []);
    fake.terminate();
    fake.until("it to be told so", |world| world.departures == [Departure::Terminating]).await;
    gone.cancel();
    following.await.unwrap();
    assert_eq!(fake.world().completed, ["streamfleet-terminating"]);
}

#[tokio::test(start_paused = true)]
async fn who_may_be_taken_away_hands_over_once_and_stays() {
    for (told, within) in [
        (Told { spot: Some(Duration::from_secs(70)), ..Told::default() }, Duration::from_secs(70)),
        (Told { spot: Some(Duration::from_hours(2)), ..Told::default() }, RECLAIM_LIMIT),
        (Told { rebalance: true, ..Told::default() }, RECLAIM_LIMIT),
    ] {
        let fake = Fake::new("InService", "InService");
        let (gone, following) = fake.follow();
        fake.world().metadata = Some(told);
        sleep(Duration::from_mins(1)).await;
        assert_eq!(fake.world().departures, [Departure::Reclaimed { within }]);
        fake.terminate();
        fake.until("it to be told so", |world| world.departures.len() == 2).await;
        gone.cancel();
        following.await.unwrap();
        assert_eq!(fake.world().completed, ["streamfleet-terminating"]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_ends_for_another_reason_completes_nothing() {
    let fake = Fake::new("InService", "InService");
    let (gone, following) = fake.follow();
    fake.until("the group to be asked", |world| world.calls > 0).await;
    gone.cancel();
    following.await.unwrap();
    assert_eq!(fake.world().completed, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_in_no_group_is_left_alone() {
    let fake = Fake::default();
    fake.world().metadata = Some(Told::default());
    let (gone, following) = fake.follow();
    sleep(Duration::from_mins(10)).await;
    assert_eq!(fake.world().calls, 1);
    gone.cancel();
    following.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_has_left_before_auto_scaling_waits_asks_until_it_does() {
    let fake = Fake::new("Terminated", "Terminating");
    let (gone, following) = fake.follow();
    fake.until("it to be told so", |world| world.departures == [Departure::Terminating]).await;
    gone.cancel();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fake.world().completed, [""; 0]);
    fake.world().state = "Terminating:Wait";
    following.await.unwrap();
    assert_eq!(fake.world().completed, ["streamfleet-terminating"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_restarted_on_a_machine_that_goes_leaves_again() {
    // The one before has completed the hook.
    let fake = Fake::new("Terminated", "Terminating:Proceed");
    let (gone, following) = fake.follow();
    fake.until("it to be told so", |world| world.departures == [Departure::Terminating]).await;
    let began = Instant::now();
    gone.cancel();
    following.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "it waited for what was done already");
}

#[tokio::test(start_paused = true)]
async fn a_warm_pool_is_entered_and_left() {
    let fake = Fake::new("Warmed:Running", "Warmed:Pending");
    let (gone, following) = fake.follow();
    fake.until("the group to be asked", |world| world.calls > 3).await;
    fake.world().state = "Warmed:Running";
    sleep(Duration::from_mins(1)).await;
    {
        let mut world = fake.world();
        world.state = "Pending:Wait";
        world.metadata = Some(Told { target: Some("InService"), ..Told::default() });
    }
    fake.until("it to serve", |world| world.completed == ["streamfleet-launching"]).await;
    gone.cancel();
    following.await.unwrap();
}
