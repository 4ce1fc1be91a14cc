//! A backing file: the raw image below all layers of a volume made from it (pkg/backingfile).

use host::fs::{self, File, OpenOptions};

use crate::error::{Error, Result};
use crate::format::REPLICA_SECTOR_BYTES;

/// How a qcow2 image begins.
const QCOW_MAGIC: &[u8] = b"QFI\xfb";

/// An image that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackingFile {
    /// Where it lies.
    pub path: String,
    /// How large it is.
    pub size: u64,
}

impl BackingFile {
    /// Looks at the image at a path: a file, or a directory with one file in it.
    ///
    /// # Errors
    /// There is none, it is of a kind that cannot be read here, or its size is odd.
    pub async fn find(path: &str) -> Result<BackingFile> {
        let path = resolve(path).await?;
        let file = File::open(&path).await.map_err(|error| Error::file("open", &path, &error))?;
        let metadata = file.metadata().await.map_err(|error| Error::file("stat", &path, &error))?;
        let mut magic = [0; QCOW_MAGIC.len()];
        let is_qcow = metadata.len >= magic.len() as u64
            && file.read_exact_at(&mut magic, 0).await.map_err(|error| Error::file("read", &path, &error)).is_ok()
            && magic == QCOW_MAGIC;
        if is_qcow {
            let text = format!("format qcow2 of the backing file {path} is not supported");
            return Err(Error::Refused(text));
        }
        let sector = REPLICA_SECTOR_BYTES.unsigned_abs();
        if !metadata.len.is_multiple_of(sector) {
            return Err(Error::Refused(format!(
                "the backing file size {} should be a multiple of {sector} bytes since Longhorn uses directIO by default",
                metadata.len
            )));
        }
        Ok(BackingFile { path, size: metadata.len })
    }

    /// Opens it for reading.
    pub(crate) async fn open(&self) -> Result<File> {
        let opened = OpenOptions::new().read(true).direct(true).open(&self.path).await;
        opened.map_err(|error| Error::file("open", &self.path, &error))
    }
}

async fn resolve(path: &str) -> Result<String> {
    let metadata = fs::metadata(path).await.map_err(|error| Error::file("stat", path, &error))?;
    if !metadata.is_dir {
        return Ok(path.to_owned());
    }
    let entries = fs::read_dir(path).await.map_err(|error| Error::file("open", path, &error))?;
    match entries.as_slice() {
        [only] if only.is_dir => {
            Err(Error::Refused(format!("found a subdirectory {} in backing file directory", only.name)))
        }
        [only] => Ok(format!("{path}/{}", only.name)),
        _ => Err(Error::Refused(format!(
            "found {} files in backing file directory {path}, exactly one is expected",
            entries.len()
        ))),
    }
}
