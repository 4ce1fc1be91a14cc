//! One kind as the manager reads and writes it: reads come from the informer's cache, writes go to the API server, and a
//! write returns only when the own cache has it (`datastore/longhorn.go`: 20 looks, 100 ms apart).
//!
//! The wait makes a manager read its own writes; other managers may be behind for any time. A creation that the cache does not
//! show in time is an error; an update is only complained about.

use std::sync::Arc;
use std::time::Duration;

use corral_kube_client::{Api, DeleteParams, ListParams, NamespaceLister, Object, SharedInformer, reads};
use longhorn_api::{CustomResource, labels};

use super::error::{Context, Result};

/// How often the own cache is looked at after a write.
const VERIFICATION_LOOKS: usize = 20;
/// How long it is between two looks.
const VERIFICATION_INTERVAL: Duration = Duration::from_millis(100);

/// A kind in Longhorn's namespace.
pub struct Store<K: Object> {
    api: Api<K>,
    cache: NamespaceLister<K>,
    informer: SharedInformer<K>,
}

impl<K: Object> Store<K> {
    /// The kind behind `informer`, in `namespace`.
    pub fn new(informer: SharedInformer<K>, api: Api<K>, namespace: &str) -> Self {
        Self { api, cache: informer.lister().namespaced(namespace), informer }
    }

    /// The informer, to add handlers to.
    pub fn informer(&self) -> &SharedInformer<K> {
        &self.informer
    }

    /// The API, for what is neither a plain read nor a plain write.
    pub fn api(&self) -> &Api<K> {
        &self.api
    }

    /// The object as the cache has it, or NotFound.
    pub fn get(&self, name: &str) -> Result<Arc<K>> {
        Ok(self.cache.require(name)?)
    }

    /// The object as the cache has it, if it has it.
    pub fn find(&self, name: &str) -> Option<Arc<K>> {
        self.cache.get(name)
    }

    /// All objects that the cache has, in an order that means nothing.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.cache.list()
    }

    /// All objects that the cache has with these labels, in an order that means nothing.
    pub fn list_labelled(&self, labels: &[(&str, &str)]) -> Vec<Arc<K>> {
        self.cache.list_matching(&labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    /// Stores a new object and waits until the cache shows it.
    pub async fn create(&self, object: &K) -> Result<Arc<K>> {
        let created = self.api.create(object).await?;
        let name = created.meta().name.clone().unwrap_or_default();
        // A scope of its own: these looks are no part of what the caller decides on.
        let verification = async {
            for _look in 0..VERIFICATION_LOOKS {
                if self.cache.get(&name).is_some() {
                    return;
                }
                host::time::sleep(VERIFICATION_INTERVAL).await;
            }
        };
        reads::scope("verification", verification).await;
        let kind = &self.api.resource().kind;
        self.get(&name).context(|| format!("failed to verify the existence of newly created {kind} {name}"))
    }

    /// Replaces an object and waits until the cache has this version.
    pub async fn update(&self, object: &K) -> Result<K> {
        let updated = self.api.update(object).await?;
        self.verify_update(&updated).await;
        Ok(updated)
    }

    /// Deletes an object as its kind is deleted by default: at once, or when its finalizers are gone.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes an object after its dependents.
    pub async fn delete_foreground(&self, name: &str) -> Result<()> {
        self.api.delete(name, &DeleteParams::foreground()).await?;
        Ok(())
    }

    /// Deletes every object with these labels, with one request.
    pub async fn delete_labelled(&self, labels: &[(&str, &str)]) -> Result<()> {
        let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let selection = ListParams::default().labels(&selector.join(","));
        Ok(self.api.delete_collection(&DeleteParams::default(), &selection).await?)
    }

    async fn verify_update(&self, updated: &K) {
        let name = updated.meta().name.clone().unwrap_or_default();
        let wanted = version(updated);
        let verification = async {
            for _look in 0..VERIFICATION_LOOKS {
                let Some(cached) = self.cache.get(&name) else {
                    tracing::error!(name, "datastore: failed to get updated object");
                    return;
                };
                if version(&*cached) >= wanted {
                    return;
                }
                host::time::sleep(VERIFICATION_INTERVAL).await;
            }
            tracing::error!(name, "Unable to verify the update");
        };
        reads::scope("verification", verification).await;
    }
}

impl<K: CustomResource> Store<K> {
    /// Replaces an object's status and waits until the cache has this version.
    pub async fn update_status(&self, object: &K) -> Result<K> {
        let updated = self.api.update_status(object).await?;
        self.verify_update(&updated).await;
        Ok(updated)
    }

    /// Takes Longhorn's finalizer off, by which a terminating object goes. Every failure to do so is swallowed if the object is
    /// terminating, a conflict included: the event that caused the conflict brings the object back into the queue.
    pub async fn remove_finalizer(&self, mut object: K) -> Result<()> {
        if !labels::remove_finalizer(object.meta_mut()) {
            return Ok(());
        }
        let name = object.meta().name.clone().unwrap_or_default();
        match self.api.update(&object).await {
            Err(error) if object.meta().deletion_timestamp.is_some() => {
                tracing::debug!(name, %error, "ignored while removing the finalizer");
                Ok(())
            }
            other => other.map(drop).context(|| format!("unable to remove finalizer for {} {name}", K::kind(&()))),
        }
    }

    /// Labels an object so that its deletion leaves the store alone; nothing is written if it has the label.
    pub async fn label_delete_custom_resource_only(&self, name: &str) -> Result<()> {
        let object = self.get(name)?;
        if labels::get(object.meta(), labels::DELETE_CUSTOM_RESOURCE_ONLY).is_some() {
            return Ok(());
        }
        let mut object = K::clone(&object);
        labels::set(object.meta_mut(), labels::DELETE_CUSTOM_RESOURCE_ONLY, labels::TRUE);
        self.update(&object).await.map(drop)
    }
}

/// A resourceVersion as a number, as upstream compares them.
fn version<K: Object>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
