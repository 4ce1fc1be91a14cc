//! **Damage**: two replicas of a volume, each of which is taken for a good one, hold different data: what is read depends on who answers.
//! **Promise**: all replicas that an engine holds in mode RW have equal content (safety statement S2); the same goes for those that it will hold so
//! when the volume is attached again: healthy once, and not failed since.
//! **Bound**: the settle phase: no client writes any more, rebuilds have ended.

use std::collections::BTreeMap;

use corral_disk::Disk;
use corral_world::{Oracle, Stage};
use serde_json::Value;

/// Pages are compared, of so many bytes.
const PAGE: usize = 4096;
/// A chain of snapshots has no more disks (`longhorn-engine`, 250 snapshots).
const LONGEST_CHAIN: usize = 300;

/// Good replicas of a volume have equal content.
pub struct GoodReplicasAgree;

impl Oracle for GoodReplicasAgree {
    fn name(&self) -> &'static str {
        "good-replicas-agree"
    }

    fn judge(&self, stage: &Stage) {
        let store = stage.cluster().store();
        let mut first_of: BTreeMap<String, (String, Content)> = BTreeMap::new();
        for replica in store.objects("replicas.longhorn.io").filter(|replica| !replica.is_deleting()) {
            let spec = &replica.value["spec"];
            let text = |key: &str| spec[key].as_str().unwrap_or_default();
            if text("healthyAt").is_empty() || !text("failedAt").is_empty() || text("dataEngine") == "v2" {
                continue;
            }
            let Some(disk) = Disk::find(stage.world(), &format!("{}:/", text("nodeID"))) else { continue };
            let folder = format!("{}/replicas/{}", text("diskPath").trim_end_matches('/'), text("dataDirectoryName"));
            let content = match read(&disk, &folder) {
                Ok(content) => content,
                Err(why) => {
                    let detail = format!("replica {} of volume {}: {why}", replica.name(), text("volumeName"));
                    stage.violation_as(self.name(), "a good replica cannot be read", &detail);
                    continue;
                }
            };
            let volume = text("volumeName").to_owned();
            match first_of.get(&volume) {
                None => drop(first_of.insert(volume, (replica.name().to_owned(), content))),
                Some((_, same)) if *same == content => {}
                Some((other, others)) => {
                    let differs = |page: &&u64| others.get(page) != content.get(page);
                    let page = others.keys().chain(content.keys()).filter(differs).min().copied().unwrap_or(0);
                    let names = format!("replicas {other} and {} of volume {volume}", replica.name());
                    let detail = format!("{names} differ, first in the page at {page}");
                    stage.violation_as(self.name(), "good replicas of a volume differ", &detail);
                }
            }
        }
    }
}

/// Pages with anything in them, by where they begin.
type Content = BTreeMap<u64, Vec<u8>>;

/// What a replica's chain of disks holds, the backing file below it aside.
fn read(disk: &Disk, folder: &str) -> Result<Content, String> {
    let json = |name: &str| {
        let path = format!("{folder}/{name}");
        let text = disk.contents(&path).map_err(|error| format!("{path}: {error}"))?;
        serde_json::from_slice::<Value>(&text).map_err(|error| format!("{path}: {error}"))
    };
    let mut chain = vec![json("volume.meta")?["Head"].as_str().unwrap_or_default().to_owned()];
    while let Some(above) = chain.last().filter(|above| !above.is_empty()) {
        let parent = json(&format!("{above}.meta"))?["Parent"].as_str().unwrap_or_default().to_owned();
        chain.push(parent);
        if chain.len() > LONGEST_CHAIN {
            return Err(format!("{folder}: its disks have no end"));
        }
    }
    let mut content = Content::new();
    for name in chain.iter().rev().filter(|name| !name.is_empty()) {
        let path = format!("{folder}/{name}");
        for (offset, data) in disk.data(&path).map_err(|error| format!("{path}: {error}"))? {
            for (number, page) in data.chunks(PAGE).enumerate() {
                content.insert(offset + (number * PAGE) as u64, page.to_vec());
            }
        }
    }
    content.retain(|_, page| page.iter().any(|byte| *byte != 0));
    Ok(content)
}
