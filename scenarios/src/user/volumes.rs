//! What the client does with volumes, and with the devices of those that are attached to its machine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corral_core::random::Stream;
use corral_kube_client::{DeleteParams, Patch, PatchParams};
use corral_world::{Oracle, Stage};
use host::time::{Instant, sleep};
use longhorn_api::{Volume, VolumeAttachment};
use longhorn_engine::{BlockDevice, Device};
use serde_json::{Value, json};

use super::contents::{Contents, PIECE_BYTES, PLACES, offset};
use super::{Failed, User};
use crate::clients::pod::MACHINE;
use crate::oracles::{AcknowledgedWritesAreReadable, GoodReplicasAgree, RestoredVolumesHoldTheirData};
use crate::steps::Engine;

/// Size of every volume: room for 32 blocks of a backup.
const VOLUME_BYTES: u64 = 64 << 20;
/// The client's ticket for its volumes.
const TICKET: &str = "test-client";
/// Between two accesses to a volume.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long it waits for a device that is not there.
const DEVICE_INTERVAL: Duration = Duration::from_secs(1);

/// The volume is as it was backed up, if it was, and nobody uses it.
fn is_restored(volume: &Volume) -> bool {
    let (spec, status) = (&volume.spec, &volume.status);
    let is_filled = spec.from_backup.is_empty() || (status.restore_initiated && !status.restore_required);
    is_filled && status.state.as_str() == "detached"
}

impl User {
    async fn wait_for_volume(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&Volume) -> bool + Sync + Send,
    ) -> Result<(), Failed> {
        let volumes = self.api::<Volume>();
        let look = || async { volumes.get(name).await.is_ok_and(|volume| is_so(&volume)) };
        self.wait_until(&format!("volume {name} is {what}"), look).await
    }

    async fn wait_for_state(&self, name: &str, state: &str) -> Result<(), Failed> {
        self.wait_for_volume(name, state, |volume| volume.status.state.as_str() == state).await
    }

    pub(super) async fn create_volume(
        &self,
        name: &str,
        replicas: u32,
        engine: Engine,
        image: &str,
    ) -> Result<(), Failed> {
        let spec = json!({ "numberOfReplicas": replicas, "dataEngine": engine, "backingImage": image });
        self.create_volume_of(name, spec).await?;
        self.wait_for_state(name, "detached").await
    }

    /// Creates a volume of which this is known beside its size and frontend.
    pub(super) async fn create_volume_of(&self, name: &str, mut spec: Value) -> Result<(), Failed> {
        let mut volume = Volume::default();
        volume.metadata.name = Some(name.to_owned());
        spec["size"] = VOLUME_BYTES.to_string().into();
        spec["frontend"] = "blockdev".into();
        volume.spec = serde_json::from_value(spec).expect("a spec of ours");
        let volumes = self.api::<Volume>();
        let created = || async { volumes.create(&volume).await.is_ok() || volumes.get(name).await.is_ok() };
        self.wait_until(&format!("volume {name} exists"), created).await
    }

    pub(super) async fn attach_volume(&mut self, name: &str, machine: &str) -> Result<(), Failed> {
        let ticket = json!({ "id": TICKET, "type": "longhorn-api", "nodeID": machine, "parameters": { "disableFrontend": "false" } });
        self.change_ticket(name, "to be attached", ticket).await?;
        self.wait_for_state(name, "attached").await?;
        self.volume(name).is_attached = true;
        Ok(())
    }

    pub(super) async fn detach_volume(&mut self, name: &str) -> Result<(), Failed> {
        self.volume(name).is_attached = false;
        self.change_ticket(name, "to be detached", Value::Null).await?;
        self.wait_for_state(name, "detached").await?;
        let in_doubt = self.volume(name).contents.in_doubt();
        GoodReplicasAgree.compare(&self.stage, name, &in_doubt);
        Ok(())
    }

    pub(super) async fn await_healthy(&self, name: &str) -> Result<(), Failed> {
        self.wait_for_volume(name, "healthy", |volume| volume.status.robustness.as_str() == "healthy").await
    }

    async fn change_ticket(&self, name: &str, what: &str, ticket: Value) -> Result<(), Failed> {
        let change = Patch::Merge(json!({ "spec": { "attachmentTickets": { TICKET: ticket } } }));
        let attachments = self.api::<VolumeAttachment>();
        let asked = || async { attachments.patch(name, &PatchParams::default(), &change).await.is_ok() };
        self.wait_until(&format!("volume {name} is {what}"), asked).await
    }

    pub(super) async fn delete_volume(&mut self, name: &str) -> Result<(), Failed> {
        self.volume(name).is_attached = false;
        let volumes = self.api::<Volume>();
        let is_gone = || async { volumes.get(name).await.is_err_and(|error| error.is_not_found()) };
        let asked = || async { volumes.delete(name, &DeleteParams::default()).await.is_ok() || is_gone().await };
        self.wait_until(&format!("volume {name} is to be deleted"), asked).await?;
        self.wait_until(&format!("volume {name} is gone"), is_gone).await?;
        self.volume(name).is_another = true;
        Ok(())
    }

    pub(super) async fn write_volume(&mut self, name: &str, blocks: u32) -> Result<(), Failed> {
        let mut contents = self.volume(name).contents.clone();
        let pieces: Vec<(u32, u64, Bytes)> = (0..blocks)
            .map(|place| contents.begin(place))
            .enumerate()
            .map(|(place, (number, piece))| (place as u32, number, piece))
            .collect();
        let wrote = || async {
            let Ok(device) = Device::open(name).await else { return false };
            for (place, _, piece) in &pieces {
                if device.write_at(offset(*place), piece.clone()).await.is_err() {
                    return false;
                }
            }
            true
        };
        self.wait_until(&format!("{blocks} blocks of {name} are written"), wrote).await?;
        pieces.iter().for_each(|(place, number, _)| contents.acknowledge(*place, *number));
        self.volume(name).contents = contents;
        Ok(())
    }

    /// Reads and writes all attached volumes at once, a random place after the other. A device that fails is tried again until it is back.
    pub(super) async fn use_volumes(&mut self, lasts: Duration) -> Result<(), Failed> {
        let until = Instant::now() + lasts;
        let attached = self.volumes.iter().filter(|(_, known)| known.is_attached);
        let names: Vec<String> = attached.map(|(name, _)| name.clone()).collect();
        let mut uses = Vec::new();
        for name in names {
            let use_of = UseOf {
                stage: self.stage.clone(),
                random: self.stage.stream(&format!("use/{name}")),
                contents: self.volume(&name).contents.clone(),
                name: name.clone(),
                accesses: 0,
                failures: 0,
            };
            uses.push((name, host::spawn(use_of.run(until))));
        }
        for (name, work) in uses {
            self.volume(&name).contents = work.await.expect("it ends by itself");
        }
        Ok(())
    }

    /// Reads what was written. A restored volume comes back detached; if it is restored from a backup, it is attached by Longhorn first.
    pub(super) async fn check_volume(&mut self, name: &str) -> Result<(), Failed> {
        if !self.volume(name).is_attached {
            self.wait_for_volume(name, "restored", is_restored).await?;
            // It may be so before Longhorn has looked at the new volume for the first time; then it is attached by both.
            self.attach_volume(name, MACHINE).await?;
        }
        let (contents, is_another) = (self.volume(name).contents.clone(), self.volume(name).is_another);
        let (mut wrong, places) = (Vec::new(), contents.written());
        for place in &places {
            let read = || async {
                let device = Device::open(name).await.ok()?;
                device.read_at(offset(*place), PIECE_BYTES as u32).await.ok()
            };
            let found = self.wait_for(&format!("place {place} of {name} can be read"), read).await?;
            wrong.extend(contents.judge(*place, &found).err());
        }
        let Some(first) = wrong.first() else { return Ok(()) };
        let (oracle, signature) = match is_another {
            true => (RestoredVolumesHoldTheirData.name(), "a restored volume is without its data".to_owned()),
            false => (AcknowledgedWritesAreReadable.name(), first.to_string()),
        };
        let detail =
            format!("volume {name}: {} of {} places are not as they were written: {first}", wrong.len(), places.len());
        self.stage.violation_as(oracle, &signature, &detail);
        Ok(())
    }
}

