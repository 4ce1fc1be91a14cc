//! Watches on every deletable kind, begun and ended as discovery finds kinds and misses them.
//!
//! A kind that the process watches anyway is not watched twice: the collector listens to that informer too ([`SharedKinds`]), as in the real
//! kube-controller-manager, where all built-in kinds are shared so. Of the others the metadata are watched.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corral_kube_client::{
    Api, Client, ClientOptions, Error, Event, InformerOptions, MetadataObject, Object, ResourceDescriptor,
    SharedInformer, Stop, Synced,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::graph::Change;
use super::node::Identity;
use super::{Collector, GarbageCollectorOptions, lock};
use crate::discovery::Discovery;

/// How often a waiting collector looks whether caches are filled (cache.WaitForCacheSync).
const SYNCED_POLL_PERIOD: Duration = Duration::from_millis(100);
/// What is not watched: events own nothing and are owned by nobody.
const IGNORED: &str = "events";
const DEFINITIONS: &str = "customresourcedefinitions";

/// The informers of other controllers in this process, by the kinds they watch.
#[derive(Clone, Default)]
pub struct SharedKinds {
    by_resource: BTreeMap<ResourceDescriptor, Listen>,
}

/// Makes a collector listen to a shared informer.
type Listen = Arc<dyn Fn(Arc<Collector>) -> Arc<dyn Synced + Send + Sync> + Send + Sync>;

impl SharedKinds {
    /// With the informer of one more kind.
    pub fn with<K>(mut self, informer: &SharedInformer<K>) -> SharedKinds
    where
        K: Object<DynamicType = ()>,
    {
        let descriptor = ResourceDescriptor::of::<K>();
        let kind = Arc::new(Kind::of(&descriptor));
        let informer = informer.clone();
        let listen = move |collector: Arc<Collector>| -> Arc<dyn Synced + Send + Sync> {
            let kind = kind.clone();
            let listen = move |event| collector.learn(kind.change(event));
            Arc::new(informer.add_handler_with_resync(Duration::ZERO, listen))
        };
        self.by_resource.insert(descriptor, Arc::new(listen));
        self
    }
}

struct Monitor {
    synced: Arc<dyn Synced + Send + Sync>,
    stop: Stop,
}

/// The running watches. Clones share them.
#[derive(Clone)]
pub(super) struct Monitors {
    discovery_client: Client,
    informer_client: Client,
    shared: SharedKinds,
    running: Arc<Mutex<BTreeMap<ResourceDescriptor, Monitor>>>,
    /// Whether a definition has changed since discovery was last asked.
    definitions_changed: Arc<AtomicBool>,
}

impl Monitors {
    pub fn new(server: &str, options: &GarbageCollectorOptions, shared: SharedKinds) -> Result<Monitors, Error> {
        let (rate, burst) = (options.queries_per_second / 2.0, options.burst);
        let informers = ClientOptions::limited("kube-controller-manager/metadata-informers", rate, burst);
        // Discovery has a burst of its own. Source: client-go discovery defaultBurst.
        let discovery = ClientOptions::limited("kube-controller-manager/garbage-collector-discovery", rate, 300);
        Ok(Monitors {
            discovery_client: Client::new(server, discovery)?,
            informer_client: Client::new(server, informers)?,
            shared,
            running: Arc::default(),
            definitions_changed: Arc::new(AtomicBool::new(true)),
        })
    }

    /// Looks for new and vanished kinds at once and then each period.
    pub async fn sync_for_ever(self, collector: Arc<Collector>, period: Duration) {
        loop {
            if self.definitions_changed.swap(false, Ordering::SeqCst) {
                match Discovery::fetch(&self.discovery_client).await {
                    Ok(discovery) => self.adopt(discovery, &collector),
                    Err(error) => {
                        tracing::warn!(%error, "cannot discover what there is to collect");
                        self.definitions_changed.store(true, Ordering::SeqCst);
                    }
                }
            }
            host::time::sleep(period).await;
        }
    }

    fn adopt(&self, discovery: Discovery, collector: &Arc<Collector>) {
        let mut running = lock(&self.running);
        let mut before = std::mem::take(&mut *running);
        let deletable = discovery.preferred(&["delete", "list", "watch"]);
        for resource in deletable.filter(|resource| &*resource.descriptor.plural != IGNORED) {
            let descriptor = resource.descriptor.clone();
            let monitor = before.remove(&descriptor).unwrap_or_else(|| self.begin(&descriptor, collector));
            running.insert(descriptor, monitor);
        }
        for vanished in before.into_values() {
            vanished.stop.stop();
        }
        *lock(&collector.discovery) = discovery;
    }

    /// Ends all watches.
    pub fn stop(&self) {
        lock(&self.running).values().for_each(|monitor| monitor.stop.stop());
    }

    fn begin(&self, descriptor: &ResourceDescriptor, collector: &Arc<Collector>) -> Monitor {
        if let Some(listen) = self.shared.by_resource.get(descriptor) {
            return Monitor { synced: listen(collector.clone()), stop: Stop::new() };
        }
        let api: Api<MetadataObject> = Api::all_of(&self.informer_client, descriptor);
        let informer = SharedInformer::new(api, InformerOptions::default());
        let (collector, kind) = (collector.clone(), Kind::of(descriptor));
        let definitions_changed = (&*descriptor.plural == DEFINITIONS).then(|| self.definitions_changed.clone());
        informer.add_handler(move |event| {
            if let Some(changed) = &definitions_changed {
                changed.store(true, Ordering::SeqCst);
            }
            collector.learn(kind.change(event));
        });
        let stop = Stop::new();
        informer.start(&stop);
        Monitor { synced: Arc::new(informer), stop }
    }

    /// Completes when there is a monitor and all of them are filled.
    pub async fn wait_for_sync(&self) {
        let synced = || {
            let running = lock(&self.running);
            !running.is_empty() && running.values().all(|monitor| monitor.synced.has_synced())
        };
        while !synced() {
            host::time::sleep(SYNCED_POLL_PERIOD).await;
        }
    }
}

/// The kind that a monitor watches: items of lists do not say it themselves.
struct Kind {
    api_version: Arc<str>,
    kind: Arc<str>,
}

impl Kind {
    fn of(descriptor: &ResourceDescriptor) -> Kind {
        Kind { api_version: descriptor.api_version().as_ref().into(), kind: descriptor.kind.clone() }
    }

    fn identity(&self, metadata: &ObjectMeta) -> Identity {
        let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        Identity {
            kind: self.kind.clone(),
            api_version: self.api_version.clone(),
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            uid: text(&metadata.uid),
        }
    }

    fn change<K: Object>(&self, event: Event<K>) -> Change {
        let identity = self.identity(event.object().meta());
        match event {
            Event::Added { object, .. } => Change::Seen { identity, object, old: None },
            Event::Updated { old, new } => Change::Seen { identity, object: new, old: Some(old as _) },
            Event::Deleted { .. } => Change::Gone { identity },
        }
    }
}
