//! longhorn-manager: runtime, controllers, webhooks, REST API.

pub mod arguments;
pub mod controllers;
pub mod engine;
pub mod manager;
pub mod pods;
pub mod runtime;
