//! The kubelet's word about its machine: the Node object and its lease.
//!
//! The lease is renewed each 10 s and counts for 40. The status is looked at each 10 s and told if something in it has changed, or nobody has told it
//! for 5 min; a controller that has called the node unknown is corrected at the next look.
//! Source: kubernetes pkg/kubelet/kubelet_node_status.go, component-helpers/apimachinery/lease/controller.go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::params::{Patch, PatchParams};
use corral_kube_client::{Api, Error, InformerOptions, Lister, SharedInformer, Stop, reads};
use host::time::Instant;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use serde_json::json;

use super::Kubelet;
use crate::NODE_LEASE_NAMESPACE;

const LEASE_SECONDS: i32 = 40;
const RENEW_PERIOD: Duration = Duration::from_secs(10);
/// Tries of one renewal.
const RENEW_TRIES: u32 = 5;
const STATUS_CHECK_PERIOD: Duration = Duration::from_secs(10);
const STATUS_REPORT_PERIOD: Duration = Duration::from_secs(300);
const REGISTRATION_FIRST_WAIT: Duration = Duration::from_millis(100);
const REGISTRATION_LONGEST_WAIT: Duration = Duration::from_secs(7);
/// What this kubelet claims to be.
const KUBELET_VERSION: &str = "v1.36.2";

/// Registers the node, then keeps its status; never completes.
pub(super) async fn keep_status(kubelet: Arc<Kubelet>) {
    let mut wait = REGISTRATION_FIRST_WAIT;
    while let Err(error) = reads::scope("kubelet registers its node", kubelet.register()).await {
        tracing::warn!(%error, "cannot register the node");
        host::time::sleep(wait).await;
        wait = (wait * 2).min(REGISTRATION_LONGEST_WAIT);
    }
    let of_this_node = InformerOptions {
        field_selector: Some(format!("metadata.name={}", kubelet.config.node)),
        ..InformerOptions::default()
    };
    let informer: SharedInformer<Node> = SharedInformer::new(Api::all(&kubelet.client), of_this_node);
    informer.start(&Stop::new());
    let lister = informer.lister();
    let mut told: Option<Instant> = None;
    let mut last_look: Option<String> = None;
    let mut next = Instant::now();
    loop {
        let due = told.is_none_or(|told| told.elapsed() >= STATUS_REPORT_PERIOD);
        // A node that nobody has touched since the last look says what it said.
        let version = lister.get(&kubelet.config.node).and_then(|node| node.metadata.resource_version.clone());
        let untouched = version.is_some() && version == last_look;
        last_look = version;
        if untouched && !due {
            next = next + STATUS_CHECK_PERIOD;
            host::time::sleep_until(next).await;
            continue;
        }
        let within = "kubelet node status";
        match reads::scope(within, kubelet.tell_status(&lister, due)).await {
            Ok(true) => told = Some(Instant::now()),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot tell the node's status");
                last_look = None;
            }
        }
        next = next + STATUS_CHECK_PERIOD;
        host::time::sleep_until(next).await;
    }
}

/// Renews the node's lease; never completes.
pub(super) async fn keep_lease(kubelet: Arc<Kubelet>) {
    let api: Api<Lease> = Api::namespaced(&kubelet.heartbeat, NODE_LEASE_NAMESPACE);
    let mut latest: Option<Lease> = None;
    loop {
        reads::scope("kubelet node lease", kubelet.renew(&api, &mut latest)).await;
        // A little random, so that kubelets do not all come at once.
        let jitter = kubelet.random().duration(Duration::ZERO, RENEW_PERIOD / 25);
        host::time::sleep(RENEW_PERIOD + jitter).await;
    }
}

impl Kubelet {
    async fn register(&self) -> Result<(), Error> {
        let api: Api<Node> = Api::all(&self.client);
        let node = Node {
            metadata: ObjectMeta {
                name: Some(self.config.node.clone()),
                labels: Some(self.labels()),
                ..ObjectMeta::default()
            },
            status: Some(self.node_status(&NodeStatus::default())),
            ..Node::default()
        };
        match api.create(&node).await {
            Err(error) if error.is_already_exists() => {}
            done => return done.map(|_created| ()),
        }
        let known = api.get(&self.config.node).await?;
        let labels = known.metadata.labels.unwrap_or_default();
        if self.labels().iter().all(|(key, value)| labels.get(key) == Some(value)) {
            return Ok(());
        }
        let patch = json!({"metadata": {"labels": self.labels()}});
        api.patch(&self.config.node, &PatchParams::default(), &Patch::Strategic(patch)).await.map(|_patched| ())
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.config.labels.clone();
        for prefix in ["beta.kubernetes.io", "kubernetes.io"] {
            labels.insert(format!("{prefix}/arch"), "amd64".into());
            labels.insert(format!("{prefix}/os"), "linux".into());
        }
        labels.insert("kubernetes.io/hostname".into(), self.config.node.clone());
        labels
    }

