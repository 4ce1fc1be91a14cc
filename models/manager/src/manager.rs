//! What the controllers and the REST API of one manager share.

use std::sync::Arc;

use corral_kube_client::{EventRecorder, EventSource};

use crate::arguments::Arguments;
use crate::runtime::Datastore;

/// One manager: who it is and what it sees.
pub struct Manager {
    /// Flags and environment.
    pub arguments: Arguments,
    /// Its view of the cluster.
    pub datastore: Datastore,
}

impl Manager {
    /// A manager with a datastore that has started.
    pub fn new(arguments: Arguments, datastore: Datastore) -> Arc<Self> {
        Arc::new(Self { arguments, datastore })
    }

    /// The node it works for: its identity as a controller.
    pub fn node(&self) -> &str {
        &self.arguments.node_name
    }

    /// Records events in the name of a controller.
    pub fn events(&self, controller: &str) -> EventRecorder {
        let source = EventSource { component: format!("{controller}-controller"), host: String::new() };
        EventRecorder::new(self.datastore.kubernetes(), source)
    }
}
