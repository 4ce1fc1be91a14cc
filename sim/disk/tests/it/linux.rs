//! The same random work on a simulated disk and on this machine's own file system: the same answers, error numbers included.
//!
//! Blocks and extents are compared if it is ext4; other file systems allocate ahead or keep the last block of a punched file.

use std::collections::BTreeMap;
use std::fs as real;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use corral_core::{Options, run};
use corral_disk::{File, OpenOptions, fs};
use proptest::prelude::*;
use rustix::fs::{FallocateFlags, SeekFrom};

/// statfs's name for ext4 (linux/magic.h).
const EXT4_MAGIC: i64 = 0xEF53;

/// What an operation gave: numbers and text, or an error number.
type Answer = Result<String, i32>;

/// Open flags: read, write, append, truncate, create, create_new.
type Flags = [bool; 6];

#[derive(Clone, Debug)]
enum Work {
    Open { slot: usize, path: String, flags: Flags },
    Close { slot: usize },
    Write { slot: usize, offset: u64, len: usize, tag: u8 },
    Read { slot: usize, offset: u64, len: usize },
    SetLen { slot: usize, len: u64 },
    Punch { slot: usize, offset: u64, len: u64 },
    Extents { slot: usize },
    Stat { slot: usize },
    Sync { slot: usize },
    CreateDirectory(String),
    CreateAll(String),
    Remove(String),
    RemoveDirectory(String),
    RemoveAll(String),
    Rename(String, String),
    Link(String, String),
    StatPath(String),
    List(String),
    WriteFile(String, usize),
    ReadFile(String),
}

/// A path for an operation that has no other.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![40 => short_path(), 1 => Just("e/".repeat(2048))]
}

/// A second path. Linux looks at its length and climbs from its directories after it has walked the first path; the simulation before.
fn second_path() -> impl Strategy<Value = String> {
    short_path().prop_filter("climbs", |path| !path.contains(".."))
}

fn short_path() -> impl Strategy<Value = String> {
    let paths = [
        "a", "b", "c", "d", "d/a", "d/b", "d/d", "d/d/a", "e", "e/a", "a/x", "d/../a", "d/d/../b", "b/", "d/", "./e//",
    ];
    prop_oneof![
        40 => proptest::sample::select(paths.to_vec()).prop_map(str::to_owned),
        1 => Just("n".repeat(256)),
        1 => Just(format!("d/{}", "n".repeat(255))),
    ]
}

fn work() -> impl Strategy<Value = Work> {
    let slot = || 0..3usize;
    let offset = || prop_oneof![0..20_000u64, (0..6u64).prop_map(|page| page * 4096)];
    let len = || prop_oneof![0..9_000usize, (0..4usize).prop_map(|pages| pages * 4096)];
    prop_oneof![
        12 => (slot(), path(), any::<Flags>()).prop_map(|(slot, path, flags)| Work::Open { slot, path, flags }),
        2 => slot().prop_map(|slot| Work::Close { slot }),
        8 => (slot(), offset(), len(), any::<u8>())
            .prop_map(|(slot, offset, len, tag)| Work::Write { slot, offset, len, tag }),
        4 => (slot(), offset(), len()).prop_map(|(slot, offset, len)| Work::Read { slot, offset, len }),
        4 => (slot(), offset()).prop_map(|(slot, len)| Work::SetLen { slot, len }),
        4 => (slot(), offset(), len()).prop_map(|(slot, offset, len)| Work::Punch { slot, offset, len: len as u64 }),
        4 => slot().prop_map(|slot| Work::Extents { slot }),
        2 => slot().prop_map(|slot| Work::Stat { slot }),
        1 => slot().prop_map(|slot| Work::Sync { slot }),
        5 => path().prop_map(Work::CreateDirectory),
        1 => path().prop_map(Work::CreateAll),
        3 => path().prop_map(Work::Remove),
        3 => path().prop_map(Work::RemoveDirectory),
        1 => path().prop_map(Work::RemoveAll),
        6 => (short_path(), second_path()).prop_map(|(from, to)| Work::Rename(from, to)),
        4 => (short_path(), second_path()).prop_map(|(from, to)| Work::Link(from, to)),
        3 => path().prop_map(Work::StatPath),
        2 => path().prop_map(Work::List),
        3 => (path(), len()).prop_map(|(path, len)| Work::WriteFile(path, len)),
        2 => path().prop_map(Work::ReadFile),
    ]
}

