//! One informer a kind for a whole process, all with one resync period and one phase (client-go's SharedInformerFactory).

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{InformerOptions, ResyncPhase, SharedInformer, Synced, wait_for_cache_sync};
use crate::api::Api;
use crate::client::Client;
use crate::resource::Object;
use crate::sync::{Stop, lock};

/// Makes informers and keeps them. Clones are the same factory.
#[derive(Clone)]
pub struct InformerFactory {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    namespace: Option<String>,
    options: InformerOptions,
    phase: u64,
    informers: Mutex<Informers>,
}

#[derive(Default)]
struct Informers {
    /// Only ever looked up: the order of type ids means nothing.
    by_type: BTreeMap<TypeId, Arc<dyn Informer>>,
    in_order: Vec<Arc<dyn Informer>>,
}

trait Informer: Synced + Send + Sync {
    fn start(&self, stop: &Stop);
    fn as_any(&self) -> &dyn Any;
}

impl<K: Object> Informer for SharedInformer<K> {
    fn start(&self, stop: &Stop) {
        SharedInformer::start(self, stop);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl InformerFactory {
    /// A factory for all namespaces; `resync` is for handlers that name no period of their own.
    pub fn new(client: &Client, resync: Duration) -> InformerFactory {
        InformerFactory::with_options(client, None, InformerOptions::resync(resync))
    }

    /// A factory for the namespaced kinds of one namespace.
    pub fn namespaced(client: &Client, namespace: &str, resync: Duration) -> InformerFactory {
        InformerFactory::with_options(client, Some(namespace), InformerOptions::resync(resync))
    }

    /// A factory with options for all its informers.
    pub fn with_options(client: &Client, namespace: Option<&str>, options: InformerOptions) -> InformerFactory {
        let phase = match options.phase {
            ResyncPhase::AfterList => 1 << 32,
            ResyncPhase::Random => client.random("informer factory").between(1, 1 << 32),
        };
        let shared = Shared {
            client: client.clone(),
            namespace: namespace.map(str::to_owned),
            options,
            phase,
            informers: Mutex::default(),
        };
        InformerFactory { shared: Arc::new(shared) }
    }

    /// The client of its informers.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The informer of a kind, made at its first mention; in the factory's namespace, if it has one.
    pub fn informer<K: Object<DynamicType = ()>>(&self) -> SharedInformer<K> {
        self.informer_of(|client| match &self.shared.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        })
    }

    /// The informer of a cluster-scoped kind in a factory that has a namespace.
    pub fn cluster_informer<K: Object<DynamicType = ()>>(&self) -> SharedInformer<K> {
        self.informer_of(Api::all)
    }

    fn informer_of<K: Object>(&self, api: impl FnOnce(&Client) -> Api<K>) -> SharedInformer<K> {
        let mut informers = lock(&self.shared.informers);
        if let Some(informer) = informers.by_type.get(&TypeId::of::<K>()) {
            let informer = informer.as_any().downcast_ref::<SharedInformer<K>>();
            return informer.expect("filed under its own type").clone();
        }
        let api = api(&self.shared.client);
        let order = self.shared.client.random(&format!("informer {}", api.resource().kind));
        let informer = SharedInformer::with_phase(api, self.shared.options.clone(), self.shared.phase, order);
        let filed: Arc<dyn Informer> = Arc::new(informer.clone());
        informers.by_type.insert(TypeId::of::<K>(), filed.clone());
        informers.in_order.push(filed);
        informer
    }

    /// Begins all informers made so far; call it again after making more.
    pub fn start(&self, stop: &Stop) {
        for informer in &lock(&self.shared.informers).in_order {
            informer.start(stop);
        }
    }

    /// Waits until all informers made so far are filled.
    pub async fn wait_for_cache_sync(&self) {
        let informers = lock(&self.shared.informers).in_order.clone();
        let filled: Vec<&(dyn Synced + Sync)> = informers.iter().map(|informer| &**informer as _).collect();
        wait_for_cache_sync(&filled).await;
    }
}
