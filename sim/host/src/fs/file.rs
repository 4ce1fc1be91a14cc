//! Open files: positioned reads and writes, sparse extents.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};

use super::{Extent, Metadata};

/// How to open a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) append: bool,
    pub(super) create: bool,
    pub(super) create_new: bool,
    pub(super) truncate: bool,
    pub(super) direct: bool,
    pub(super) mode: Option<u32>,
}

/// Where O_DIRECT wants memory to begin.
const DIRECT_ALIGNMENT: usize = 4096;

/// Defines a setter for each flag.
macro_rules! flags {
    ($($(#[$documentation:meta])* $flag:ident),* $(,)?) => {
        $($(#[$documentation])*
        pub fn $flag(mut self, on: bool) -> OpenOptions {
            self.$flag = on;
            self
        })*
    };
}

impl OpenOptions {
    /// Nothing asked for yet.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    flags! {
        /// For reading.
        read,
        /// For writing.
        write,
        /// For writing at the end.
        append,
        /// Made if it is missing.
        create,
        /// Made, and refused if it is there.
        create_new,
        /// Emptied.
        truncate,
        /// Past the page cache (O_DIRECT): offsets and lengths in whole sectors of the disk.
        direct,
    }

    /// Permission bits of a file that is made.
    pub fn mode(mut self, mode: u32) -> OpenOptions {
        self.mode = Some(mode);
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    /// As `open(2)`.
    pub async fn open(self, path: &str) -> io::Result<File> {
        #[cfg(madsim)]
        if crate::simulated() {
            return Ok(File(Backend::Simulated(super::simulated::open(self, path).await?)));
        }
        let mut options = tokio_real::fs::OpenOptions::new();
        options
            .read(self.read)
            .write(self.write)
            .append(self.append)
            .create(self.create)
            .create_new(self.create_new)
            .truncate(self.truncate);
        if self.direct {
            options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
        }
        if let Some(mode) = self.mode {
            options.mode(mode);
        }
        let file = options.open(path).await?;
        Ok(File(Backend::Real(Arc::new(file.into_std().await))))
    }
}

/// An open file.
#[derive(Debug)]
pub struct File(Backend);

#[derive(Debug)]
enum Backend {
    #[cfg(madsim)]
    Simulated(corral_disk::File),
    Real(Arc<std::fs::File>),
}

/// Runs blocking file work on the real world's own threads.
async fn blocking<T: Send + 'static>(
    file: &Arc<std::fs::File>,
    work: impl FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let file = file.clone();
    tokio_real::task::spawn_blocking(move || work(&file)).await.map_err(io::Error::other)?
}

impl File {
    /// Opens for reading.
    ///
    /// # Errors
    /// As `open(2)`.
    pub async fn open(path: &str) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Reads at a position; fewer bytes than asked for at the end of the file.
    ///
    /// # Errors
    /// As `pread(2)`.
    pub async fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => file.read_at(buffer, offset).await,
            Backend::Real(file) => {
                let length = buffer.len();
                let (read, start, count) = blocking(file, move |file| {
                    let (mut bytes, start) = aligned(length);
                    let count = file.read_at(&mut bytes[start..start + length], offset)?;
                    Ok((bytes, start, count))
                })
                .await?;
                buffer[..count].copy_from_slice(&read[start..start + count]);
                Ok(count)
            }
        }
    }

    /// Reads exactly so many bytes.
    ///
    /// # Errors
    /// As `pread(2)`; `UnexpectedEof` if the file ends before.
    pub async fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Writes all bytes at a position.
    ///
    /// # Errors
    /// As `pwrite(2)`; some bytes may have been written.
    pub async fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => file.write_all_at(bytes, offset).await,
            Backend::Real(file) => {
                let (copy, start) = aligned_copy(bytes);
                blocking(file, move |file| file.write_all_at(&copy[start..], offset)).await
            }
        }
    }

    /// Writes at a position; fewer bytes than given only where space runs out.
    ///
    /// # Errors
    /// As `pwrite(2)`.
    pub async fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => file.write_at(bytes, offset).await,
            Backend::Real(file) => {
                let (copy, start) = aligned_copy(bytes);
                blocking(file, move |file| file.write_at(&copy[start..], offset)).await
            }
        }
    }

    /// Cuts or extends the file; what is new is a hole.
    ///
    /// # Errors
    /// As `ftruncate(2)`.
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => file.set_len(len).await,
            Backend::Real(file) => blocking(file, move |file| file.set_len(len)).await,
        }
    }

    /// Makes content and size durable (not the name: see [`super::sync_dir`]).
    ///
    /// # Errors
    /// As `fsync(2)`.
    pub async fn sync_all(&self) -> io::Result<()> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => file.sync_all().await,
            Backend::Real(file) => blocking(file, std::fs::File::sync_all).await,
        }
    }

    /// What is known of the file.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => Ok(super::simulated::convert(file.metadata().await?)),
            Backend::Real(file) => blocking(file, |file| Ok(super::real::convert(&file.metadata()?))).await,
        }
    }

    /// Frees the space of a stretch; it reads as zeros, and the size stays.
    ///
    /// # Errors
    /// As `fallocate(2)`.
    pub async fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => file.punch_hole(offset, len).await,
            Backend::Real(file) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                blocking(file, move |file| Ok(fallocate(file, flags, offset, len)?)).await
            }
        }
    }

    /// The stretches that hold data, in order.
    ///
    /// # Errors
    /// As `lseek(2)`.
    pub async fn extents(&self) -> io::Result<Vec<Extent>> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => Ok(super::simulated::extents(file.extents().await?)),
            Backend::Real(file) => blocking(file, |file| real_extents(file, 0, u64::MAX)).await,
        }
    }

    /// The parts of a range that hold data, in order.
    ///
    /// # Errors
    /// As `lseek(2)`.
    pub async fn extents_in(&self, offset: u64, len: u64) -> io::Result<Vec<Extent>> {
        match &self.0 {
            #[cfg(madsim)]
            Backend::Simulated(file) => Ok(super::simulated::extents(file.extents_in(offset, len).await?)),
            Backend::Real(file) => blocking(file, move |file| real_extents(file, offset, len)).await,
        }
    }
}

/// Memory that O_DIRECT takes: where in the vector so many bytes begin.
fn aligned(length: usize) -> (Vec<u8>, usize) {
    let bytes = vec![0; length + DIRECT_ALIGNMENT];
    let start = bytes.as_ptr().align_offset(DIRECT_ALIGNMENT);
    (bytes, start)
}

/// A copy in such memory, to the end of the vector.
fn aligned_copy(content: &[u8]) -> (Vec<u8>, usize) {
    let (mut bytes, start) = aligned(content.len());
    bytes[start..start + content.len()].copy_from_slice(content);
    bytes.truncate(start + content.len());
    (bytes, start)
}

fn real_extents(file: &std::fs::File, offset: u64, len: u64) -> io::Result<Vec<Extent>> {
    let end = file.metadata()?.len().min(offset.saturating_add(len));
    let mut extents = Vec::new();
    let mut position = offset;
    while position < end {
        let offset = match seek(file, SeekFrom::Data(position)) {
            Ok(offset) => offset,
            // No data after this position.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        if offset >= end {
            break;
        }
        position = seek(file, SeekFrom::Hole(offset))?.min(end);
        extents.push(Extent { offset, len: position - offset });
    }
    Ok(extents)
}
