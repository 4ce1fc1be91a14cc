//! The clients that drive a workload: they know the Kubernetes API, the Longhorn API, and nothing else.

mod longhorn;
pub mod pod;

pub use longhorn::{ApiError, Item, LonghornClient};
