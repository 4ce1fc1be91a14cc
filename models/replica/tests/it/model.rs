//! Random operations against a model in memory.

use std::collections::BTreeMap;

use longhorn_replica::format::{Directory, Options, RemoveAction, Replica, coalesce, prune};
use proptest::prelude::*;

use crate::support::simulated;

const SIZE: usize = 256 << 10;

#[derive(Clone, Debug)]
enum Step {
    Write { offset: usize, length: usize, value: u8 },
    Snapshot,
    Revert(prop::sample::Index),
    Remove(prop::sample::Index),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..SIZE, 1..40_000_usize, any::<u8>()).prop_map(|(offset, length, value)| {
            Step::Write { offset, length: length.min(SIZE - offset), value }
        }),
        2 => Just(Step::Snapshot),
        1 => any::<prop::sample::Index>().prop_map(Step::Revert),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        1 => Just(Step::Reopen),
    ]
}

/// Marks a snapshot and does what there is to do about it.
async fn purge(directory: &Directory, replica: &mut Replica, snapshot: &str) {
    replica.mark_removed(snapshot).await.expect("marked");
    for action in replica.prepare_remove(snapshot).expect("a plan") {
        match action {
            RemoveAction::Remove { source } => replica.remove_disk(&source, false).await.expect("removed"),
            RemoveAction::Coalesce { source, target } => {
                coalesce(directory, &target, &source, &mut |_| {}).await.expect("coalesced");
            }
            RemoveAction::Replace { source, target } => replica.replace_disk(&target, &source).await.expect("replaced"),
            RemoveAction::Prune { source, target } => {
                prune(directory, &target, &source, &mut |_| {}).await.expect("pruned")
            }
        }
    }
}

async fn life(steps: Vec<Step>) {
    let directory = Directory::new("/disk/r");
    let mut replica = Replica::open(&directory, SIZE as i64, Options::default()).await.expect("created");
    let mut head = vec![0; SIZE];
    let mut snapshots: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut removed = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Write { offset, length, value } => {
                let bytes = vec![value; length];
                replica.write_at(&bytes, offset as u64).await.expect("a write");
                head[offset..offset + length].copy_from_slice(&bytes);
            }
            Step::Snapshot => {
                let name = format!("s{number}");
                replica.snapshot(&name, true, "2026-11-20T17:29:19Z", None).await.expect("a snapshot");
                snapshots.insert(name, head.clone());
            }
            Step::Revert(index) if !snapshots.is_empty() => {
                let name = snapshots.keys().nth(index.index(snapshots.len())).expect("one of them").clone();
                let disk = format!("volume-snap-{name}.img");
                replica = replica.revert(&disk, "2026-11-20T17:29:19Z").await.expect("reverted");
                head.clone_from(&snapshots[&name]);
            }
            Step::Remove(index) if !snapshots.is_empty() => {
                let name = snapshots.keys().nth(index.index(snapshots.len())).expect("one of them").clone();
                purge(&directory, &mut replica, &name).await;
                snapshots.remove(&name);
                removed.push(name);
            }
            Step::Reopen => {
                replica.close().await.expect("closed");
                replica = Replica::open(&directory, 0, Options::default()).await.expect("opened");
            }
            Step::Revert(_) | Step::Remove(_) => {}
        }
        let mut content = vec![0; SIZE];
        replica.read_at(&mut content, 0).await.expect("readable");
        assert!(content == head, "the head after step {number}");
    }
    for (name, expected) in snapshots {
        let snapshot = Replica::open_snapshot(&directory, &name).await.expect("a snapshot");
        let mut content = vec![0; SIZE];
        snapshot.read_at(&mut content, 0).await.expect("readable");
        assert!(content == expected, "snapshot {name}; removed: {removed:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn content_is_as_in_the_model(steps in prop::collection::vec(step(), 1..25)) {
        simulated(move || life(steps));
    }
}
