//! The layers of a live chain, and where each sector's newest data lies (pkg/replica/diff_disk.go).
//!
//! Layers are numbered from 1, the oldest (the backing file if there is one), to the head. For each sector the map has the
//! number of the layer that holds it, or 0 as long as nobody asked. The oldest layer is never asked: what no other layer
//! has is read from it, be it a hole.

use std::sync::atomic::{AtomicU8, Ordering};

use host::fs::File;

use crate::error::{Error, Result};
use crate::format::SECTOR_BYTES;

/// How many sectors are looked up at once when one is not known: one question to the file system instead of many.
const LOOKUP_SECTORS: u64 = 256;

/// A file of the chain.
#[derive(Debug)]
pub(crate) struct Layer {
    pub file: File,
    pub path: String,
    /// Its apparent size: layers from before an expansion are shorter than the volume.
    pub size: u64,
}

impl Layer {
    pub async fn new(file: File, path: String) -> Result<Layer> {
        let metadata = file.metadata().await.map_err(|error| Error::file("stat", &path, &error))?;
        Ok(Layer { file, path, size: metadata.len })
    }
}

/// The chain's files and the map.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// Oldest first; the layer of number n stands at n - 1.
    files: Vec<Layer>,
    location: Vec<AtomicU8>,
    size: u64,
    /// Held while a sector is read, changed and written.
    read_modify_write: tokio::sync::Mutex<()>,
}

