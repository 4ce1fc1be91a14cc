//! The teardown of longhorn-tests' backup store fixtures (manager/integration/tests/backupstore.py and common.py), as the client that it is.
//!
//! It polls once a second, deletes through two interfaces (the Longhorn API and the Kubernetes API), and carries assertions of its own. Before
//! longhorn-tests 8436ccbda it takes every error of a Backup's deletion for a failure; from then on "not found" is none.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corral_core::Latency;
use corral_core::random::Stream;
use corral_kube_client::{Api, DeleteParams, ListParams};
use corral_world::{Oracle, Stage};
use host::time::sleep;
use longhorn_api::{Backup, ClientBuild, Defect};

use super::Failed;
use crate::clients::LonghornClient;
use crate::oracles::ClientMeetsNoUnexpectedError;

/// The pause between two looks (RETRY_INTERVAL).
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Looks at a backup volume that is to go (RETRY_COUNTS 150, twice in `wait_for_backup_volume_delete`).
const BACKUP_VOLUME_LOOKS: u32 = 300;
/// Looks at the list of system backups (RETRY_COUNTS).
const SYSTEM_BACKUP_LOOKS: u32 = 150;

/// The test client.
pub struct Teardown {
    /// Where it reports.
    pub stage: Arc<Stage>,
    /// The Longhorn API.
    pub longhorn: LonghornClient,
    /// Backups at the Kubernetes API.
    pub backups: Api<Backup>,
    /// Its release.
    pub build: ClientBuild,
    /// What runs it.
    pub interpreter: Interpreter,
}

/// The time that a Python client spends on a request, beside the network's and the server's: building it, parsing the answer into objects.
pub struct Interpreter {
    random: Mutex<Stream>,
    latency: Latency,
}

impl Interpreter {
    /// With the usual delay, or without any.
    pub fn new(random: Stream, instant: bool) -> Interpreter {
        let usual = Latency::heavy(Duration::from_millis(1), Duration::from_millis(2));
        Interpreter { random: Mutex::new(random), latency: if instant { Latency::ZERO } else { usual } }
    }

    async fn think(&self) {
        let delay = self.latency.draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner));
        sleep(delay).await;
    }
}

impl Teardown {
    /// A failed assertion of the client: the test has failed, and its remaining steps are not run.
    fn fail(&self, step: &str, error: impl std::fmt::Display) -> Result<(), Failed> {
        let detail = format!("{step}: {error}");
        self.stage.step(step, &error.to_string());
        self.stage.violation(ClientMeetsNoUnexpectedError.name(), &detail);
        Err(Failed)
    }

    /// Deletes every backup volume and waits for each; then every backup of a backing image.
    ///
    /// # Errors
    /// An assertion failed; it has been reported.
    pub async fn backupstore_cleanup(&self) -> Result<(), Failed> {
        for collection in ["backupvolumes", "backupbackingimages"] {
            let step = format!("backupstore_cleanup of {collection}");
            let items = match self.longhorn.list(collection).await {
                Ok(items) => items,
                Err(error) => return self.fail(&step, error),
            };
            for item in items {
                let id = item.id();
                if let Err(error) = self.longhorn.delete(collection, id).await {
                    return self.fail(&step, error);
                }
                self.wait_until_absent(&step, collection, id).await?;
                self.stage.step(&format!("{collection} {id} deleted"), "gone from the list");
            }
            match self.longhorn.list(collection).await {
                Ok(left) if left.is_empty() => {}
                Ok(left) => return self.fail(&step, format!("{} are left in the list", left.len())),
                Err(error) => return self.fail(&step, error),
            }
        }
        Ok(())
    }

    async fn wait_until_absent(&self, step: &str, collection: &str, id: &str) -> Result<(), Failed> {
        for _ in 0..BACKUP_VOLUME_LOOKS {
            self.interpreter.think().await;
            match self.longhorn.list(collection).await {
                Ok(items) if items.iter().all(|item| item.id() != id) => return Ok(()),
                Ok(_) => sleep(RETRY_INTERVAL).await,
                Err(error) => return self.fail(step, error),
            }
        }
        self.fail(step, format!("{collection} {id} is still listed after {BACKUP_VOLUME_LOOKS} looks"))
    }

    /// Deletes every system backup, ignoring errors, and waits until the list is empty.
    ///
    /// # Errors
    /// An assertion failed; it has been reported.
    pub async fn system_backups_cleanup(&self) -> Result<(), Failed> {
        let step = "system_backups_cleanup";
        let items = match self.longhorn.list("systembackups").await {
            Ok(items) => items,
            Err(error) => return self.fail(step, error),
        };
        for item in items {
            if let Err(error) = self.longhorn.delete("systembackups", item.id()).await {
                self.stage.step(&format!("delete system backup {}", item.id()), &error.to_string());
            }
        }
        for _ in 0..SYSTEM_BACKUP_LOOKS {
            match self.longhorn.list("systembackups").await {
                Ok(items) if items.is_empty() => return Ok(()),
                Ok(_) => sleep(RETRY_INTERVAL).await,
                Err(error) => return self.fail(step, error),
            }
        }
        self.fail(step, "system backups are still listed")
    }

    /// Lists Backups at the Kubernetes API and deletes them one by one.
    ///
    /// # Errors
    /// An assertion failed; it has been reported.
    pub async fn backup_cleanup(&self) -> Result<(), Failed> {
        let step = "backup_cleanup";
        self.interpreter.think().await;
        let listed = match self.backups.list(&ListParams::default()).await {
            Ok(listed) => listed.items,
            Err(error) => return self.fail(step, error),
        };
        self.stage.step("backup_cleanup: list", &format!("{} backups", listed.len()));
        let tolerant = !self.build.has(Defect::Issue10120);
        for backup in listed {
            let name = backup.metadata.name.clone().unwrap_or_default();
            self.interpreter.think().await;
            match self.backups.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() && tolerant => {
                    self.stage.step(&format!("delete backup {name}"), "not found, which this client takes for done");
                }
                Err(error) => return self.fail(step, error),
            }
        }
        Ok(())
    }
}
