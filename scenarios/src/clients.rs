//! The clients that drive a workload: they know the Kubernetes API, the Longhorn API, and nothing else.

mod longhorn;

pub use longhorn::{ApiError, Item, LonghornClient};
