//! Replacing a process by one of another program under the same name: how an engine is upgraded while it serves
//! (`ProcessReplace`).

use std::sync::Arc;
use std::time::Duration;

use host::process::Signal;
use host::time::sleep;
use longhorn_rpc::process_manager as wire;
use tonic::Status;

use super::Manager;
use super::one::Process;
use super::state;
use crate::status::plain;

/// How often, a second apart, the new process is looked at. After that the old one is ended all the same.
const LOOKS: u32 = 30;

impl Manager {
    /// Starts the new process beside the old one, waits for it to serve, ends the old one by SIGHUP and puts the new one in its place.
    ///
    /// # Errors
    /// No such process; another signal; the new program does not start; somebody else replaced the process in the meantime.
    pub async fn replace(&self, spec: wire::ProcessSpec, signal: &str) -> Result<wire::ProcessResponse, Status> {
        if spec.name.is_empty() || spec.binary.is_empty() {
            return Err(Status::invalid_argument("missing required argument"));
        }
        if signal != "SIGHUP" {
            return Err(Status::invalid_argument(format!("doesn't support terminate signal {signal}")));
        }
        let (old, new) = {
            let mut table = self.table();
            let missing = || Status::not_found(format!("existing process {} doesn't exists", spec.name));
            let old = table.processes.get(&spec.name).cloned().ok_or_else(missing)?;
            (old, table.make(spec)?)
        };
        if old.binary == new.binary {
            // The ports of the new one are not given back.
            return Ok(self.response(&old));
        }
        let name = new.name.clone();
        if new.start(&self.updates()).await.is_err() {
            self.drop_replacement(&new);
            return Err(plain(format!("failed to init replacement process {name}")));
        }
        if !comes_up(&new).await {
            self.drop_replacement(&new);
            return Err(plain(format!("failed to start replacement process {name}")));
        }
        old.stop(Signal::HangUp, &self.updates());
        self.put_in_place(&old, &new)?;
        self.tell(&new);
        Ok(self.response(&new))
    }

    fn put_in_place(&self, old: &Arc<Process>, new: &Arc<Process>) -> Result<(), Status> {
        let mut table = self.table();
        let replaced_meanwhile = table.processes.get(&old.name).is_some_and(|listed| listed.uuid != old.uuid);
        if replaced_meanwhile {
            drop(table);
            self.drop_replacement(new);
            return Err(Status::already_exists(format!("process {} to replace has changed in the meantime", new.name)));
        }
        if table.lists(old) {
            table.give_back_ports(old);
        }
        table.processes.insert(new.name.clone(), new.clone());
        Ok(())
    }

    fn drop_replacement(&self, new: &Arc<Process>) {
        new.stop(Signal::Interrupt, &self.updates());
        self.table().give_back_ports(new);
    }
}

/// Waits for it to leave its starting state; true too if it is still in it at the end.
async fn comes_up(new: &Process) -> bool {
    for _ in 0..LOOKS {
        match new.word() {
            state::RUNNING => return true,
            state::STARTING => sleep(Duration::from_secs(1)).await,
            _ => return false,
        }
    }
    true
}