    /// Tells the node's status if it is due, or if the node that is known says something else; whether it did.
    async fn tell_status(&self, lister: &Lister<Node>, due: bool) -> Result<bool, Error> {
        let api: Api<Node> = Api::all(&self.heartbeat);
        let known = match lister.get(&self.config.node) {
            Some(known) => Node::clone(&known),
            None => api.get(&self.config.node).await?,
        };
        let old = known.status.clone().unwrap_or_default();
        let new = self.node_status(&old);
        if !due && !differs(&old, &new) {
            return Ok(false);
        }
        let patch = json!({"status": new});
        api.patch_status(&self.config.node, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(true)
    }

    fn node_status(&self, old: &NodeStatus) -> NodeStatus {
        let quantity = |text: &str| Quantity(text.to_owned());
        // As the server stores them, or each look would find a difference.
        let huge_pages = huge_pages(self.config.huge_pages_mib);
        let resources: BTreeMap<String, Quantity> = [
            ("cpu", "8"),
            ("ephemeral-storage", "200Gi"),
            ("hugepages-1Gi", "0"),
            ("hugepages-2Mi", huge_pages.as_str()),
            ("memory", "32000Mi"),
            ("pods", "110"),
        ]
        .into_iter()
        .map(|(name, amount)| (name.to_owned(), quantity(amount)))
        .collect();
        let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
        NodeStatus {
            addresses: Some(vec![
                address("InternalIP", self.config.address.to_string()),
                address("Hostname", self.config.node.clone()),
            ]),
            allocatable: Some(resources.clone()),
            capacity: Some(resources),
            conditions: Some(conditions(old, &Time(host::wall_clock::now()))),
            daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }) }),
            node_info: Some(self.system_information()),
            ..NodeStatus::default()
        }
    }

    fn system_information(&self) -> NodeSystemInfo {
        let id = |what: &str| {
            let hash = corral_core::journal::content_hash(format!("{what} of {}", self.config.node).as_bytes());
            format!("{hash:016x}{hash:016x}")
        };
        NodeSystemInfo {
            architecture: "amd64".into(),
            operating_system: "linux".into(),
            os_image: "Corral (a simulated machine)".into(),
            kernel_version: "6.12.0".into(),
            kubelet_version: KUBELET_VERSION.into(),
            kube_proxy_version: String::new(),
            container_runtime_version: "containerd://2.1.4".into(),
            machine_id: id("machine"),
            system_uuid: id("system"),
            boot_id: id("boot"),
            ..NodeSystemInfo::default()
        }
    }

    async fn renew(&self, api: &Api<Lease>, latest: &mut Option<Lease>) {
        for _ in 0..RENEW_TRIES {
            let renewed = match latest.take() {
                Some(lease) => api.update(&self.renewed(lease)).await,
                None => self.ensure_lease(api).await,
            };
            match renewed {
                Ok(lease) => {
                    *latest = Some(lease);
                    return;
                }
                // Another try begins with the lease as the server has it.
                Err(error) => tracing::debug!(%error, "cannot renew the node's lease"),
            }
        }
    }

    async fn ensure_lease(&self, api: &Api<Lease>) -> Result<Lease, Error> {
        if let Some(lease) = api.get_opt(&self.config.node).await? {
            return api.update(&self.renewed(lease)).await;
        }
        let nodes: Api<Node> = Api::all(&self.heartbeat);
        let node = nodes.get_opt(&self.config.node).await?;
        let owner = node.and_then(|node| node.metadata.uid).map(|uid| OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.config.node.clone(),
            uid,
            ..OwnerReference::default()
        });
        let metadata = ObjectMeta {
            name: Some(self.config.node.clone()),
            namespace: Some(NODE_LEASE_NAMESPACE.into()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        api.create(&self.renewed(Lease { metadata, spec: None })).await
    }

    fn renewed(&self, mut lease: Lease) -> Lease {
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.config.node.clone());
        spec.lease_duration_seconds = Some(LEASE_SECONDS);
        spec.renew_time = Some(MicroTime(host::wall_clock::now()));
        lease
    }
}

fn conditions(old: &NodeStatus, now: &Time) -> Vec<NodeCondition> {
    let facts = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let condition = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        let before = old.conditions.iter().flatten().find(|old| old.type_ == kind && old.status == status);
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: before.and_then(|old| old.last_transition_time.clone()).or_else(|| Some(now.clone())),
        }
    };
    facts.into_iter().map(condition).collect()
}

/// Whether a status says something new, heartbeats aside.
fn differs(old: &NodeStatus, new: &NodeStatus) -> bool {
    let said = |status: &NodeStatus| {
        let mut status = status.clone();
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "NetworkUnavailable");
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        conditions.iter_mut().for_each(|condition| condition.last_heartbeat_time = None);
        (status.addresses, status.capacity, status.allocatable, status.node_info, conditions_text(&status.conditions))
    };
    said(old) != said(new)
}

fn conditions_text(conditions: &Option<Vec<NodeCondition>>) -> Vec<(String, String, Option<String>)> {
    let text =
        |condition: &NodeCondition| (condition.type_.clone(), condition.status.clone(), condition.reason.clone());
    conditions.iter().flatten().map(text).collect()
}

/// So many MiB as a quantity in its shortest form.
fn huge_pages(mib: u32) -> String {
    match mib {
        0 => "0".to_owned(),
        mib if mib.is_multiple_of(1024) => format!("{}Gi", mib / 1024),
        mib => format!("{mib}Mi"),
    }
}
