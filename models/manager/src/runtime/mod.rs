//! What every controller stands on: the datastore over informers' caches, queues with workers and retries, ownership, settings.

pub mod archive;
pub mod backoff;
pub mod backups;
pub mod clock;
pub mod controller;
pub mod data_engines;
pub mod datastore;
pub mod disks;
pub mod doubt;
pub mod error;
pub mod instance_managers;
pub mod nodes;
pub mod ownership;
pub mod settings;
pub mod store;
pub mod ticker;
pub mod timed_counter;
pub mod validation;
pub mod volumes;

pub use controller::{Reconcile, Retries, Runner};
pub use datastore::{Datastore, RESYNC, Readers};
pub use doubt::Doubt;
pub use error::{Context, Error, Result};
pub use store::Store;
pub use ticker::Ticker;
