//! How long it takes from the command to a page.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::app::App;
use crate::candidate::Candidate;
use crate::user::User;

/// From the command to a healthy server, and on to the first answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColdStart {
    pub(crate) healthy: Duration,
    pub(crate) first_page: Duration,
}

/// Starts a candidate, and has one user open the dashboard, whose libraries are imported then.
pub(crate) async fn measure(candidate: Candidate, binary: &Path) -> Result<ColdStart> {
    let began = Instant::now();
    let server = candidate.start(binary, App::Dashboard).await?;
    let healthy = began.elapsed();
    User::open(&server.endpoint, App::Dashboard, 0).await?;
    Ok(ColdStart { healthy, first_page: began.elapsed() })
}
