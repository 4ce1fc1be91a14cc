//! **Damage**: two replicas of a volume, each of which is taken for a good one, hold different data: what is read depends on who answers.
//! **Promise**: all replicas that an engine holds in mode RW have equal content (safety statement S2); the same goes for those that it will hold so
//! when the volume is attached again: healthy once, and not failed since.
//! **Bound**: the settle phase: no client writes any more, rebuilds have ended; and whenever the client has detached a volume that was healthy. What
//! it wrote and was never answered may be in one replica and not in the other: an engine that dies has told only some of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use corral_apiserver::Object;
use corral_core::journal::{Event, Record, content_hash};
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

    fn about(&self) -> &'static str {
        "replicas that are taken for good ones have equal content"
    }

    fn judge(&self, stage: &Stage) {
        self.compare(stage, "", &BTreeSet::new());
    }
}

impl GoodReplicasAgree {
    /// Compares the replicas of one volume, or (no name) of each, but for the pages that begin at these offsets.
    pub fn compare(&self, stage: &Stage, volume: &str, aside: &BTreeSet<u64>) {
        let store = stage.cluster().store();
        let mut first_of: BTreeMap<String, (String, Content)> = BTreeMap::new();
        for replica in store.objects("replicas.longhorn.io").filter(|replica| !replica.is_deleting()) {
            let spec = &replica.value["spec"];
            let text = |key: &str| spec[key].as_str().unwrap_or_default();
            let is_good = !text("healthyAt").is_empty() && text("failedAt").is_empty();
            if !is_good || text("dataEngine") == "v2" || !(volume.is_empty() || volume == text("volumeName")) {
                continue;
            }
            let Some((disk, folder)) = folder_of(stage, &replica) else { continue };
            let content = match chain(&disk, &folder).and_then(|chain| read(&disk, &folder, &chain)) {
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
                Some((other, others)) => {
                    let Some(page) = differences(others, &content).find(|page| !aside.contains(page)) else { continue };
                    let names = format!("replicas {other} and {} of volume {volume}", replica.name());
                    let detail = format!("{names} differ, first in the page at {page}");
                    stage.violation_as(self.name(), "good replicas of a volume differ", &detail);
                }
            }
        }
    }
}

/// A replica that was rebuilt is taken for a good one only when it has everything.
///
/// **Damage**: a replica that lacks data answers reads, and is what later rebuilds copy from. **Promise**: WO becomes RW only if the content equals
/// the source's (safety statement S3). **Bound**: none. What is written at that instant is in the heads, which are left to [`GoodReplicasAgree`];
/// what is compared is the newest snapshot that both have, and never changes.
#[derive(Default)]
pub struct PromotedReplicasAreWhole {
    /// The modes that engines were last seen to have their replicas in.
    modes: Mutex<BTreeMap<String, Modes>>,
}

impl Oracle for PromotedReplicasAreWhole {
    fn name(&self) -> &'static str {
        "promoted-replicas-are-whole"
    }

    fn about(&self) -> &'static str {
        "a rebuilt replica is taken for a good one only with all that the others have"
    }

    fn observe(&self, stage: &Stage, record: &Record<'_>) {
        let Event::ApiWrite { kind, namespace, name, .. } = &record.event else { return };
        if kind != "Engine" {
            return;
        }
        let Some(engine) = stage.cluster().store().object("engines.longhorn.io", namespace, name) else { return };
        let now = modes_of(&engine);
        let mut modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = modes.insert(name.to_string(), now.clone()).unwrap_or_default();
        // What is reported is observed too.
        drop(modes);
        let were = |wanted: &'static str| {
            let before = &before;
            let is_good = now.iter().filter(|(_, mode)| *mode == "RW").map(|(replica, _)| replica);
            is_good.filter(move |replica| before.get(*replica).is_some_and(|mode| mode == wanted))
        };
        for promoted in were("WO") {
            // One of those that it was copied from.
            let differ = were("RW").next().and_then(|source| snapshots_differ(stage, promoted, source));
            if let Some(detail) = differ {
                let detail = format!("engine {name} promoted replica {promoted}: {detail}");
                stage.violation_as(self.name(), "a replica is promoted without all that the others have", &detail);
            }
        }
    }
}

