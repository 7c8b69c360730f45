//! Gateway and runner in one process: the same gRPC service, called without a connection.

use streamfleet_cluster::Member;
use streamfleet_gateway::{Connector, Way, way};
use streamfleet_runner::RunnerService;

/// Leads the gateway to the runner in the same process.
pub(crate) struct LocalConnector(Way);

impl LocalConnector {
    /// A connector to this runner.
    pub(crate) fn new(service: RunnerService) -> Self {
        Self(way(service.into_routes()))
    }
}

impl Connector for LocalConnector {
    fn connect(&self, _member: &Member) -> Option<Way> {
        Some(self.0.clone())
    }
}
