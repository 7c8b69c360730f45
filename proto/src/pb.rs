//! Generated code, as the build script left it.
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications)]

/// The worker protocol's `FileDescriptorSet`, from which workers build their message classes.
pub const WORKER_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/worker.descriptors"));

// The generated code refers to its neighbours by the path of their protobuf packages.
mod streamfleet {
    pub mod cluster {
        pub mod v1 {
            tonic::include_proto!("streamfleet.cluster.v1");
        }
    }
    pub mod common {
        pub mod v1 {
            tonic::include_proto!("streamfleet.common.v1");
        }
    }
    pub mod runner {
        pub mod v1 {
            tonic::include_proto!("streamfleet.runner.v1");
        }
    }
    pub mod worker {
        pub mod v1 {
            tonic::include_proto!("streamfleet.worker.v1");
        }
    }
}

pub use streamfleet::{cluster::v1 as cluster, common::v1 as common, runner::v1 as runner, worker::v1 as worker};
