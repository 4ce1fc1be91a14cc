//! What a cluster is made of.

use std::collections::BTreeMap;

use corral_apiserver::HistoryOptions;
use corral_disk::DiskOptions;

use crate::controller_manager::ControllerManagerOptions;
use crate::election::Leadership;
use crate::images::Images;
use crate::kubelet::KubeletLatencies;
use crate::storage::StorageLatencies;

/// A worker machine.
#[derive(Clone, Debug, Default)]
pub struct WorkerSpec {
    /// Name of the machine and of its node.
    pub name: String,
    /// Labels of the node beside the usual ones.
    pub labels: BTreeMap<String, String>,
    /// The disk at `/`.
    pub root: DiskOptions,
    /// More disks, by where they are mounted.
    pub disks: Vec<(String, DiskOptions)>,
    /// Memory in huge pages of 2 MiB, in MiB: what the node offers as `hugepages-2Mi`.
    pub huge_pages_mib: u32,
}

impl WorkerSpec {
    /// A worker with one disk.
    pub fn named(name: &str) -> WorkerSpec {
        WorkerSpec { name: name.to_owned(), ..WorkerSpec::default() }
    }

    /// With memory in huge pages.
    pub fn huge_pages(mut self, mib: u32) -> WorkerSpec {
        self.huge_pages_mib = mib;
        self
    }

    /// With one more disk.
    pub fn disk(mut self, mounted_at: &str, options: DiskOptions) -> WorkerSpec {
        self.disks.push((mounted_at.to_owned(), options));
        self
    }
}

/// What a cluster is made of.
#[derive(Clone)]
pub struct ClusterSpec {
    /// The workers.
    pub workers: Vec<WorkerSpec>,
    /// What containers can run.
    pub images: Images,
    /// How the API server behaves, faults included. Its service network, and its storage's latency if it has none, are set here.
    pub api_server: corral_apiserver::Options,
    /// How long the storage behind the API server takes.
    pub storage: StorageLatencies,
    /// How much history the store keeps.
    pub history: HistoryOptions,
    /// How the controllers behave.
    pub controller_manager: ControllerManagerOptions,
    /// The leases of controller manager and scheduler.
    pub leadership: Leadership,
    /// How long kubelets take for things.
    pub kubelet: KubeletLatencies,
}

impl ClusterSpec {
    /// So many workers, `node-1` and on, and nothing special.
    pub fn workers(count: usize) -> ClusterSpec {
        ClusterSpec {
            workers: (1..=count).map(|number| WorkerSpec::named(&format!("node-{number}"))).collect(),
            images: Images::new(),
            api_server: corral_apiserver::Options::default(),
            storage: StorageLatencies::default(),
            history: HistoryOptions::default(),
            controller_manager: ControllerManagerOptions::default(),
            leadership: Leadership::default(),
            kubelet: KubeletLatencies::default(),
        }
    }

    /// With these images.
    pub fn images(mut self, images: Images) -> ClusterSpec {
        self.images = images;
        self
    }
}