impl Layers {
    pub fn new(size: u64) -> Layers {
        let mut layers = Layers::default();
        layers.expand(size);
        layers
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn expand(&mut self, size: u64) {
        self.location.resize_with(size.div_ceil(SECTOR_BYTES) as usize, AtomicU8::default);
        self.size = size;
    }

    pub fn push(&mut self, layer: Layer) {
        self.files.push(layer);
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// The layer of this number.
    pub fn layer(&self, number: usize) -> &Layer {
        &self.files[number - 1]
    }

    pub fn replace(&mut self, number: usize, layer: Layer) {
        self.files[number - 1] = layer;
    }

    /// Takes a layer out; where it held the newest data is unknown again.
    pub fn remove(&mut self, number: usize) {
        self.files.remove(number - 1);
        for location in &mut self.location {
            let value = usize::from(*location.get_mut());
            if value >= number {
                *location.get_mut() = if value == number { 0 } else { value as u8 - 1 };
            }
        }
    }

    /// The number of the layer to read a sector from.
    async fn locate(&self, sector: u64) -> Result<u8> {
        let known = self.location[sector as usize].load(Ordering::Relaxed);
        if known != 0 {
            return Ok(known);
        }
        let first = sector / LOOKUP_SECTORS * LOOKUP_SECTORS;
        let last = (first + LOOKUP_SECTORS).min(self.location.len() as u64);
        for number in (2..=self.files.len()).rev() {
            self.note(number, first, last - first, false).await?;
        }
        for location in &self.location[first as usize..last as usize] {
            let _ = location.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(self.location[sector as usize].load(Ordering::Relaxed))
    }

    /// Notes where in a range of sectors a layer has data: everywhere, or where nothing newer is known.
    async fn note(&self, number: usize, first: u64, count: u64, everywhere: bool) -> Result<()> {
        let layer = self.layer(number);
        let extents = layer.file.extents_in(first * SECTOR_BYTES, count * SECTOR_BYTES).await;
        for extent in extents.map_err(|error| Error::file("fiemap", &layer.path, &error))? {
            let begin = (extent.offset / SECTOR_BYTES).max(first);
            let end = (extent.offset + extent.len).div_ceil(SECTOR_BYTES).min(first + count);
            for location in &self.location[begin as usize..end.max(begin) as usize] {
                if everywhere {
                    location.store(number as u8, Ordering::Relaxed);
                } else {
                    let _ = location.compare_exchange(0, number as u8, Ordering::Relaxed, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// Fills the map anew: `below` where no layer above the backing file has data, the newest layer that has it elsewhere.
    pub async fn preload(&self, below: u8, has_backing: bool) -> Result<()> {
        for location in &self.location {
            location.store(below, Ordering::Relaxed);
        }
        for number in (if has_backing { 2 } else { 1 })..=self.files.len() {
            self.note(number, 0, self.location.len() as u64, true).await?;
        }
        Ok(())
    }

    /// The map as it is.
    pub fn locations(&self) -> impl Iterator<Item = u8> {
        self.location.iter().map(|location| location.load(Ordering::Relaxed))
    }

    /// Reads a range of the volume.
    pub async fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(Error::UnexpectedEof);
        }
        let aligned = offset.is_multiple_of(SECTOR_BYTES) && (buffer.len() as u64).is_multiple_of(SECTOR_BYTES);
        if aligned {
            return self.read_sectors(buffer, offset).await;
        }
        let first = offset / SECTOR_BYTES * SECTOR_BYTES;
        let end = (offset + buffer.len() as u64).next_multiple_of(SECTOR_BYTES);
        let mut sectors = vec![0; (end - first) as usize];
        self.read_sectors(&mut sectors, first).await?;
        let start = (offset - first) as usize;
        buffer.copy_from_slice(&sectors[start..start + buffer.len()]);
        Ok(())
    }

    async fn read_sectors(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let first = offset / SECTOR_BYTES;
        let count = buffer.len() as u64 / SECTOR_BYTES;
        let mut done = 0;
        while done < count {
            let number = self.locate(first + done).await?;
            let mut end = done + 1;
            while end < count && self.locate(first + end).await? == number {
                end += 1;
            }
            let part = &mut buffer[(done * SECTOR_BYTES) as usize..(end * SECTOR_BYTES) as usize];
            self.read_layer(number, part, offset + done * SECTOR_BYTES).await?;
            done = end;
        }
        Ok(())
    }

    /// Reads from one layer; beyond its end there is nothing, which is zeros.
    async fn read_layer(&self, number: u8, buffer: &mut [u8], offset: u64) -> Result<()> {
        let layer = self.layer(usize::from(number));
        let there = layer.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (content, beyond) = buffer.split_at_mut(there);
        beyond.fill(0);
        let mut done = 0;
        while done < content.len() {
            let read = layer.file.read_at(&mut content[done..], offset + done as u64).await;
            match read.map_err(|error| Error::file("read", &layer.path, &error))? {
                // Somebody cut the file.
                0 => return Err(Error::UnexpectedEof),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Writes a range of the volume into the head. A failure leaves the sectors before it written; how many bytes that
    /// are is given with it.
    pub async fn write(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), (usize, Error)> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        let Some(end) = end else {
            let text = format!("write of {} bytes at offset {offset} is beyond volume size {}", bytes.len(), self.size);
            return Err((0, Error::Refused(text)));
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let head_cut = (offset.next_multiple_of(SECTOR_BYTES) - offset) as usize;
        let tail_cut = (end % SECTOR_BYTES) as usize;
        if head_cut == 0 && tail_cut == 0 {
            return self.write_sectors(bytes, offset).await;
        }
        if head_cut >= bytes.len() || (head_cut == 0 && bytes.len() < SECTOR_BYTES as usize) {
            return self.change_sector(bytes, offset).await;
        }
        let middle_end = bytes.len() - tail_cut;
        let parts = [0..head_cut, head_cut..middle_end, middle_end..bytes.len()];
        for (index, part) in parts.into_iter().enumerate() {
            let at = offset + part.start as u64;
            let before = part.start;
            let written = match index {
                _ if part.is_empty() => Ok(()),
                1 => self.write_sectors(&bytes[part], at).await,
                _ => self.change_sector(&bytes[part], at).await,
            };
            written.map_err(|(count, error)| (before + count, error))?;
        }
        Ok(())
    }

    /// Reads a sector, changes a part of it and writes it back.
    async fn change_sector(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), (usize, Error)> {
        let _alone = self.read_modify_write.lock().await;
        let start = offset / SECTOR_BYTES * SECTOR_BYTES;
        let mut sector = [0; SECTOR_BYTES as usize];
        self.read_sectors(&mut sector, start).await.map_err(|error| (0, error))?;
        let skip = (offset - start) as usize;
        sector[skip..skip + bytes.len()].copy_from_slice(bytes);
        let written = self.write_sectors(&sector, start).await;
        written.map_err(|(count, error)| (count.saturating_sub(skip).min(bytes.len()), error))
    }

    /// Puts what was written to the head where a power cut does not reach it: a write past the page cache may still have given the file blocks
    /// that only the file system's next commit makes its own.
    pub async fn sync(&self) -> Result<()> {
        let head = self.layer(self.files.len());
        head.file.sync_all().await.map_err(|error| Error::file("fsync", &head.path, &error))
    }

    async fn write_sectors(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), (usize, Error)> {
        let head = self.files.len();
        let layer = self.layer(head);
        let mut done = 0;
        let result = loop {
            if done == bytes.len() {
                break Ok(());
            }
            match layer.file.write_at(&bytes[done..], offset + done as u64).await {
                Ok(0) => break Err((done, Error::Refused("short write".to_owned()))),
                Ok(count) => done += count,
                Err(error) => break Err((done, Error::file("write", &layer.path, &error))),
            }
        };
        // Whether it worked or not: what the head has there now is newer than all else.
        let first = (offset / SECTOR_BYTES) as usize;
        for location in &self.location[first..first + bytes.len() / SECTOR_BYTES as usize] {
            location.store(head as u8, Ordering::Relaxed);
        }
        result
    }
}