/// How two replicas differ at the newest snapshot that both have and that nobody removes, if they do.
fn snapshots_differ(stage: &Stage, one: &str, other: &str) -> Option<String> {
    let store = stage.cluster().store();
    let find = |name: &str| {
        let replica = store.objects("replicas.longhorn.io").find(|replica| replica.name() == name)?;
        folder_of(stage, &replica)
    };
    let ((disk, folder), (other_disk, other_folder)) = (find(one)?, find(other)?);
    let (chain, other_chain) = (chain(&disk, &folder).ok()?, self::chain(&other_disk, &other_folder).ok()?);
    let is_kept = |layer: &&Layer| !layer.removed && layer.name.starts_with("volume-snap-");
    let newest =
        chain.iter().filter(is_kept).find(|layer| other_chain.iter().filter(is_kept).any(|one| one == *layer))?;
    let below = |chain: &[Layer]| chain.iter().skip_while(|layer| *layer != newest).cloned().collect::<Vec<_>>();
    let content = read(&disk, &folder, &below(&chain)).ok()?;
    let others = read(&other_disk, &other_folder, &below(&other_chain)).ok()?;
    let page = differences(&content, &others).next()?;
    Some(format!("at {} it differs from {other}, first in the page at {page}", newest.name))
}

type Modes = BTreeMap<String, String>;

/// The modes that an engine has its replicas in, by their names.
fn modes_of(engine: &Object) -> Modes {
    let modes = engine.value["status"]["replicaModeMap"].as_object().into_iter().flatten();
    modes.map(|(replica, mode)| (replica.clone(), mode.as_str().unwrap_or_default().to_owned())).collect()
}

/// Where a replica's files are; none if its machine has no such disk.
fn folder_of(stage: &Stage, replica: &Object) -> Option<(Arc<Disk>, String)> {
    let text = |key: &str| replica.value["spec"][key].as_str().unwrap_or_default();
    let disk = Disk::find(stage.world(), &format!("{}:/", text("nodeID")))?;
    let folder = format!("{}/replicas/{}", text("diskPath").trim_end_matches('/'), text("dataDirectoryName"));
    Some((disk, folder))
}

/// A disk of a replica's chain: its head, or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layer {
    name: String,
    removed: bool,
}

/// A replica's chain, the head first.
fn chain(disk: &Disk, folder: &str) -> Result<Vec<Layer>, String> {
    let json = |name: &str| {
        let path = format!("{folder}/{name}");
        let text = disk.contents(&path).map_err(|error| format!("{path}: {error}"))?;
        serde_json::from_slice::<Value>(&text).map_err(|error| format!("{path}: {error}"))
    };
    let mut chain = Vec::new();
    let mut next = json("volume.meta")?["Head"].as_str().unwrap_or_default().to_owned();
    while !next.is_empty() {
        let meta = json(&format!("{next}.meta"))?;
        let parent = meta["Parent"].as_str().unwrap_or_default().to_owned();
        chain.push(Layer { name: std::mem::replace(&mut next, parent), removed: meta["Removed"] == true });
        if chain.len() > LONGEST_CHAIN {
            return Err(format!("{folder}: its disks have no end"));
        }
    }
    Ok(chain)
}

/// Hashes of a volume's pages; 0 for one of zeros, and those after the last are zeros too.
type Content = Vec<u64>;

/// What a replica's disks hold, the first on top, the backing file below them aside.
fn read(disk: &Disk, folder: &str, chain: &[Layer]) -> Result<Content, String> {
    let mut pages: Vec<Option<u64>> = Vec::new();
    for layer in chain {
        let path = format!("{folder}/{}", layer.name);
        let visited = disk.visit_pages(&path, |offset, page| {
            let number = offset as usize / PAGE;
            pages.resize(pages.len().max(number + 1), None);
            pages[number].get_or_insert_with(|| page.map_or(0, |bytes| content_hash(bytes)));
        });
        visited.map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(pages.into_iter().map(Option::unwrap_or_default).collect())
}

/// Where the pages begin in which two contents differ.
fn differences(one: &Content, other: &Content) -> impl Iterator<Item = u64> {
    let page = |content: &Content, number: usize| content.get(number).copied().unwrap_or_default();
    let differ = (0..one.len().max(other.len())).filter(move |number| page(one, *number) != page(other, *number));
    differ.map(|number| (number * PAGE) as u64)
}
