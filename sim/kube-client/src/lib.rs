//! client-go's semantics in Rust: typed API, informers with their lag, rate-limited work queues, lease election.
//!
//! Runs in both worlds on `host`; the transport is hyper over `host::net`, because kube's own client needs tokio's timers.
//!
//! ```text
//! let client = Client::new("10.96.0.1:443", ClientOptions::limited("longhorn-manager", 50.0, 100))?;
//!
//! // every verb, typed; Api::all for cluster-scoped kinds or all namespaces, Api::all_of / namespaced_of for kinds known only at run time
//! let volumes: Api<Volume> = Api::namespaced(&client, "longhorn-system");
//! volumes.get("v1").await?;                 // also get_opt, get_with(GetParams)
//! volumes.list(&ListParams::default().labels("a=b")).await?.items;
//! volumes.create(&volume).await?;
//! volumes.update(&volume).await?;           // PUT: 409 if the resourceVersion is old; update_status for the status
//! volumes.patch("v1", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}))).await?;
//! volumes.delete("v1", &DeleteParams::foreground()).await?;   // Deleted::Object while finalizers hold it, Deleted::Gone
//! error.is_not_found(), is_conflict(), is_already_exists(), is_gone() ...;  Error::EmptyName is none of them
//!
//! // informers: cache, readers, handlers
//! let factory = InformerFactory::namespaced(&client, "longhorn-system", Duration::from_secs(30));
//! let informer = factory.informer::<Volume>();
//! informer.add_label_index("by-node", "longhornnode");
//! let queue: WorkQueue<String> = WorkQueue::new(controller_rate_limiter(100.0, 1000));
//! informer.add_handler({ let queue = queue.clone(); move |event| queue.add(object_key(event.object().meta())) });
//! informer.add_handler_with_resync(Duration::ZERO, |event| ...);          // no resync
//! let stop = Stop::new();
//! factory.start(&stop);
//! factory.wait_for_cache_sync().await;
//! let lister = informer.lister().namespaced("longhorn-system");
//! lister.get("v1") -> Option<Arc<Volume>>;  lister.require("v1") -> Result<Arc<Volume>>;  lister.list();  informer.lister().by_index("by-node", "n1");
//! informer.lag();
//!
//! // workers
//! while let Some(key) = queue.get().await {
//!     reads::scope(format!("volume-controller {key}"), reconcile(&key)).await;   // reads inside are journalled with its writes
//!     queue.forget(&key);                   // or queue.add_rate_limited(key.clone())
//!     queue.done(&key);
//! }
//!
//! // the rest of what controllers are made of
//! retry_on_conflict(&client, DEFAULT_RETRY, || async { ... }).await?;
//! Election::new(&client, ElectionConfig::new(namespace, "lock", identity)).run(&stop, |lost| async { ... }).await;   // election::Ended
//! EventRecorder::new(&client, EventSource { component, host }).event(&volume, EventType::Warning, "Degraded", "...");
//! discovery::discover(&client).await?.resources;
//! reads::record_call(&reads::take(), method, peer, outcome, took);              // for remote calls other than the API's
//! ```

pub mod api;
pub mod backoff;
pub mod client;
pub mod discovery;
pub mod dynamic;
pub mod election;
pub mod error;
pub mod events;
pub mod informer;
pub mod params;
mod query;
pub mod reads;
pub mod resource;
pub mod retry;
pub mod sync;
pub mod token_bucket;
pub mod watch;
pub mod workqueue;

pub use api::{Api, Deleted, DynamicApi, List};
pub use client::{Client, ClientOptions};
pub use dynamic::{DynamicObject, MetadataObject};
pub use election::{Election, ElectionConfig};
pub use error::{Error, Result, Status};
pub use events::{EventRecorder, EventSource, EventType};
pub use informer::{
    Event, InformerFactory, InformerOptions, Lister, NamespaceLister, SharedInformer, Synced, filtered,
};
pub use kube_core::{Expression, Selector};
pub use params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
pub use resource::{Object, ResourceDescriptor, key_of, object_key, split_key};
pub use retry::{DEFAULT_BACKOFF, DEFAULT_RETRY, retry_on_conflict};
pub use sync::Stop;
pub use watch::{Watch, WatchEvent};
pub use workqueue::{WorkQueue, controller_rate_limiter};
