//! A cluster whose runners are on machines of their own in an auto-scaling group.

use std::path::PathBuf;
use std::time::Duration;

use streamfleet_testkit::aws::{Aws, HookSpec, Manner, Outcome, State};

use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::LIMIT;

/// The runners' group.
pub const GROUP: &str = "fleet-runner";
pub const LAUNCHING: &str = "streamfleet-launching";
pub const TERMINATING: &str = "streamfleet-terminating";
/// What hooks wait for, where a test doesn't want to see it pass.
pub const LONG: Duration = Duration::from_mins(10);

/// Such a cluster.
pub struct Stage {
    pub aws: Aws,
    pub fleet: Fleet,
    /// Of the runners, in order.
    pub instances: Vec<String>,
}

/// How one is started.
pub struct StageLaunch {
    pub fleet: FleetLaunch,
    /// What the termination hook waits for.
    pub terminating: Duration,
    /// How the machines' metadata answer at first. If that isn't well, nobody waits for the machines to be in service.
    pub manner: Manner,
}

impl StageLaunch {
    /// The path of an app, on so many machines, and two gateways.
    pub fn new(app: PathBuf, runners: usize) -> Self {
        let mut fleet = FleetLaunch::new("clicks");
        (fleet.path, fleet.runners, fleet.gateways) = (app, runners, 2);
        Self { fleet, terminating: LONG, manner: Manner::Well }
    }

    pub async fn start(self) -> Stage {
        self.start_on(Aws::start().await.unwrap()).await
    }

    pub async fn start_on(mut self, mut aws: Aws) -> Stage {
        let hooks = vec![HookSpec::launching(LAUNCHING, LONG), HookSpec::terminating(TERMINATING, self.terminating)];
        aws.make_group(GROUP, hooks);
        let mut instances = Vec::new();
        for _ in 0..self.fleet.runners {
            let instance = aws.launch(GROUP).await.unwrap();
            aws.set_manner(&instance, self.manner);
            self.fleet.each.push(settings(&aws, &instance));
            instances.push(instance);
        }
        let fleet = self.fleet.start().await;
        if self.manner == Manner::Well {
            for instance in &instances {
                aws.until_state(instance, &[State::InService]).await.unwrap();
            }
        }
        Stage { aws, fleet, instances }
    }
}

/// What a process on this machine is told.
pub fn settings(aws: &Aws, instance: &str) -> Vec<(&'static str, String)> {
    let mut settings = aws.env(instance);
    settings.push(("STREAMFLEET_AWS_LIFECYCLE", "on".to_owned()));
    settings
}

impl Stage {
    /// Waits until a machine is no more, and asserts that Auto Scaling was told so, once by each hook, and that its process ended in
    /// peace.
    pub async fn has_gone(&mut self, number: usize) {
        let instance = &self.instances[number];
        self.aws.until_state(instance, &[State::Terminated]).await.unwrap();
        let done = |hook: &str| (hook.to_owned(), Outcome::Continued);
        assert_eq!(self.aws.outcomes(instance), [done(LAUNCHING), done(TERMINATING)]);
        let status = self.fleet.runners[number].server.wait(LIMIT).await.unwrap();
        assert!(status.success(), "{status}");
    }

    /// How often this was called.
    pub fn calls(&self, action: &str) -> usize {
        self.aws.calls().iter().filter(|call| call.action == action).count()
    }
}
