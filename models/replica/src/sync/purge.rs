//! Purging: what is marked as removed, or was not made by a user, is merged away (`purgeSnapshots` upstream).

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::format::names::{self, HEAD};
use crate::format::{DiskInfo, RemoveAction, coalesce, prune};
use crate::sync::agent::{Agent, Progress, TaskStatus, lock};

/// A snapshot, or the head, by its name without what belongs to files.
struct Node {
    parent: String,
    children: BTreeSet<String>,
    removed: bool,
    user_created: bool,
}

fn node_name(disk: &str) -> Result<String> {
    if names::is_head(disk) {
        return Ok(HEAD.to_owned());
    }
    let snapshot = names::snapshot_of(disk);
    snapshot.map(str::to_owned).ok_or_else(|| Error::Refused(format!("invalid snapshot disk name {disk}")))
}

fn node(disk: &DiskInfo) -> Result<Node> {
    Ok(Node {
        parent: if disk.parent.is_empty() { String::new() } else { node_name(&disk.parent)? },
        children: disk.children.iter().map(|child| node_name(child)).collect::<Result<_>>()?,
        removed: disk.removed,
        user_created: disk.user_created,
    })
}

impl Agent {
    /// Begins a purge.
    pub(crate) async fn start_purge(&self) -> std::result::Result<(), String> {
        let mut running = self.0.running.write().await;
        if running.purging {
            return Err("replica is already purging snapshots".to_owned());
        }
        running.purging = true;
        *lock(&self.0.statuses.purge) = TaskStatus { state: Progress::Running, ..TaskStatus::default() };
        drop(running);
        let agent = self.clone();
        host::spawn(async move {
            let error = agent.purge().await.err();
            if let Some(error) = &error {
                tracing::warn!(%error, "failed to purge snapshots");
            }
            lock(&agent.0.statuses.purge).finish(error.map(|error| error.to_string()));
            agent.0.running.write().await.purging = false;
        });
        Ok(())
    }

    /// All disks but the backing file, and how many are marked.
    async fn nodes(&self) -> Result<(BTreeMap<String, Node>, u64)> {
        let replica = self.0.server.replica().await;
        let Some(replica) = replica.as_ref() else { return Ok((BTreeMap::new(), 0)) };
        let backing = replica.info().backing_file_path;
        let mut nodes = BTreeMap::new();
        for disk in replica.list_disks().await {
            if disk.name != backing {
                nodes.insert(node_name(&disk.name)?, node(&disk)?);
            }
        }
        let marked = nodes.values().filter(|node| node.removed).count();
        Ok((nodes, marked as u64))
    }

    async fn purge(&self) -> Result<()> {
        let (nodes, _) = self.nodes().await?;
        let mut leaves: Vec<String> =
            nodes.iter().filter(|(_, node)| node.children.is_empty()).map(|(name, _)| name.clone()).collect();
        // Upstream walks a map.
        host::random::stream("purge").shuffle(&mut leaves);
        for (name, node) in &nodes {
            if name != HEAD && !node.user_created && !node.removed {
                self.0.server.mark_removed(name).await?;
            }
        }
        let (mut nodes, marked) = self.nodes().await?;
        lock(&self.0.statuses.purge).total = marked;
        let mut behind_head: Option<String> = None;
        for leaf in leaves {
            let mut current = leaf;
            while let Some(node) = nodes.get(&current) {
                if node.removed {
                    // The one directly behind the head comes last.
                    if behind_head.is_none() && node.children.contains(HEAD) {
                        behind_head = Some(current.clone());
                    } else {
                        self.remove_snapshot(&current).await?;
                        lock(&self.0.statuses.purge).done += 1;
                    }
                }
                current.clone_from(&node.parent);
            }
            let (left, marked) = self.nodes().await?;
            nodes = left;
            let mut status = lock(&self.0.statuses.purge);
            status.total = marked + status.done;
            status.advance(0);
        }
        if let Some(snapshot) = behind_head {
            self.remove_snapshot(&snapshot).await?;
        }
        Ok(())
    }

    async fn remove_snapshot(&self, snapshot: &str) -> Result<()> {
        let status = &self.0.statuses.purge;
        let mut progress = |percent: u32| {
            let mut status = lock(status);
            let total = status.total.max(1) as f32;
            status.percent = ((status.done as f32 / total + percent as f32 / (total * 100.0)) * 100.0) as i32;
        };
        for action in self.0.server.prepare_remove(snapshot).await? {
            match action {
                RemoveAction::Coalesce { source, target } => {
                    coalesce(self.directory(), &target, &source, &mut progress).await?;
                }
                RemoveAction::Remove { source } => self.0.server.remove_disk(&source, false).await?,
                RemoveAction::Replace { source, target } => self.0.server.replace_disk(&target, &source).await?,
                RemoveAction::Prune { source, target } => {
                    prune(self.directory(), &target, &source, &mut progress).await?;
                }
            }
        }
        Ok(())
    }
}
