//! Directories that the real Longhorn wrote are read back; and our own, made by the same operations, are the same.

use std::collections::BTreeMap;

use host::fs;
use longhorn_replica::format::{Directory, Options, RemoveAction, Replica, coalesce, prune};

use crate::support::{Golden, VOLUME_BYTES, sha256, shape, simulated, whole};

const SYSTEM: &str = "4b6e475b-24c7-437f-be38-176de460b1f9";

async fn open(directory: &Directory) -> Replica {
    Replica::open(directory, 0, Options::default()).await.expect("it opens")
}

#[test]
fn directories_of_the_real_one_read_back() {
    simulated(|| async {
        let golden = Golden::read();
        let heads = [
            ("replica-a", "head", vec!["snap1", "snap2", "snap3", SYSTEM]),
            ("replica-a-live-dirty", "head", vec!["snap1", "snap2", "snap3"]),
            ("replica-rebuilt", "head", vec!["snap1", "snap2", "snap3", SYSTEM]),
            ("replica-purged", "head", vec!["snap1", "snap3"]),
            ("replica-reverted", "snap1", vec!["snap1", "snap2", "snap3"]),
            ("replica-restored-one", "snap1", vec![]),
            ("replica-restored-two-incremental", "snap3", vec![]),
        ];
        for (name, head, snapshots) in heads {
            let directory = golden.unpack(name).await;
            for snapshot in snapshots {
                let replica = Replica::open_snapshot(&directory, snapshot).await.expect("a snapshot");
                let expected = if snapshot == SYSTEM { "head" } else { snapshot };
                assert_eq!(sha256(&whole(&replica).await), golden.sum(expected), "{name} {snapshot}");
            }
            let before = shape(&directory).await;
            let replica = open(&directory).await;
            assert_eq!(sha256(&whole(&replica).await), golden.sum(head), "{name} head");
            replica.close().await.expect("it closes");
            let mut after = shape(&directory).await;
            let closed = before["volume.meta"].replace("\"Dirty\":true", "\"Dirty\":false");
            assert_eq!(after.insert("volume.meta".to_owned(), before["volume.meta"].clone()), Some(closed));
            assert_eq!(after, before, "{name}: opening, reading and closing changes nothing else");
        }
        let replica = open(&golden.unpack("replica-expanded").await).await;
        let content = whole(&replica).await;
        assert_eq!(content.len(), 2 * VOLUME_BYTES);
        assert_eq!(sha256(&content[..VOLUME_BYTES]), golden.sum("head"));
        assert!(content[VOLUME_BYTES..].iter().all(|byte| *byte == 0));
    });
}

/// Writes what a disk of the real replica holds, in one write a range of blocks.
async fn write(replica: &Replica, golden: &Golden, image: &str) {
    let images = golden.images("replica-a-live-dirty");
    let (name, _, ranges) = images.iter().find(|(name, ..)| name == image).expect("such a disk");
    for (first, last) in ranges {
        let content: Vec<u8> =
            (*first..=*last).flat_map(|block| golden.block(name, "replica-a", block).to_vec()).collect();
        replica.write_at(&content, first * 4096).await.expect("a write");
    }
}

/// What the real one's directory looks like, to be compared with [`shape`]. Checksums are left out: nobody asked for any.
fn recorded(golden: &Golden, name: &str) -> BTreeMap<String, String> {
    let prefix = format!("{name}/");
    let mut shape = BTreeMap::new();
    for (path, content) in &golden.files {
        let Some(file) = path.strip_prefix(&prefix).filter(|file| !file.ends_with(".checksum")) else { continue };
        if file != "images" {
            shape.insert(file.to_owned(), String::from_utf8(content.clone()).expect("text"));
        }
    }
    for (image, size, ranges) in golden.images(name) {
        let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        shape.insert(image, format!("{size} {}", ranges.join(" ")));
    }
    shape
}

/// Without the number of writes, which the record does not tell one by one.
async fn compare(directory: &Directory, golden: &Golden, name: &str) {
    let (mut ours, mut theirs) = (shape(directory).await, recorded(golden, name));
    for shape in [&mut ours, &mut theirs] {
        let counter = shape.remove("revision.counter").expect("a revision counter");
        assert_eq!(counter.len(), 4096);
        assert!(counter.trim_end_matches('\0').parse::<u32>().is_ok(), "{counter:?}");
        for text in shape.values_mut() {
            // The expansion's time is its own.
            *text = text.replace("2026-11-20T17:31:36Z", "now").replace(&longhorn_replica::format::now(), "now");
        }
    }
    assert_eq!(ours, theirs, "{name}");
}

/// The volume's life as it was recorded, up to the clean stop.
async fn live(golden: &Golden, directory: &Directory) -> Replica {
    let options = Options::default();
    Replica::open(directory, VOLUME_BYTES as i64, options).await.expect("created").close().await.expect("closed");
    let mut replica = open(directory).await;
    let labels = BTreeMap::from([("purpose", "golden"), ("stage", "1")]);
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    write(&replica, golden, "volume-snap-snap1.img").await;
    replica.snapshot("snap1", true, "2026-11-20T17:29:19Z", Some(labels)).await.expect("a snapshot");
    write(&replica, golden, "volume-snap-snap2.img").await;
    replica.snapshot("snap2", true, "2026-11-20T17:29:19Z", None).await.expect("a snapshot");
    write(&replica, golden, "volume-snap-snap3.img").await;
    replica.snapshot("snap3", true, "2026-11-20T17:29:20Z", None).await.expect("a snapshot");
    write(&replica, golden, "volume-head-003.img").await;
    replica
}

