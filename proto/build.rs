//! Compiles the `.proto` files with `protox`, so that no `protoc` is needed, and keeps the
//! worker protocol's descriptor set, which the runner hands to its workers.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const RUNNER: &str = "streamfleet/runner/v1/runner.proto";
const WORKER: &str = "streamfleet/worker/v1/worker.proto";
const CALLS: &str = "streamfleet/worker/v1/calls.proto";
const SNAPSHOT: &str = "streamfleet/cluster/v1/snapshot.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    let worker = protox::compile([WORKER, CALLS], ["proto"])?;
    fs::write(out_dir.join("worker.descriptors"), worker.encode_to_vec())?;

    let all = protox::compile([RUNNER, WORKER, CALLS, SNAPSHOT], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".streamfleet")
        .codec_path("crate::SmallBuffers")
        // Sent once; the queues of every session would have room for it in each place.
        .boxed(".streamfleet.runner.v1.SessionRequest.kind.open")
        .boxed(".streamfleet.worker.v1.ControlEvent.kind.snapshot")
        .boxed(".streamfleet.worker.v1.ControlEvent.kind.run")
        .boxed(".streamfleet.worker.v1.StreamEvent.kind.snapshot")
        .boxed(".streamfleet.worker.v1.StreamEvent.kind.run")
        .compile_fds(all)?;
    Ok(())
}