/// Combinations that Rust's own library refuses before it asks the kernel.
fn is_possible([read, write, append, truncate, create, create_new]: Flags) -> bool {
    let writes = write || append;
    let changes = truncate || create || create_new;
    let contradicts = append && truncate && !create_new;
    if writes { !contradicts } else { read && !changes }
}

fn summary(content: &[u8]) -> String {
    let mut runs: Vec<(u8, usize)> = Vec::new();
    for &byte in content {
        match runs.last_mut() {
            Some((last, count)) if *last == byte => *count += 1,
            _ => runs.push((byte, 1)),
        }
    }
    format!("{runs:?}")
}

fn stat(is_dir: bool, len: u64, allocated: u64, links: u64) -> String {
    if is_dir { "directory".to_owned() } else { format!("{len} bytes, {allocated} allocated, {links} links") }
}

fn answer<T>(result: io::Result<T>, show: impl FnOnce(T) -> String) -> Answer {
    result.map(show).map_err(|error| error.raw_os_error().unwrap_or_else(|| panic!("not from the kernel: {error}")))
}

fn done(result: io::Result<()>) -> Answer {
    answer(result, |()| String::new())
}

/// Data ranges by lseek, as `File::extents` has them.
fn real_extents(file: &real::File) -> io::Result<String> {
    let size = file.metadata()?.len();
    let (mut at, mut found) = (0, Vec::new());
    while at < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        at = rustix::fs::seek(file, SeekFrom::Hole(data))?;
        found.push((data, at - data));
    }
    Ok(format!("{found:?}"))
}

fn real_work(root: &Path, files: &mut BTreeMap<usize, real::File>, work: &Work) -> Option<Answer> {
    let at = |path: &String| format!("{}/{path}", root.display());
    let file = |slot: &usize| files.get(slot);
    Some(match work {
        Work::Open { slot, path, flags } => {
            let [read, write, append, truncate, create, create_new] = *flags;
            let mut options = real::OpenOptions::new();
            options.read(read).write(write).append(append).truncate(truncate);
            let opened = options.create(create).create_new(create_new).mode(0o644).open(at(path));
            answer(opened, |file| {
                files.insert(*slot, file);
                String::new()
            })
        }
        Work::Close { slot } => Ok(files.remove(slot).is_some().to_string()),
        Work::Write { slot, offset, len, tag } => {
            answer(file(slot)?.write_at(&vec![*tag; *len], *offset), |count| count.to_string())
        }
        Work::Read { slot, offset, len } => {
            let mut buffer = vec![0; *len];
            answer(file(slot)?.read_at(&mut buffer, *offset), |count| summary(&buffer[..count]))
        }
        Work::SetLen { slot, len } => done(file(slot)?.set_len(*len)),
        Work::Punch { slot, offset, len } => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            done(rustix::fs::fallocate(file(slot)?, flags, *offset, *len).map_err(Into::into))
        }
        Work::Extents { slot } if file(slot)?.metadata().unwrap().is_dir() => return None,
        Work::Extents { slot } => answer(real_extents(file(slot)?), |text| text),
        Work::Stat { slot } => answer(file(slot)?.metadata(), |found| {
            stat(found.is_dir(), found.len(), found.blocks() * 512, found.nlink())
        }),
        Work::Sync { slot } => done(file(slot)?.sync_all()),
        Work::CreateDirectory(path) => done(real::create_dir(at(path))),
        Work::CreateAll(path) => done(real::create_dir_all(at(path))),
        Work::Remove(path) => done(real::remove_file(at(path))),
        Work::RemoveDirectory(path) => done(real::remove_dir(at(path))),
        Work::RemoveAll(path) => done(real::remove_dir_all(at(path))),
        Work::Rename(from, to) => done(real::rename(at(from), at(to))),
        Work::Link(from, to) => done(real::hard_link(at(from), at(to))),
        Work::StatPath(path) => answer(real::metadata(at(path)), |found| {
            stat(found.is_dir(), found.len(), found.blocks() * 512, found.nlink())
        }),
        Work::List(path) => answer(real::read_dir(at(path)), |entries| {
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            format!("{names:?}")
        }),
        Work::WriteFile(path, len) => done(real::write(at(path), vec![1; *len])),
        Work::ReadFile(path) => answer(real::read(at(path)), |content| summary(&content)),
    })
}

