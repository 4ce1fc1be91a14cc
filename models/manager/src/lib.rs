//! longhorn-manager: runtime, controllers, webhooks, REST API.

pub mod arguments;
pub mod engine;
pub mod runtime;
