//! The state of an instance, as the resource of its manager tells it.

use longhorn_api::InstanceManager;
use longhorn_api::kinds::condition::ConditionStatus;
use longhorn_api::kinds::instance::{InstanceSpec, InstanceState, InstanceStatus};
use longhorn_api::kinds::instance_manager::{InstanceManagerState, InstanceProcess};

use crate::runtime::backups::name;
use crate::runtime::{Datastore, clock};

/// The condition that says whether an engine's file system was mounted read-only (instance manager `pkg/types`).
const FILESYSTEM_READ_ONLY: &str = "FilesystemReadOnly";

/// Notes the state. An instance that was seen running and is not there any more failed; one that was not is stopped.
pub fn note(
    datastore: &Datastore,
    observed: &mut InstanceStatus,
    manager: Option<&InstanceManager>,
    listed: Option<&InstanceProcess>,
    instance_name: &str,
    wanted: &InstanceSpec,
) {
    note_state(datastore, observed, manager, listed, instance_name, wanted);
    if observed.current_state == InstanceState::Stopped && !observed.starting {
        observed.instance_manager_name.clear();
    }
}

fn note_state(
    datastore: &Datastore,
    observed: &mut InstanceStatus,
    manager: Option<&InstanceManager>,
    listed: Option<&InstanceProcess>,
    instance_name: &str,
    wanted: &InstanceSpec,
) {
    let started = observed.started;
    let manager = manager.filter(|manager| manager.status.current_state != InstanceManagerState::Unknown);
    let Some(manager) = manager else {
        // Nothing is known of it: what runs keeps its image.
        if !started {
            observed.current_image.clear();
        }
        return set(observed, if started { InstanceState::Unknown } else { InstanceState::Stopped });
    };
    let lost = if started { InstanceState::Error } else { InstanceState::Stopped };
    let state = &manager.status.current_state;
    let gone = matches!(state, InstanceManagerState::Stopped | InstanceManagerState::Error)
        || manager.metadata.deletion_timestamp.is_some();
    if gone {
        return set_without_image(observed, lost);
    }
    if *state == InstanceManagerState::Starting {
        if started {
            set_without_image(observed, InstanceState::Error);
        }
        return;
    }
    let Some(instance) = listed else {
        return set_without_image(observed, lost);
    };
    // Kept while the instance is listed, whatever its state: by it the instance is deleted and its log fetched.
    observed.instance_manager_name = name(&manager.metadata).to_owned();
    match instance.status.state {
        InstanceState::Starting => set_without_image(observed, InstanceState::Starting),
        InstanceState::Running => note_running(datastore, observed, manager, instance, instance_name, wanted),
        InstanceState::Stopping | InstanceState::Stopped => {
            let state = if started { InstanceState::Error } else { instance.status.state.clone() };
            set_without_image(observed, state);
        }
        _ => {
            if observed.current_state != InstanceState::Error {
                let (state, message) = (&instance.status.state, &instance.status.error_message);
                tracing::warn!("Instance {instance_name} is state {state}, error message: {message}");
            }
            set_without_image(observed, InstanceState::Error);
        }
    }
}

fn note_running(
    datastore: &Datastore,
    observed: &mut InstanceStatus,
    manager: &InstanceManager,
    instance: &InstanceProcess,
    instance_name: &str,
    wanted: &InstanceSpec,
) {
    observed.current_state = InstanceState::Running;
    let manager_name = name(&manager.metadata);
    let Some(pod) = datastore.pods.find(manager_name) else {
        return tracing::warn!("Instance manager pod from {manager_name} not exist in datastore");
    };
    if observed.ip != manager.status.ip {
        tracing::warn!("Instance {instance_name} starts running, IP {}", manager.status.ip);
    }
    observed.storage_ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
    observed.ip.clone_from(&manager.status.ip);
    observed.port = instance.status.port_start.into();
    observed.ublk_id = instance.status.ublk_id;
    // Set when it starts only: later the spec may name another image, to upgrade to.
    if observed.current_image.is_empty() {
        observed.current_image.clone_from(&wanted.image);
    }
    observed.uuid.clone_from(&instance.status.uuid);
    for (condition, holds) in &instance.status.conditions {
        let status = if *holds { ConditionStatus::True } else { ConditionStatus::False };
        observed.conditions.set_condition(condition, status, "", "", &clock::now_text());
    }
}

fn set_without_image(observed: &mut InstanceStatus, state: InstanceState) {
    observed.current_image.clear();
    set(observed, state);
}

fn set(observed: &mut InstanceStatus, state: InstanceState) {
    if observed.current_state != state {
        tracing::info!("Instance state is updated from {} to {state}", observed.current_state);
    }
    observed.current_state = state;
    observed.ip.clear();
    observed.storage_ip.clear();
    observed.port = 0;
    observed.ublk_id = 0;
    observed.uuid.clear();
    let now = clock::now_text();
    observed.conditions.set_condition(FILESYSTEM_READ_ONLY, ConditionStatus::False, "", "", &now);
}
