//! The manager's view of the cluster: one [`Store`] for each kind, all fed by one set of informers with a resync of 30 s
//! (`util/client/client.go`, `datastore/datastore.go`).
//!
//! A manager has two of these: the controllers and the REST API share one, the admission webhooks have their own
//! ([`Readers::Webhooks`]), so a validation may see another past than the controller that asked for the write. The webhooks' set
//! here holds the kinds that their code reads; upstream fills it with all kinds, which nobody looks at.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_kube_client::{
    Api, Client, ClientOptions, InformerFactory, Lister, Object, SharedInformer, Stop, Synced, informer,
};
use host::random::Stream;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node as KubernetesNode, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use longhorn_api::{
    BackingImage, BackingImageDataSource, BackingImageManager, Backup, BackupBackingImage, BackupTarget, BackupVolume,
    Build, Engine, EngineImage, InstanceManager, Node, Orphan, RecurringJob, Release, Replica, Setting, Snapshot,
    SystemBackup, SystemRestore, Volume, VolumeAttachment, settings,
};

use super::error::Result;
use super::settings::Defaults;
use super::store::Store;

/// Resync period of handlers that name none (`util/client/client.go`).
pub const RESYNC: Duration = Duration::from_secs(30);
/// Requests a second of each of a manager's clients, and how many at once (`types.KubeAPIQPS`, `KubeAPIBurst`).
const REQUESTS_PER_SECOND: f64 = 50.0;
const BURST: u32 = 100;

/// Who reads a datastore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Controllers and the REST API.
    Controllers,
    /// Admission webhooks.
    Webhooks,
}

impl Readers {
    /// Names the clients; each has its own connections, limit and random numbers.
    fn user_agent(self, api: &str) -> String {
        match self {
            Self::Controllers => format!("longhorn-manager{api}"),
            Self::Webhooks => format!("longhorn-manager/webhook{api}"),
        }
    }
}

/// Stores of all kinds, in Longhorn's namespace.
pub struct Datastore {
    /// Namespace of every Longhorn object.
    pub namespace: String,
    /// The release of this manager.
    pub build: Build,
    /// BackupTargets.
    pub backup_targets: Store<BackupTarget>,
    /// BackupVolumes.
    pub backup_volumes: Store<BackupVolume>,
    /// Backups.
    pub backups: Store<Backup>,
    /// BackupBackingImages.
    pub backup_backing_images: Store<BackupBackingImage>,
    /// SystemBackups.
    pub system_backups: Store<SystemBackup>,
    /// SystemRestores.
    pub system_restores: Store<SystemRestore>,
    /// BackingImages.
    pub backing_images: Store<BackingImage>,
    /// BackingImageManagers.
    pub backing_image_managers: Store<BackingImageManager>,
    /// BackingImageDataSources.
    pub backing_image_data_sources: Store<BackingImageDataSource>,
    /// Settings.
    pub settings: Store<Setting>,
    /// Longhorn's Nodes.
    pub nodes: Store<Node>,
    /// EngineImages.
    pub engine_images: Store<EngineImage>,
    /// Volumes.
    pub volumes: Store<Volume>,
    /// Engines.
    pub engines: Store<Engine>,
    /// Replicas.
    pub replicas: Store<Replica>,
    /// Snapshots.
    pub snapshots: Store<Snapshot>,
    /// InstanceManagers.
    pub instance_managers: Store<InstanceManager>,
    /// Orphans.
    pub orphans: Store<Orphan>,
    /// RecurringJobs.
    pub recurring_jobs: Store<RecurringJob>,
    /// Longhorn's VolumeAttachments.
    pub volume_attachments: Store<VolumeAttachment>,
    /// Pods of the namespace.
    pub pods: Store<Pod>,
    /// ConfigMaps of the namespace.
    pub config_maps: Store<ConfigMap>,
    /// Secrets of the namespace.
    pub secrets: Store<Secret>,
    /// DaemonSets of the namespace.
    pub daemon_sets: Store<DaemonSet>,
    /// PodDisruptionBudgets of the namespace.
    pub disruption_budgets: Store<PodDisruptionBudget>,
    /// Kubernetes' nodes.
    pub kubernetes_nodes: Lister<KubernetesNode>,
    kubernetes_node_informer: SharedInformer<KubernetesNode>,
    kubernetes: Client,
    /// Defaults of settings, as the customised ones of the installation changed them.
    pub(super) defaults: Defaults,
    random: Mutex<Stream>,
    readers: Readers,
}

impl Datastore {
    /// Connects to the API server at `server` (`host:port`); nothing is read before [`Datastore::start`].
    pub fn new(server: &str, namespace: &str, build: Build, readers: Readers) -> Result<Self> {
        Self::resyncing(server, namespace, build, readers, RESYNC)
    }

