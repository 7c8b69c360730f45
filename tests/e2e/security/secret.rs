//! A secret that is rotated while sessions go on.

use streamfleet_testkit::browser::Browser;

use crate::cluster::fleet::FleetLaunch;
use crate::server::click;

#[tokio::test]
async fn sessions_outlive_their_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let [old, new, other] = ["old", "new", "other"].map(|word| format!("{word} and long enough to be nobody's guess"));
    let mut launch = FleetLaunch::new("clicks");
    (launch.runners, launch.gateways) = (1, 1);
    launch.env =
        vec![("STREAMFLEET_SECRET", String::new()), ("STREAMFLEET_SECRET_FILE", file.to_str().unwrap().to_owned())];
    std::fs::write(&file, &old).unwrap();
    let mut fleet = launch.start().await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    click(&mut browser).await.unwrap();
    // Each step holds for all runners before the next begins.
    for (count, lines) in (2..).zip([format!("{old}\n{new}\n"), format!("{new}\n{old}\n"), format!("{new}\n")]) {
        std::fs::write(&file, lines).unwrap();
        fleet.replace(0).await;
        assert_eq!(click(&mut browser).await.unwrap(), count);
    }
    // What a stranger could have written is not read.
    std::fs::write(&file, other).unwrap();
    fleet.replace(0).await;
    assert_eq!(click(&mut browser).await.unwrap(), 1);
    assert!(fleet.runners[0].server.output().contains("refused a session's snapshot"));
}
