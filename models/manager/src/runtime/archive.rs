//! Zip archives, as `zip -r` makes them of a folder and `unzip` takes them apart: the file of a system backup.
//!
//! Every file is deflated. Times are those of the archive format's beginning, so that the same folder gives the same bytes. What is
//! read may come from anywhere: names that lead out of the folder, sizes that are not true and checksums that do not fit are refused.

use std::io::{self, Read, Write};

use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use host::fs;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// 1980-01-01, the first day that the format can name.
const FIRST_DAY: u16 = 0x21;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const VERSION: u16 = 20;
/// Of the end record without its comment.
const END_LENGTH: usize = 22;
const CENTRAL_LENGTH: usize = 46;
const LOCAL_LENGTH: usize = 30;
/// The largest file that is taken out of an archive.
const LARGEST_FILE: u64 = 256 << 20;

/// Why an archive cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The archive's.
    #[error("invalid archive: {0}")]
    Invalid(String),
}

impl ArchiveError {
    fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }
}

/// Packs the folder `parent`/`name` with all that is in it; entries begin with `name/`.
pub async fn pack(parent: &str, name: &str, archive: &str) -> io::Result<()> {
    let mut writer = Writer::default();
    let mut waiting = vec![name.to_owned()];
    while let Some(folder) = waiting.pop() {
        writer.add(&format!("{folder}/"), None)?;
        let mut entries = fs::read_dir(&format!("{parent}/{folder}")).await?;
        entries.sort_by(|one, other| other.name.cmp(&one.name));
        let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.is_dir);
        for file in files.iter().rev() {
            let path = format!("{folder}/{}", file.name);
            let content = fs::read(&format!("{parent}/{path}")).await?;
            writer.add(&path, Some(&content))?;
        }
        waiting.extend(folders.into_iter().map(|entry| format!("{folder}/{}", entry.name)));
    }
    fs::write(archive, &writer.finish()).await
}

