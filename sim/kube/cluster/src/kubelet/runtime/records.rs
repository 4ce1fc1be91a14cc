//! What is remembered of a pod: its sandbox, and each run of its containers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use corral_core::Process;
use host::time::Instant;
use jiff::Timestamp;

/// A pod's network and the frame of its containers.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub address: Ipv4Addr,
    pub host_network: bool,
    pub ready: bool,
    pub attempt: u32,
}

/// How and when a container ended.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub at: Timestamp,
    pub when: Instant,
    pub exit_code: i32,
    pub reason: &'static str,
}

/// One run of a container.
#[derive(Clone)]
pub(crate) struct ContainerRecord {
    pub id: String,
    pub name: String,
    pub image: String,
    pub attempt: u32,
    pub sandbox_attempt: u32,
    pub started_at: Timestamp,
    pub started: Instant,
    pub process: Option<Arc<Process>>,
    pub finished: Option<Finished>,
}

impl ContainerRecord {
    pub fn is_running(&self) -> bool {
        self.finished.is_none()
    }
}

/// Everything the runtime knows of a pod.
#[derive(Clone)]
pub(crate) struct RuntimePod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub sandbox: Option<Sandbox>,
    /// Oldest first.
    pub containers: Vec<ContainerRecord>,
}

impl RuntimePod {
    /// The newest run of a container.
    pub fn newest(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers.iter().rev().find(|container| container.name == name)
    }

    /// The newest run that has ended.
    pub fn newest_finished(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers.iter().rev().find(|container| container.name == name && !container.is_running())
    }

    pub fn running(&self) -> impl Iterator<Item = &ContainerRecord> {
        self.containers.iter().filter(|container| container.is_running())
    }
}

/// Keeps the newest run of each container and the one before it, as the kubelet's own clean-up does.
pub(super) fn forget_old_runs(containers: &mut Vec<ContainerRecord>) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut keep = Vec::with_capacity(containers.len());
    for container in containers.drain(..).rev() {
        let runs = seen.entry(container.name.clone()).or_default();
        *runs += 1;
        if *runs <= 2 || container.is_running() {
            keep.push(container);
        }
    }
    keep.reverse();
    *containers = keep;
}
