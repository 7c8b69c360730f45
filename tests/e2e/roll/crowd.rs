//! A crowd of users, and a roll that goes well.

use std::time::Duration;

use super::stage::{Stage, different, event, events, told};
use super::users::{Users, courses, crowd};
use crate::cluster::ledger;

/// What a user may have to wait at most where nothing but the roll keeps the machine busy.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_replaces_all_runners_and_nobody_notices() {
    let mut stage = Stage::start(3).await;
    let mut users = Users::start(&stage.fleet.endpoint(), crowd()).await;

    let mut operator = stage.roll(&["--revision", "two"]);
    let status = stage.serve(&mut operator).await;
    assert!(status.success(), "{status}");
    assert_eq!(told(&operator, "replaced"), 3);
    for replaced in events(&operator).iter().filter(|event| event["event"] == "replaced") {
        eprintln!(
            "{}: {:.1} s, {} sessions",
            replaced["runner"],
            replaced["seconds"].as_f64().unwrap(),
            replaced["moved"]
        );
    }
    let finished = event(&operator, "finished");
    assert_eq!((&finished["outcome"], &finished["replaced"]), (&"done".into(), &3.into()));
    assert!(finished["moved"].as_u64().unwrap() >= crowd() as u64, "{finished}");
    assert_eq!(
        (&finished["incomplete"], &finished["returned"], &finished["afresh"]),
        (&0.into(), &0.into(), &0.into())
    );

    assert_eq!(stage.started, ["two"; 3]);
    assert_eq!(stage.revisions().await, ["two"; 3]);
    assert_eq!(stage.target().await, "two");
    stage.all_others_ended().await;
    users.click_on(1).await;
    let accounts = users.finish("a roll").await;
    // Once on the new revision, nobody goes back to the old one; and all get there.
    assert_eq!(courses(&accounts).iter().map(String::as_str).collect::<Vec<_>>(), ["one two"]);
    if crate::outlive::soak() {
        let longest = accounts.iter().map(|account| account.longest).max().unwrap();
        assert!(longest <= LONGEST_PAUSE, "somebody waited {longest:.0?}");
    }
    ledger::check_with_tries(&stage.fleet, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_sessions_go_to_the_new_revision_once_it_has_been_tried() {
    use crate::server::shown;
    use streamfleet_testkit::browser::Browser;

    let mut stage = Stage::start(2).await;
    // Nobody has been told of a roll yet, and anybody takes sessions.
    let mut operator = stage.command(&["roll", "--json", "--revision", "two"]);
    stage.serve_until("a runner to be asked for", || told(&operator, "waiting") == 1).await;
    for _ in 0..10 {
        let browser = Browser::open(&stage.fleet.endpoint()).await.unwrap();
        assert_eq!(shown(&browser, "version").as_deref(), Some("one"));
    }
    for number in 0..2 {
        stage.begin(number, "two").await;
        stage.serve_until("it to have been tried", || told(&operator, "healthy") > number).await;
        let (endpoint, fleet) = (stage.fleet.endpoint(), &stage.fleet);
        let heard = async || {
            let browser = Browser::open(&endpoint).await?;
            anyhow::ensure!(shown(&browser, "version").as_deref() == Some("two"), "the old one is still shown");
            Ok(())
        };
        // Gateways hear of it a moment later.
        streamfleet_testkit::wait::until("the new revision to be shown", crate::server::LIMIT, heard).await.unwrap();
        for _ in 0..10 {
            let browser = Browser::open(&fleet.endpoint()).await.unwrap();
            assert_eq!(shown(&browser, "version").as_deref(), Some("two"));
        }
    }
    let status = stage.serve(&mut operator).await;
    assert!(status.success(), "{status}");
    assert_eq!(different(&stage.revisions().await), ["two"].into());
    // There is nothing left to do.
    let mut again = stage.roll(&["--revision", "two"]);
    assert!(stage.serve(&mut again).await.success());
    assert_eq!(event(&again, "finished")["replaced"], 0);
}
