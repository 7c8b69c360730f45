//! What one server shares among its workers, and what is the case when nothing is to be shared.

use super::stage::{Stage, path};

#[tokio::test]
async fn the_workers_of_one_server_share_without_a_redis() {
    let mut stage = Stage::run("values", 2, &[]).await;
    stage.expect_everywhere("square(2)", "4").await;
    stage.assert_ran("square 2", 1);
    stage.expect(0, "square.clear()", "None").await;
    stage.expect_everywhere("square(2)", "4").await;
    stage.assert_ran("square 2", 2);
}

#[tokio::test]
async fn the_workers_of_one_server_share_nothing_if_so_wanted() {
    let mut stage = Stage::run("values", 2, &["--cache", "off"]).await;
    keep_apart(&mut stage).await;
}

#[tokio::test]
async fn a_fleet_shares_nothing_if_so_wanted() {
    let mut stage = Stage::fleet_of(path("values"), &[("STREAMFLEET_CACHE", "off")]).await;
    keep_apart(&mut stage).await;
}

/// Each worker is a Streamlit of its own.
async fn keep_apart(stage: &mut Stage) {
    let workers = stage.workers;
    for _ in 0..2 {
        stage.expect_everywhere("square(2)", "4").await;
        stage.assert_ran("square 2", workers);
    }
    stage.expect(0, "square.clear(2)", "None").await;
    stage.expect_everywhere("square(2)", "4").await;
    stage.assert_ran("square 2", workers + 1);
}
