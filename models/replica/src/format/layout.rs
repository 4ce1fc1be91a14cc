//! What of a replica holds data: for backups and for copies of a whole volume.

use crate::error::{Error, Result};
use crate::format::SECTOR_BYTES;
use crate::format::names::snapshot_disk;
use crate::format::open::Replica;

/// A stretch of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

impl Replica {
    /// Whether a snapshot is in the chain that was opened.
    pub fn has_snapshot(&self, snapshot: &str) -> bool {
        self.layer_number(&snapshot_disk(snapshot)).is_some()
    }

    /// The blocks in which any layer newer than `older`, up to this snapshot, has data. Without `older` all layers above
    /// the backing file count (CompareSnapshot in pkg/replica/backup.go).
    ///
    /// # Errors
    /// A snapshot is not in the chain, or a layer cannot be asked.
    pub async fn compare(&self, snapshot: &str, older: Option<&str>, block_bytes: u64) -> Result<Vec<Stretch>> {
        let number = |snapshot: &str| {
            let disk = snapshot_disk(snapshot);
            let number = self.layer_number(&disk);
            number.ok_or_else(|| Error::Refused(format!("failed to find snapshot {disk} in chain")))
        };
        let newest = number(snapshot)?;
        let oldest = match older {
            Some(older) => number(older)?,
            None => usize::from(self.options.backing.is_some()),
        };
        self.layers.preload(0, self.options.backing.is_some()).await?;
        let mut blocks: Vec<Stretch> = Vec::new();
        for (sector, location) in self.layers.locations().enumerate() {
            let location = usize::from(location);
            if location <= oldest || location > newest {
                continue;
            }
            let offset = sector as u64 * SECTOR_BYTES / block_bytes * block_bytes;
            if blocks.last().is_none_or(|block| block.offset != offset) {
                blocks.push(Stretch { offset, length: block_bytes });
            }
        }
        Ok(blocks)
    }

    /// The stretches that hold data, those of the backing file included if asked for.
    ///
    /// # Errors
    /// A layer cannot be asked.
    pub async fn data(&self, with_backing: bool) -> Result<Vec<Stretch>> {
        let has_backing = self.options.backing.is_some();
        self.layers.preload(u8::from(with_backing && has_backing), has_backing).await?;
        let mut stretches: Vec<Stretch> = Vec::new();
        for (sector, location) in self.layers.locations().enumerate() {
            let offset = sector as u64 * SECTOR_BYTES;
            if location == 0 {
                continue;
            }
            let length = SECTOR_BYTES.min(self.layers.size() - offset);
            match stretches.last_mut() {
                Some(last) if last.offset + last.length == offset => last.length += length,
                _ => stretches.push(Stretch { offset, length }),
            }
        }
        Ok(stretches)
    }
}