/// Somebody who uses a volume.
struct UseOf {
    stage: Arc<Stage>,
    random: Stream,
    contents: Contents,
    name: String,
    accesses: u64,
    failures: u64,
}

impl UseOf {
    async fn run(mut self, until: Instant) -> Contents {
        let mut device = None;
        while Instant::now() < until {
            sleep(self.random.duration(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
            let open = match device.take() {
                Some(open) => open,
                None => match Device::open(&self.name).await {
                    Ok(open) => open,
                    Err(_) => {
                        sleep(DEVICE_INTERVAL).await;
                        continue;
                    }
                },
            };
            self.accesses += 1;
            match self.access(&open).await {
                Ok(()) => device = Some(open),
                Err(_) => self.failures += 1,
            }
        }
        let outcome = format!("{} accesses, {} failed", self.accesses, self.failures);
        self.stage.step(&format!("volume {} was used", self.name), &outcome);
        self.contents
    }

    /// One access; a write that fails may have been done all the same.
    async fn access(&mut self, device: &Device) -> std::io::Result<()> {
        let place = self.random.below(PLACES.into()) as u32;
        if self.random.chance(2, 3) {
            let (number, piece) = self.contents.begin(place);
            device.write_at(offset(place), piece).await?;
            self.contents.acknowledge(place, number);
        } else {
            let found = device.read_at(offset(place), PIECE_BYTES as u32).await?;
            if let Err(wrong) = self.contents.judge(place, &found) {
                let detail = format!("volume {}, place {place}: {wrong}", self.name);
                self.stage.violation_as(AcknowledgedWritesAreReadable.name(), &wrong.to_string(), &detail);
            }
        }
        Ok(())
    }
}
