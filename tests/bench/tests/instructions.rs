//! Guards what a click costs in gateway and runner: see `streamfleet-bench instructions`.

use std::path::Path;
use std::process::Command;

#[test]
fn a_click_takes_as_many_instructions_as_committed() {
    let bench = Path::new(env!("CARGO_BIN_EXE_streamfleet-bench"));
    let output = Command::new(bench).arg("instructions").output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    assert!(output.status.success(), "{text}");
}
