//! Making a volume larger (`Expand` in control.go and replicator.go).

use longhorn_rpc::{ptypes, rpc_text};
use serde::Deserialize;

use super::error::ReplicaFailure;
use super::{Controller, ControllerError, State};

const SECTOR_BYTES: i64 = 4096;
const ROLLED_BACK: &str = "FunctionFailedRollbackSucceeded";

/// What a replica says of an expansion that failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    code: String,
    message: String,
    #[serde(rename = "rollbackMessage")]
    rollback_message: String,
}

impl Failure {
    fn text(&self) -> String {
        let rollback = match self.rollback_message.as_str() {
            "" => String::new(),
            text => format!(", rollbackMessage: {text}"),
        };
        format!("error: code = {}, message = {}{rollback}", self.code, self.message)
    }
}

fn timestamp() -> String {
    host::wall_clock::now().to_string()
}

impl Controller {
    /// Begins to make the volume larger. How it ends is told in the volume.
    ///
    /// # Errors
    /// The size is odd or too small, or an expansion is under way.
    pub async fn expand(&self, size: i64) -> Result<(), ControllerError> {
        let mut state = self.0.state.write().await;
        if state.is_expanding {
            return Err("controller expansion is in progress".into());
        }
        let refusal = if size % SECTOR_BYTES != 0 {
            Some(format!("requested expansion size {size} not multiple of volume sector size {SECTOR_BYTES}"))
        } else if state.size > size {
            Some(format!("controller cannot be expanded to a smaller size {size}"))
        } else {
            None
        };
        if let Some(text) = refusal {
            state.last_expansion_failed_at = timestamp();
            state.last_expansion_error = format!("controller failed to start expansion: {text}");
            return Err(text.into());
        }
        if state.size != size {
            state.is_expanding = true;
            state.last_expansion_failed_at.clear();
            state.last_expansion_error.clear();
        }
        drop(state);
        let controller = self.clone();
        host::spawn(async move { controller.perform_expansion(size).await });
        Ok(())
    }

    async fn perform_expansion(&self, size: i64) {
        let mut expanded = {
            let mut state = self.0.state.write().await;
            match self.check_snapshot_limits(&state).await {
                Ok(()) => self.expand_all(&mut state, size).await,
                Err(error) => {
                    tracing::error!(%error, "cannot expand");
                    false
                }
            }
        };
        // Without the lock: the frontend may wait for I/O that is under way.
        let state = self.0.state.read().await;
        if let Some(frontend) = state.frontend.as_ref().filter(|_| expanded)
            && let Err(error) = frontend.expand(size).await
        {
            tracing::error!(%error, "failed to expand the frontend");
            expanded = false;
        }
        drop(state);
        let mut state = self.0.state.write().await;
        if expanded {
            state.size = size;
        }
        state.is_expanding = false;
    }

    /// Whether at least one replica is larger now. Those that are not have fallen behind it, or may have.
    async fn expand_all(&self, state: &mut State, size: i64) -> bool {
        let expansions = state.used().map(|(replica, backend)| async move {
            let result = backend.client().control().replica_expand(ptypes::ReplicaExpandRequest { size }).await;
            let failure = result.err().map(|status| {
                serde_json::from_str::<Failure>(status.message()).unwrap_or_else(|_| Failure {
                    code: "ResultUnknown".to_owned(),
                    message: format!("failed to unmarshal gRPC error message, gRPC err: {}", rpc_text(&status)),
                    rollback_message: String::new(),
                })
            });
            (replica.address.clone(), failure)
        });
        let results = futures_util::future::join_all(expansions).await;
        let total = results.len();
        let failed: Vec<_> = results.into_iter().filter_map(|(address, failure)| Some((address, failure?))).collect();
        if failed.is_empty() {
            return true;
        }
        let any = failed.len() < total;
        let listed = |out_of_sync: bool| -> Vec<ReplicaFailure> {
            let counts = |failure: &Failure| !out_of_sync || any || failure.code != ROLLED_BACK;
            let failures = failed.iter().filter(|(_, failure)| counts(failure));
            failures
                .map(|(address, failure)| ReplicaFailure { address: address.clone(), text: failure.text() })
                .collect()
        };
        let all = ControllerError::Replicas(listed(false));
        state.last_expansion_failed_at = timestamp();
        state.last_expansion_error = if any {
            format!("the expansion succeeded, but some replica expansion failed: {all}")
        } else {
            format!("the expansion failed since all replica expansion failed: {all}")
        };
        let out_of_sync = listed(true);
        if !out_of_sync.is_empty()
            && let Err(error) = self.handle_in(state, ControllerError::Replicas(out_of_sync))
        {
            tracing::error!(%error, "failed to handle the backend expansion errors");
        }
        any
    }
}