#[test]
fn the_same_operations_leave_the_same_files() {
    simulated(|| async {
        let golden = Golden::read();
        let directory = Directory::new("/disk/ours");
        let mut replica = live(&golden, &directory).await;
        compare(&directory, &golden, "replica-a-live-dirty").await;
        replica.snapshot(SYSTEM, false, "2026-11-20T17:30:05Z", None).await.expect("a snapshot");
        replica.close().await.expect("closed");
        compare(&directory, &golden, "replica-a").await;

        let mut replica = open(&directory).await;
        replica.expand(2 * VOLUME_BYTES as i64).await.expect("expanded");
        assert_eq!(sha256(&whole(&replica).await[..VOLUME_BYTES]), golden.sum("head"));
        replica.close().await.expect("closed");
        compare(&directory, &golden, "replica-expanded").await;
    });
}

#[test]
fn reverting_leaves_the_same_files() {
    simulated(|| async {
        let golden = Golden::read();
        let directory = golden.unpack("replica-a").await;
        let replica = open(&directory).await;
        let replica = replica.revert("volume-snap-snap1.img", "2026-11-20T17:31:43Z").await.expect("reverted");
        assert_eq!(sha256(&whole(&replica).await), golden.sum("snap1"));
        replica.close().await.expect("closed");
        for (name, text) in shape(&directory).await {
            if name.ends_with(".checksum") {
                fs::remove_file(&directory.path(&name)).await.expect("removed");
                assert_eq!(text, golden.text("replica-reverted", &name));
            }
        }
        compare(&directory, &golden, "replica-reverted").await;
    });
}

#[test]
fn purging_leaves_the_same_files() {
    simulated(|| async {
        let golden = Golden::read();
        let directory = golden.unpack("replica-a").await;
        let mut replica = open(&directory).await;
        replica.mark_removed("snap2").await.expect("marked");
        replica.mark_removed(SYSTEM).await.expect("marked");
        let actions = replica.prepare_remove("snap2").expect("a plan");
        let [RemoveAction::Coalesce { source, target }, RemoveAction::Replace { .. }] = actions.as_slice() else {
            panic!("{actions:?}")
        };
        let mut told = Vec::new();
        coalesce(&directory, target, source, &mut |percent| told.push(percent)).await.expect("coalesced");
        assert_eq!(told.last(), Some(&100));
        replica.replace_disk(target, source).await.expect("replaced");
        let actions = replica.prepare_remove(SYSTEM).expect("a plan");
        let [RemoveAction::Prune { source, target }] = actions.as_slice() else { panic!("{actions:?}") };
        prune(&directory, target, source, &mut |_| {}).await.expect("pruned");
        assert_eq!(sha256(&whole(&replica).await), golden.sum("head"));
        replica.close().await.expect("closed");
        let snapshot = Replica::open_snapshot(&directory, "snap3").await.expect("a snapshot");
        assert_eq!(sha256(&whole(&snapshot).await), golden.sum("snap3"));
        for name in directory.names().await.expect("names") {
            if name.ends_with(".checksum") {
                fs::remove_file(&directory.path(&name)).await.expect("removed");
            }
        }
        compare(&directory, &golden, "replica-purged").await;
    });
}

#[test]
fn an_open_replica_tells_what_the_real_one_told() {
    simulated(|| async {
        let golden = Golden::read();
        let told: serde_json::Value = serde_json::from_slice(&golden.files["replica-get-open.json"]).expect("JSON");
        let replica = open(&golden.unpack("replica-a-live-dirty").await).await;
        let chain = serde_json::to_value(replica.displayed_chain().expect("a chain")).expect("JSON");
        assert_eq!(chain, told["chain"]);
        assert_eq!(replica.remaining_snapshots(), told["remainsnapshots"]);
        assert_eq!(replica.revision().await.to_string(), told["revisioncounter"]);
        assert_eq!(replica.snapshot_counts(), (3, 4));
        assert_eq!(replica.snapshot_bytes().await, told["snapshotSizeUsage"]);
        assert_eq!(replica.head_status().await.1, told["headfilesize"]);
        let disks = told["disks"].as_object().expect("disks");
        let ours = replica.list_disks().await;
        assert_eq!(ours.len(), disks.len());
        for disk in ours {
            let theirs = &disks[&disk.name];
            let children = disk.children.iter().map(|child| (child.clone(), true)).collect::<BTreeMap<_, _>>();
            let children = if children.is_empty() {
                serde_json::Value::Null
            } else {
                serde_json::to_value(children).expect("JSON")
            };
            assert_eq!(
                (&children, disk.parent.as_str()),
                (&theirs["children"], theirs["parent"].as_str().expect("a name"))
            );
            assert_eq!(disk.size_bytes.to_string(), theirs["size"]);
            assert_eq!((disk.user_created, disk.removed), (theirs["usercreated"] == true, theirs["removed"] == true));
            assert_eq!(serde_json::to_value(&disk.labels).expect("JSON"), theirs["labels"]);
            assert_eq!(disk.created, theirs["created"]);
        }
    });
}
