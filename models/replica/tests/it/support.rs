//! Golden directories and content, and running a test in the simulated world.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Read;

use host::fs;
use longhorn_replica::format::{Directory, Replica, SECTOR_BYTES};
use sha2::{Digest, Sha256};

/// Runs it simulated. `/disk` is there.
pub fn simulated<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    corral_core::run(corral_core::Options::new(7), async move {
        fs::create_dir_all("/disk").await.expect("a directory");
        test().await;
    })
    .unwrap();
}

/// The files of an archive by path.
fn archive(path: &str) -> BTreeMap<String, Vec<u8>> {
    let packed = std::fs::File::open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let unpacked = ruzstd::decoding::StreamingDecoder::new(packed).expect("a zstd frame");
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(unpacked).entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type().is_file() {
            let path = entry.path().expect("a path").to_str().expect("readable").trim_start_matches("./").to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its content");
            files.insert(path, content);
        }
    }
    files
}

/// Name, size, and ranges of blocks with data of a disk.
pub type ImageFile = (String, u64, Vec<(u64, u64)>);

/// The volume's content at two snapshots, the head's sectors, and the real replicas' files.
pub struct Golden {
    pub files: BTreeMap<String, Vec<u8>>,
    pub snap1: Vec<u8>,
    pub snap3: Vec<u8>,
}

pub const VOLUME_BYTES: usize = 16 << 20;

impl Golden {
    pub fn read() -> Golden {
        let files = archive(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/replicas.tar.zst"));
        let stores = archive(concat!(env!("CARGO_MANIFEST_DIR"), "/../backupstore/tests/golden/backupstores.tar.zst"));
        let golden = Golden { snap1: content(&stores, "backup-one"), snap3: content(&stores, "backup-two"), files };
        assert_eq!(sha256(&golden.snap1), golden.sum("snap1"));
        assert_eq!(sha256(&golden.snap3), golden.sum("snap3"));
        golden
    }

    /// The recorded sum of the volume at a snapshot.
    pub fn sum(&self, of: &str) -> String {
        let text = std::str::from_utf8(&self.files["content.sha256"]).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(of)).unwrap_or_else(|| panic!("no sum of {of}"));
        line.trim().to_owned()
    }

    /// A file of one of the directories.
    pub fn text(&self, directory: &str, file: &str) -> String {
        String::from_utf8(self.files[&format!("{directory}/{file}")].clone()).expect("text")
    }

    /// The disks of a directory.
    pub fn images(&self, directory: &str) -> Vec<ImageFile> {
        let list = self.text(directory, "images");
        let images = list.lines().map(|line| {
            let mut words = line.split_whitespace();
            let (name, size) = (words.next().expect("a name"), words.next().expect("a size"));
            let ranges = words.map(|word| {
                let (first, last) = word.split_once('-').expect("a range");
                (first.parse().expect("a number"), last.parse().expect("a number"))
            });
            (name.to_owned(), size.parse().expect("a number"), ranges.collect())
        });
        images.collect()
    }

    /// What a disk holds in a block.
    pub fn block(&self, image: &str, directory: &str, block: u64) -> &[u8] {
        let start = (block * SECTOR_BYTES) as usize;
        let range = start..start + SECTOR_BYTES as usize;
        if image.contains("4b6e475b") || image.contains("volume-head") {
            let sectors = &self.files["head-sectors-768-769"];
            return &sectors[range.start - (768 << 12)..range.end - (768 << 12)];
        }
        let first = image.contains("snap1") || directory == "replica-restored-one";
        if first { &self.snap1[range] } else { &self.snap3[range] }
    }

    /// Unpacks a directory as the real one left it.
    pub async fn unpack(&self, name: &str) -> Directory {
        let root = format!("/disk/{name}");
        fs::create_dir_all(&root).await.expect("a directory");
        let prefix = format!("{name}/");
        for (path, content) in &self.files {
            if let Some(file) = path.strip_prefix(&prefix).filter(|file| *file != "images") {
                fs::write(&format!("{root}/{file}"), content).await.expect("a file");
            }
        }
        for (image, size, ranges) in self.images(name) {
            let options = fs::OpenOptions::new().write(true).create(true);
            let file = options.open(&format!("{root}/{image}")).await.expect("a disk");
            file.set_len(size).await.expect("its size");
            for (first, last) in ranges {
                for block in first..=last {
                    let content = self.block(&image, name, block);
                    file.write_all_at(content, block * SECTOR_BYTES).await.expect("a block");
                }
            }
        }
        Directory::new(root)
    }
}

/// The volume as a backup of the uncompressed store has it.
fn content(stores: &BTreeMap<String, Vec<u8>>, backup: &str) -> Vec<u8> {
    let volume = "backupstore-none/backupstore/volumes/35/21/golden-vol";
    let config = &stores[&format!("{volume}/backups/backup_{backup}.cfg")];
    let config: serde_json::Value = serde_json::from_slice(config).expect("a configuration");
    let mut content = vec![0; VOLUME_BYTES];
    for block in config["Blocks"].as_array().expect("blocks") {
        let sum = block["BlockChecksum"].as_str().expect("a checksum");
        let data = &stores[&format!("{volume}/blocks/{}/{}/{sum}.blk", &sum[..2], &sum[2..4])];
        let offset = block["Offset"].as_u64().expect("an offset") as usize;
        content[offset..offset + data.len()].copy_from_slice(data);
    }
    content
}

pub fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// All of a replica, read in pieces of odd sizes.
pub async fn whole(replica: &Replica) -> Vec<u8> {
    let mut content = vec![0; replica.size() as usize];
    let mut offset = 0;
    for length in [5000, 4096, 123, 1 << 20, 65_536].into_iter().cycle() {
        let end = (offset + length).min(content.len());
        replica.read_at(&mut content[offset..end], offset as u64).await.expect("readable");
        offset = end;
        if offset == content.len() {
            break;
        }
    }
    content
}

/// The small files of a directory, and the disks' sizes and extents, as they can be compared.
pub async fn shape(directory: &Directory) -> BTreeMap<String, String> {
    let mut shape = BTreeMap::new();
    for name in directory.names().await.expect("a directory") {
        let path = directory.path(&name);
        let text = if name.ends_with(".img") {
            let file = fs::File::open(&path).await.expect("a disk");
            let size = file.metadata().await.expect("its size").len;
            let extents = file.extents().await.expect("its extents");
            let blocks = |extent: &fs::Extent| {
                let first = extent.offset / SECTOR_BYTES;
                format!("{first}-{}", first + extent.len / SECTOR_BYTES - 1)
            };
            format!("{size} {}", extents.iter().map(blocks).collect::<Vec<_>>().join(" "))
        } else {
            String::from_utf8_lossy(&fs::read(&path).await.expect("a file")).into_owned()
        };
        shape.insert(name, text);
    }
    shape
}
