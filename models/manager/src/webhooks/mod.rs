//! The webhooks of the kinds that exist here, on upstream's paths, with upstream's names and rules (`webhook/`).
//!
//! An object passes the mutator, then the validator; both answer from caches of their own ([`crate::runtime::Readers::Webhooks`]),
//! which may be behind those of the controllers that write, and of any manager that the service leads to. The API server refuses a
//! write if no manager answers: failurePolicy is Fail.

pub mod configuration;
pub mod mutators;
pub mod review;
pub mod server;
pub mod validators;

use review::Operation;

/// Where mutations are reviewed.
pub const MUTATION_PATH: &str = "/v1/webhook/mutation";
/// Where validations are reviewed.
pub const VALIDATION_PATH: &str = "/v1/webhook/validation";
/// The port of the conversion webhook, which the readiness probe of a manager's pod asks.
pub const CONVERSION_PORT: u16 = 9501;
/// The service of the conversion webhook.
pub const CONVERSION_SERVICE: &str = "longhorn-conversion-webhook";

/// Creations and updates.
pub const WRITES: &[Operation] = &[Operation::Create, Operation::Update];

/// A resource that webhooks are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    /// In the plural: `backups`.
    pub name: &'static str,
    /// What is done to it.
    pub operations: &'static [Operation],
}

#[cfg(test)]
mod tests {
    use longhorn_api::Build;

    use crate::runtime::{Datastore, Readers};

    /// A datastore that has seen nothing yet.
    pub(super) fn webhook_datastore(build: Build) -> Datastore {
        Datastore::new("127.0.0.1:1", "longhorn-system", build, Readers::Webhooks).unwrap()
    }
}