/// Takes an archive apart into a folder that exists.
pub async fn unpack(archive: &str, into: &str) -> Result<(), ArchiveError> {
    for (name, content) in read(&fs::read(archive).await?)? {
        let path = format!("{into}/{name}");
        match content {
            None => fs::create_dir_all(path.trim_end_matches('/')).await?,
            Some(content) => {
                if let Some((folder, _file)) = path.rsplit_once('/') {
                    fs::create_dir_all(folder).await?;
                }
                fs::write(&path, &content).await?;
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    entries: u16,
}

impl Writer {
    /// Adds a file, or a folder if there is no content.
    fn add(&mut self, name: &str, content: Option<&[u8]>) -> io::Result<()> {
        let plain = content.unwrap_or_default();
        let mut crc = Crc::new();
        crc.update(plain);
        let (method, packed) = match content {
            None => (STORED, Vec::new()),
            Some(content) => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(content)?;
                (DEFLATED, encoder.finish()?)
            }
        };
        let too_large = |_| io::Error::other("too large for an archive");
        let position = u32::try_from(self.bytes.len()).map_err(too_large)?;
        let common = Fields::default()
            .short(VERSION)
            .short(0)
            .short(method)
            .short(0)
            .short(FIRST_DAY)
            .long(crc.sum())
            .long(u32::try_from(packed.len()).map_err(too_large)?)
            .long(u32::try_from(plain.len()).map_err(too_large)?)
            .short(u16::try_from(name.len()).map_err(too_large)?)
            .short(0)
            .0;
        self.bytes.extend(LOCAL_HEADER.to_le_bytes());
        self.bytes.extend(&common);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(&packed);
        // Folders carry the flag that DOS had for them.
        let attributes = if content.is_none() { 0x10 } else { 0 };
        let central = Fields::default().long(CENTRAL_HEADER).short(VERSION);
        let rest = Fields::default().short(0).short(0).short(0).long(attributes).long(position);
        for part in [&central.0, &common, &rest.0] {
            self.directory.extend(part);
        }
        self.directory.extend(name.as_bytes());
        self.entries += 1;
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        let (position, length) = (self.bytes.len() as u32, self.directory.len() as u32);
        self.bytes.append(&mut self.directory);
        let end = Fields::default().long(END).short(0).short(0).short(self.entries).short(self.entries);
        self.bytes.extend(end.long(length).long(position).short(0).0);
        self.bytes
    }
}

#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn long(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
}

/// A path with its content; a folder has none.
type Entry = (String, Option<Vec<u8>>);

/// The entries of an archive in its order.
fn read(bytes: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
    let last = bytes.len().checked_sub(END_LENGTH).ok_or_else(|| ArchiveError::invalid("it is too short"))?;
    let end = (0..=last).rev().take(1 << 16).find(|start| long(bytes, *start).is_ok_and(|word| word == END));
    let end = end.ok_or_else(|| ArchiveError::invalid("it has no end"))?;
    let (entries, mut position) = (short(bytes, end + 10)?, long(bytes, end + 16)? as usize);
    let mut found = Vec::with_capacity(entries.into());
    for _entry in 0..entries {
        if long(bytes, position)? != CENTRAL_HEADER {
            return Err(ArchiveError::invalid("an entry is not where it should be"));
        }
        let lengths = [28, 30, 32].map(|offset| short(bytes, position + offset).map(usize::from));
        let [name_length, extra, comment] = lengths;
        let (name_length, extra, comment) = (name_length?, extra?, comment?);
        let name = part(bytes, position + CENTRAL_LENGTH, name_length)?;
        let name = std::str::from_utf8(name).map_err(|_| ArchiveError::invalid("a name is not text"))?;
        found.push((checked(name)?.to_owned(), content(bytes, position, name)?));
        position += CENTRAL_LENGTH + name_length + extra + comment;
    }
    Ok(found)
}

/// The content of the entry whose central header is at `position`.
fn content(bytes: &[u8], position: usize, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
    let (method, crc) = (short(bytes, position + 10)?, long(bytes, position + 16)?);
    let (packed, plain) = (long(bytes, position + 20)? as usize, u64::from(long(bytes, position + 24)?));
    let local = long(bytes, position + 42)? as usize;
    if name.ends_with('/') {
        return Ok(None);
    }
    if plain > LARGEST_FILE {
        return Err(ArchiveError::invalid(format!("{name} is too large")));
    }
    let (name_length, extra) = (short(bytes, local + 26)?, short(bytes, local + 28)?);
    let packed = part(bytes, local + LOCAL_LENGTH + usize::from(name_length) + usize::from(extra), packed)?;
    let mut content = Vec::new();
    match method {
        STORED => content.extend(packed),
        DEFLATED => {
            DeflateDecoder::new(packed).take(plain + 1).read_to_end(&mut content)?;
        }
        other => return Err(ArchiveError::invalid(format!("{name} is packed by an unknown method {other}"))),
    }
    let mut found = Crc::new();
    found.update(&content);
    if content.len() as u64 != plain || found.sum() != crc {
        return Err(ArchiveError::invalid(format!("{name} is damaged")));
    }
    Ok(Some(content))
}

fn checked(name: &str) -> Result<&str, ArchiveError> {
    let leads_out = name.starts_with('/') || name.split('/').any(|part| part == "..") || name.contains('\0');
    if leads_out || name.is_empty() { Err(ArchiveError::invalid(format!("the name {name:?}"))) } else { Ok(name) }
}

fn part(bytes: &[u8], start: usize, length: usize) -> Result<&[u8], ArchiveError> {
    let end = start.checked_add(length);
    end.and_then(|end| bytes.get(start..end)).ok_or_else(|| ArchiveError::invalid("it ends too early"))
}

fn short(bytes: &[u8], at: usize) -> Result<u16, ArchiveError> {
    Ok(u16::from_le_bytes(part(bytes, at, 2)?.try_into().expect("two bytes")))
}

fn long(bytes: &[u8], at: usize) -> Result<u32, ArchiveError> {
    Ok(u32::from_le_bytes(part(bytes, at, 4)?.try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.add("sb/", None).unwrap();
        writer.add("sb/a.yaml", Some(&b"kind: List\n".repeat(100))).unwrap();
        writer.add("sb/empty", Some(b"")).unwrap();
        writer.finish()
    }

    #[test]
    fn what_was_packed_is_found_again() {
        let entries = read(&sample()).unwrap();
        assert_eq!(entries[0], ("sb/".to_owned(), None));
        assert_eq!(entries[1], ("sb/a.yaml".to_owned(), Some(b"kind: List\n".repeat(100))));
        assert_eq!(entries[2], ("sb/empty".to_owned(), Some(Vec::new())));
    }

    #[test]
    fn a_folder_survives_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        host::real::block_on(async {
            fs::create_dir_all(&path("sb/yamls/longhorn")).await.unwrap();
            fs::write(&path("sb/metadata.yaml"), b"{}").await.unwrap();
            fs::write(&path("sb/yamls/longhorn/volumes.yaml"), b"items").await.unwrap();
            pack(&path(""), "sb", &path("sb.zip")).await.unwrap();
            fs::create_dir_all(&path("out")).await.unwrap();
            unpack(&path("sb.zip"), &path("out")).await.unwrap();
            assert_eq!(fs::read(&path("out/sb/yamls/longhorn/volumes.yaml")).await.unwrap(), b"items");
            assert_eq!(fs::read(&path("out/sb/metadata.yaml")).await.unwrap(), b"{}");
        });
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let archive = sample();
        assert!(read(b"PK").is_err() && read(&[0; 100]).is_err());
        for length in 0..archive.len() {
            assert!(read(&archive[..length]).is_err(), "cut at {length}");
        }
        let mut garbled = archive.clone();
        let middle = LOCAL_LENGTH * 2 + 20;
        garbled[middle] ^= 0xff;
        assert!(read(&garbled).is_err());
        let mut writer = Writer::default();
        writer.add("../etc/passwd", Some(b"x")).unwrap();
        assert!(read(&writer.finish()).unwrap_err().to_string().contains("../etc/passwd"));
    }
}