    /// The same, where every object is looked at again so often.
    pub fn resyncing(server: &str, namespace: &str, build: Build, readers: Readers, resync: Duration) -> Result<Self> {
        let client = |api: &str| {
            Client::new(server, ClientOptions::limited(readers.user_agent(api), REQUESTS_PER_SECOND, BURST))
        };
        let (longhorn, kubernetes) = (client("")?, client("/kubernetes")?);
        let longhorn_kinds = InformerFactory::namespaced(&longhorn, namespace, resync);
        let kubernetes_kinds = InformerFactory::namespaced(&kubernetes, namespace, resync);
        let kubernetes_node_informer = kubernetes_kinds.cluster_informer::<KubernetesNode>();
        let own = Kinds { factory: &longhorn_kinds, namespace };
        let others = Kinds { factory: &kubernetes_kinds, namespace };
        let defaults = Defaults::default();
        // What upstream's linker writes into the manager: the release it is.
        defaults.set(settings::CURRENT_LONGHORN_VERSION, build.release().name());
        Ok(Self {
            backup_targets: own.store(),
            backup_volumes: own.store(),
            backups: own.store(),
            backup_backing_images: own.store(),
            system_backups: own.store(),
            system_restores: own.store(),
            backing_images: own.store(),
            backing_image_managers: own.store(),
            backing_image_data_sources: own.store(),
            settings: own.store(),
            nodes: own.store(),
            engine_images: own.store(),
            volumes: own.store(),
            engines: own.store(),
            replicas: own.store(),
            snapshots: own.store(),
            instance_managers: own.store(),
            orphans: own.store(),
            recurring_jobs: own.store(),
            volume_attachments: own.store(),
            pods: others.store(),
            config_maps: others.store(),
            secrets: others.store(),
            daemon_sets: others.store(),
            disruption_budgets: others.store(),
            kubernetes_nodes: kubernetes_node_informer.lister(),
            kubernetes_node_informer,
            kubernetes,
            defaults,
            random: Mutex::new(host::random::stream(&format!("datastore/{readers:?}"))),
            namespace: namespace.to_owned(),
            build,
            readers,
        })
    }

    /// Begins to fill the caches and waits until they are filled.
    pub async fn start(&self, stop: &Stop) {
        let mut started = Started { stop, informers: Vec::new() };
        started.start(self.backup_targets.informer());
        started.start(self.backups.informer());
        started.start(self.backup_backing_images.informer());
        started.start(self.settings.informer());
        started.start(self.volumes.informer());
        started.start(self.backing_images.informer());
        started.start(self.system_backups.informer());
        started.start(self.system_restores.informer());
        started.start(self.engines.informer());
        started.start(self.replicas.informer());
        started.start(self.instance_managers.informer());
        started.start(self.engine_images.informer());
        started.start(self.backup_volumes.informer());
        started.start(self.secrets.informer());
        started.start(self.pods.informer());
        started.start(&self.kubernetes_node_informer);
        started.start(self.nodes.informer());
        if self.readers == Readers::Controllers {
            started.start(self.backing_image_managers.informer());
            started.start(self.backing_image_data_sources.informer());
            started.start(self.snapshots.informer());
            started.start(self.orphans.informer());
            started.start(self.recurring_jobs.informer());
            started.start(self.volume_attachments.informer());
            started.start(self.config_maps.informer());
            started.start(self.daemon_sets.informer());
            started.start(self.disruption_budgets.informer());
        }
        let informers: Vec<&(dyn Synced + Sync)> = started.informers.iter().map(|informer| &**informer as _).collect();
        informer::wait_for_cache_sync(&informers).await;
    }

    /// The informer of Kubernetes' nodes, to add handlers to.
    pub fn kubernetes_node_informer(&self) -> &SharedInformer<KubernetesNode> {
        &self.kubernetes_node_informer
    }

    /// The client for kinds that are neither Longhorn's nor cached.
    pub fn kubernetes(&self) -> &Client {
        &self.kubernetes
    }

    /// The release of this manager.
    pub fn release(&self) -> Release {
        self.build.release()
    }

    /// Whether this manager knows several backup targets, names with suffixes and owner references of backups.
    pub fn has_many_backup_targets(&self) -> bool {
        self.release().at_least(Release::V1_8_0_RC1)
    }

    /// So many random hexadecimal digits, for names.
    pub fn random_digits(&self, digits: usize) -> String {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).hex(digits)
    }

    /// A random number below `limit`.
    pub fn random_below(&self, limit: u64) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).below(limit)
    }

    /// The items in the order in which Go would walk a map of them: any.
    pub fn in_map_order<T>(&self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut items: Vec<T> = items.into_iter().collect();
        self.random.lock().unwrap_or_else(PoisonError::into_inner).shuffle(&mut items);
        items
    }
}

/// Makes the stores of one client's kinds.
struct Kinds<'a> {
    factory: &'a InformerFactory,
    namespace: &'a str,
}

impl Kinds<'_> {
    fn store<K: Object<DynamicType = ()>>(&self) -> Store<K> {
        let api = Api::namespaced(self.factory.client(), self.namespace);
        Store::new(self.factory.informer::<K>(), api, self.namespace)
    }
}

/// The informers that have begun.
struct Started<'a> {
    stop: &'a Stop,
    informers: Vec<Arc<dyn Synced + Send + Sync>>,
}

impl Started<'_> {
    fn start<K: Object>(&mut self, informer: &SharedInformer<K>) {
        informer.start(self.stop);
        self.informers.push(Arc::new(informer.clone()));
    }
}