async fn simulated_work(files: &mut BTreeMap<usize, File>, work: &Work) -> Option<Answer> {
    let at = |path: &String| format!("/root/{path}");
    let file = |slot: &usize| files.get(slot);
    Some(match work {
        Work::Open { slot, path, flags } => {
            let [read, write, append, truncate, create, create_new] = *flags;
            let mut options = OpenOptions::new();
            options.read(read).write(write).append(append).truncate(truncate);
            let opened = options.create(create).create_new(create_new).open(at(path)).await;
            answer(opened, |file| {
                files.insert(*slot, file);
                String::new()
            })
        }
        Work::Close { slot } => Ok(files.remove(slot).is_some().to_string()),
        Work::Write { slot, offset, len, tag } => {
            answer(file(slot)?.write_at(&vec![*tag; *len], *offset).await, |count| count.to_string())
        }
        Work::Read { slot, offset, len } => {
            let mut buffer = vec![0; *len];
            answer(file(slot)?.read_at(&mut buffer, *offset).await, |count| summary(&buffer[..count]))
        }
        Work::SetLen { slot, len } => done(file(slot)?.set_len(*len).await),
        Work::Punch { slot, offset, len } => done(file(slot)?.punch_hole(*offset, *len).await),
        Work::Extents { slot } if file(slot)?.metadata().await.unwrap().is_dir => return None,
        Work::Extents { slot } => answer(file(slot)?.extents().await, |found| {
            format!("{:?}", found.into_iter().map(|extent| (extent.offset, extent.len)).collect::<Vec<_>>())
        }),
        Work::Stat { slot } => answer(file(slot)?.metadata().await, |found| {
            stat(found.is_dir, found.len, found.allocated_bytes, found.links.into())
        }),
        Work::Sync { slot } => done(file(slot)?.sync_all().await),
        Work::CreateDirectory(path) => done(fs::create_dir(at(path)).await),
        Work::CreateAll(path) => done(fs::create_dir_all(at(path)).await),
        Work::Remove(path) => done(fs::remove_file(at(path)).await),
        Work::RemoveDirectory(path) => done(fs::remove_dir(at(path)).await),
        Work::RemoveAll(path) => done(fs::remove_dir_all(at(path)).await),
        Work::Rename(from, to) => done(fs::rename(at(from), at(to)).await),
        Work::Link(from, to) => done(fs::hard_link(at(from), at(to)).await),
        Work::StatPath(path) => answer(fs::metadata(at(path)).await, |found| {
            stat(found.is_dir, found.len, found.allocated_bytes, found.links.into())
        }),
        Work::List(path) => answer(fs::read_dir(at(path)).await, |entries| {
            let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
            names.sort();
            format!("{names:?}")
        }),
        Work::WriteFile(path, len) => done(fs::write(at(path), vec![1; *len]).await),
        Work::ReadFile(path) => answer(fs::read(at(path)).await, |content| summary(&content)),
    })
}

/// Of a stat, what all file systems agree on.
fn without_blocks(answer: Option<Answer>) -> Option<Answer> {
    answer.map(|answer| answer.map(|text| text.split(", ").filter(|part| !part.ends_with(" allocated")).collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_simulated_disk_answers_as_this_machines_does(all in proptest::collection::vec(work(), 1..60)) {
        let possible = |work: &Work| !matches!(work, Work::Open { flags, .. } if !is_possible(*flags));
        let directory = tempfile::tempdir().unwrap();
        let exact = rustix::fs::statfs(directory.path()).unwrap().f_type == EXT4_MAGIC;
        let comparable = |work: &Work| exact || !matches!(work, Work::Extents { .. });
        let all: Vec<Work> = all.into_iter().filter(possible).filter(comparable).collect();
        let mut files = BTreeMap::new();
        let wanted: Vec<_> = all.iter().map(|work| real_work(directory.path(), &mut files, work)).collect();
        let simulated = all.clone();
        let found = run(Options::new(1), async move {
            fs::create_dir("/root").await.unwrap();
            let mut files = BTreeMap::new();
            let mut answers = Vec::new();
            for work in &simulated {
                answers.push(simulated_work(&mut files, work).await);
            }
            answers
        })
        .unwrap();
        for ((work, wanted), found) in all.iter().zip(wanted).zip(found) {
            let (wanted, found) = if exact { (wanted, found) } else { (without_blocks(wanted), without_blocks(found)) };
            prop_assert_eq!(wanted, found, "Linux (left) and the simulated disk (right) differ in {:?}", work);
        }
    }
}
