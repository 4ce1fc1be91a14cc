//! Reading, writing and unmapping.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::SECTOR_BYTES;
use crate::format::open::Replica;

impl Replica {
    /// Reads a range of the volume.
    ///
    /// # Errors
    /// The range is not within the volume, or a layer cannot be read.
    pub async fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.layers.read(buffer, offset).await
    }

    /// Writes a range of the volume, and counts it. A failure comes with the number of bytes written before it.
    ///
    /// # Errors
    /// The replica is read-only, the range is not within the volume, or the head cannot be written.
    pub async fn write_at(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), (usize, Error)> {
        if self.read_only {
            return Err((0, Error::refused("cannot write on read-only replica")));
        }
        self.dirty.store(true, Ordering::Relaxed);
        let Some(revision) = &self.revision else { return self.write_layers(bytes, offset).await };
        // The counter is written at the same time, before anybody knows whether the data can be.
        let (written, counted) = tokio::join!(self.write_layers(bytes, offset), revision.increment());
        written?;
        counted.map_err(|error| (bytes.len(), error))
    }

    async fn write_layers(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), (usize, Error)> {
        self.layers.write(bytes, offset).await?;
        match self.directory.is_synced() {
            true => self.layers.sync().await.map_err(|error| (0, error)),
            false => Ok(()),
        }
    }

    /// Frees whole sectors of a range in the head, and in the removed snapshots behind it. Returns the bytes freed.
    ///
    /// What the map says stays as it is: the range reads as zeros from the layer that had it, until the replica is opened
    /// again and an older layer shows through (UnmapAt in pkg/replica/diff_disk.go).
    ///
    /// # Errors
    /// The replica is read-only, or a file cannot be changed.
    pub async fn unmap_at(&mut self, length: u32, offset: u64) -> Result<u64> {
        if self.read_only {
            return Err(Error::refused("can not unmap on read-only replica"));
        }
        let disks = self.unmappable().await?;
        *self.dirty.get_mut() = true;
        let freed = self.punch(disks, u64::from(length), offset).await?;
        if let Some(revision) = &self.revision {
            revision.increment().await?;
        }
        Ok(freed)
    }

    /// The head, and the removed disks that follow it without a branch.
    async fn unmappable(&mut self) -> Result<usize> {
        let lowest = if self.options.backing.is_some() { 2 } else { 1 };
        let mut count = 1;
        for number in (lowest..self.active.len()).rev() {
            let name = self.active[number - 1].clone();
            if self.children.get(&name).is_some_and(|children| children.len() > 1) {
                break;
            }
            if self.options.unmap_mark_disk_chain_removed {
                self.store_removed(&name).await.map_err(|error| {
                    Error::Refused(format!("failed to mark snapshot disk {name} as removed before unmap: {error}"))
                })?;
            }
            if self.disks.get(&name).is_some_and(|disk| disk.removed) {
                count += 1;
            }
        }
        Ok(count)
    }

    /// Upstream goes down from the head as many layers as there are unmappable disks, whichever they are.
    async fn punch(&self, disks: usize, length: u64, offset: u64) -> Result<u64> {
        let begin = offset.next_multiple_of(SECTOR_BYTES);
        let end = offset.saturating_add(length) / SECTOR_BYTES * SECTOR_BYTES;
        if length < SECTOR_BYTES || begin >= end {
            return Ok(0);
        }
        let mut freed = 0;
        for number in (1..=self.layers.len()).rev().take(disks) {
            let layer = self.layers.layer(number);
            let end = end.min(layer.size);
            if begin >= end {
                continue;
            }
            let before = self.directory.allocated_bytes(&layer.path).await;
            let punched = layer.file.punch_hole(begin, end - begin).await;
            punched.map_err(|error| Error::file("fallocate", &layer.path, &error))?;
            let after = self.directory.allocated_bytes(&layer.path).await;
            freed += u64::try_from(before - after).unwrap_or(0);
        }
        Ok(freed)
    }
}
