//! Random work, then a power cut: content is what some write put there and never less than what was synced; names are as they were at one
//! point since the last sync; the books are right.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Bench, pause_ms, small_disk, with_disk};
use corral_disk::{Disk, DiskOptions, File, FileSystem, OpenOptions, fs};
use proptest::prelude::*;

const SECTOR: u64 = 512;
const SECTORS: u64 = 48;

#[derive(Clone, Debug)]
enum Work {
    Write {
        file: usize,
        sector: u64,
        count: u64,
        direct: bool,
    },
    SetLen {
        file: usize,
        sectors: u64,
    },
    Punch {
        file: usize,
        sector: u64,
        count: u64,
    },
    Sync {
        file: usize,
        data_only: bool,
    },
    Sleep {
        ms: u64,
    },
    /// A second cut in the middle.
    Cut,
}

fn work() -> impl Strategy<Value = Work> {
    let file = 0..3usize;
    prop_oneof![
        6 => (file.clone(), 0..40u64, 1..20u64, any::<bool>())
            .prop_map(|(file, sector, count, direct)| Work::Write { file, sector, count, direct }),
        2 => (file.clone(), 0..SECTORS).prop_map(|(file, sectors)| Work::SetLen { file, sectors }),
        2 => (file.clone(), 0..40u64, 1..20u64).prop_map(|(file, sector, count)| Work::Punch { file, sector, count }),
        2 => (file, any::<bool>()).prop_map(|(file, data_only)| Work::Sync { file, data_only }),
        1 => prop_oneof![Just(1u64), Just(6_000), Just(50_000)].prop_map(|ms| Work::Sleep { ms }),
        1 => Just(Work::Cut),
    ]
}

/// What a file was, by sector, before and after each change since it was last synced.
#[derive(Clone, Debug)]
struct History {
    versions: Vec<Vec<u8>>,
    /// How many changes are done, the last one perhaps not.
    done: usize,
    /// The version that the last completed sync found.
    synced: usize,
}

impl History {
    fn new(now: Vec<u8>) -> History {
        History { versions: vec![now], done: 0, synced: 0 }
    }

    fn of(content: &[u8]) -> History {
        History::new(content.chunks(SECTOR as usize).map(|sector| sector[0]).collect())
    }

    fn now(&self) -> &[u8] {
        self.versions.last().expect("never empty")
    }

    fn begin(&mut self, work: &Work, tag: u8) {
        let mut next = self.now().to_owned();
        match *work {
            Work::Write { sector, count, .. } => {
                next.resize(next.len().max((sector + count) as usize), 0);
                next[sector as usize..(sector + count) as usize].fill(tag);
            }
            Work::SetLen { sectors, .. } => next.resize(sectors as usize, 0),
            Work::Punch { sector, count, .. } => {
                let end = next.len().min((sector + count) as usize);
                next[end.min(sector as usize)..end].fill(0);
            }
            _ => return,
        }
        self.versions.push(next);
    }

    fn end(&mut self) {
        self.done = self.versions.len() - 1;
    }

    /// Whether a file can be this after a cut: each sector as some version since the sync had it.
    fn check(&self, content: &[u8]) -> Result<(), TestCaseError> {
        let possible = &self.versions[self.synced..];
        let sizes: BTreeSet<u64> = possible.iter().map(|version| version.len() as u64 * SECTOR).collect();
        let (least, most) = (sizes.first().unwrap(), sizes.last().unwrap());
        prop_assert!((least..=most).contains(&&(content.len() as u64)), "size {} of {sizes:?}", content.len());
        for (index, sector) in content.chunks(SECTOR as usize).enumerate() {
            prop_assert!(sector.iter().all(|byte| *byte == sector[0]), "sector {index} is torn inside");
            let tags: BTreeSet<u8> = possible.iter().map(|version| version.get(index).copied().unwrap_or(0)).collect();
            prop_assert!(tags.contains(&sector[0]), "sector {index} has {} and not one of {tags:?}", sector[0]);
        }
        Ok(())
    }
}

type Books = Arc<Mutex<Vec<History>>>;

fn path(file: usize) -> String {
    format!("/f{file}")
}

async fn open(file: usize, direct: bool) -> File {
    OpenOptions::new().read(true).write(true).direct(direct).open(path(file)).await.unwrap()
}

async fn sync(books: &Books, file: usize, data_only: bool) {
    let handle = open(file, false).await;
    let found = books.lock().unwrap()[file].done;
    if data_only { handle.sync_data().await } else { handle.sync_all().await }.unwrap();
    let history = &mut books.lock().unwrap()[file];
    history.synced = history.synced.max(found);
}

async fn change(books: &Books, file: usize, tag: u8, work: Work) {
    let handle = open(file, matches!(work, Work::Write { direct: true, .. })).await;
    books.lock().unwrap()[file].begin(&work, tag);
    match work {
        Work::Write { sector, count, .. } => {
            handle.write_all_at(&vec![tag; (count * SECTOR) as usize], sector * SECTOR).await
        }
        Work::SetLen { sectors, .. } => handle.set_len(sectors * SECTOR).await,
        Work::Punch { sector, count, .. } => handle.punch_hole(sector * SECTOR, count * SECTOR).await,
        _ => Ok(()),
    }
    .unwrap();
    books.lock().unwrap()[file].end();
}

/// Does the work up to the next cut; gives the rest.
async fn work_until_cut(books: Books, mut rest: VecDeque<(u8, Work)>) -> VecDeque<(u8, Work)> {
    while let Some((tag, work)) = rest.pop_front() {
        match work {
            Work::Write { file, .. } | Work::SetLen { file, .. } | Work::Punch { file, .. } => {
                change(&books, file, tag, work).await;
            }
            Work::Sync { file, data_only } => sync(&books, file, data_only).await,
            Work::Sleep { ms } => pause_ms(ms).await,
            Work::Cut => break,
        }
    }
    rest
}

fn files(bench: &Bench) -> Books {
    for file in 0..3 {
        bench.disk.put(&path(file), &[200; 4096]).unwrap();
    }
    Arc::new(Mutex::new(vec![History::new(vec![200; 8]); 3]))
}

fn cut_and_check(bench: &Bench, books: &Books) -> Result<(), TestCaseError> {
    bench.power_cycle();
    for (file, history) in books.lock().unwrap().iter_mut().enumerate() {
        let content = bench.disk.contents(&path(file)).unwrap();
        history.check(&content)?;
        *history = History::of(&content);
    }
    check_books(&bench.disk)
}

fn content_after_cut(seed: u64, options: DiskOptions, all: Vec<Work>) -> Result<(), TestCaseError> {
    with_disk(seed, options, move |bench| async move {
        let books = files(&bench);
        let mut rest: VecDeque<_> = (1u8..).zip(all).collect();
        loop {
            rest = bench.run(work_until_cut(books.clone(), rest)).await;
            // Before the cut a file is what its last writes made it.
            for (file, history) in books.lock().unwrap().iter().enumerate() {
                let content = bench.disk.contents(&path(file)).unwrap();
                let found = History::of(&content);
                prop_assert_eq!(found.now(), history.now());
            }
            cut_and_check(&bench, &books)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    })
}

/// Each file has a process that changes it, and there is one that syncs them all; the power goes in the middle of it.
fn content_after_cut_at_any_moment(
    seed: u64,
    options: DiskOptions,
    all: Vec<Work>,
    cut_after_us: u64,
) -> Result<(), TestCaseError> {
    with_disk(seed, options, move |bench| async move {
        let books = files(&bench);
        let work: VecDeque<_> = (1u8..).zip(all).collect();
        for wanted in 0..3 {
            let of_file = |work: &Work| match work {
                Work::Write { file, .. } | Work::SetLen { file, .. } | Work::Punch { file, .. } => *file == wanted,
                Work::Sync { .. } | Work::Cut => false,
                Work::Sleep { .. } => true,
            };
            let mine = work.iter().filter(|(_, work)| of_file(work)).cloned().collect();
            let books = books.clone();
            bench.start(async move { drop(work_until_cut(books, mine).await) });
        }
        let syncer = books.clone();
        bench.start(async move {
            for round in 0.. {
                sync(&syncer, round % 3, round % 2 == 0).await;
            }
        });
        corral_core::sleep(Duration::from_micros(cut_after_us)).await;
        cut_and_check(&bench, &books)
    })
}

/// Links and room add up to what the tree has.
fn check_books(disk: &Disk) -> Result<(), TestCaseError> {
    let tree = disk.tree();
    let mut names: BTreeMap<u64, u32> = BTreeMap::new();
    let mut room: BTreeMap<u64, u64> = BTreeMap::new();
    for (path, metadata) in &tree {
        *names.entry(metadata.inode).or_default() += 1;
        room.insert(metadata.inode, metadata.allocated_bytes);
        if metadata.is_dir {
            let inside = |other: &str| other.strip_prefix(path.as_str()).is_some_and(|rest| rest.rfind('/') == Some(0));
            let directories = tree.iter().filter(|(other, metadata)| metadata.is_dir && inside(other)).count() as u32;
            prop_assert_eq!(metadata.links, 2 + directories, "links of {}", path);
        }
    }
    for (path, metadata) in tree.iter().filter(|(_, metadata)| !metadata.is_dir) {
        prop_assert_eq!(metadata.links, names[&metadata.inode], "links of {}", path);
    }
    prop_assert_eq!(disk.space().used_bytes, 4096 + room.values().sum::<u64>());
    Ok(())
}

#[derive(Clone, Debug)]
enum NameWork {
    Create(usize),
    CreateDirectory(usize),
    Remove(usize),
    RemoveDirectory(usize),
    Rename(usize, usize),
    Link(usize, usize),
    /// By the file's own fsync if there is one, else the root's.
    Sync(usize),
    Sleep {
        ms: u64,
    },
}

const NAMES: [&str; 9] = ["/a", "/b", "/c", "/d", "/d/a", "/d/b", "/e", "/e/a", "/e/d"];

fn name_work() -> impl Strategy<Value = NameWork> {
    let name = 0..NAMES.len();
    prop_oneof![
        4 => name.clone().prop_map(NameWork::Create),
        3 => name.clone().prop_map(NameWork::CreateDirectory),
        2 => name.clone().prop_map(NameWork::Remove),
        2 => name.clone().prop_map(NameWork::RemoveDirectory),
        4 => (name.clone(), name.clone()).prop_map(|(from, to)| NameWork::Rename(from, to)),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| NameWork::Link(from, to)),
        1 => name.prop_map(NameWork::Sync),
        1 => prop_oneof![Just(1u64), Just(2_000), Just(6_000)].prop_map(|ms| NameWork::Sleep { ms }),
    ]
}

type Tree = Vec<(String, u64, bool)>;

fn names_of(disk: &Disk) -> Tree {
    disk.tree().into_iter().map(|(path, metadata)| (path, metadata.inode, metadata.is_dir)).collect()
}

async fn do_name_work(disk: Arc<Disk>, all: Vec<NameWork>, since_sync: Arc<Mutex<Vec<Tree>>>) {
    for work in all {
        // Whether it was possible is not the question here: what it did, the tree says.
        let _ = match work {
            NameWork::Create(name) => fs::write(NAMES[name], "").await,
            NameWork::CreateDirectory(name) => fs::create_dir(NAMES[name]).await,
            NameWork::Remove(name) => fs::remove_file(NAMES[name]).await,
            NameWork::RemoveDirectory(name) => fs::remove_dir(NAMES[name]).await,
            NameWork::Rename(from, to) => fs::rename(NAMES[from], NAMES[to]).await,
            NameWork::Link(from, to) => fs::hard_link(NAMES[from], NAMES[to]).await,
            NameWork::Sync(name) => {
                let file = match OpenOptions::new().read(true).open(NAMES[name]).await {
                    Ok(file) => file,
                    Err(_) => OpenOptions::new().read(true).open("/").await.unwrap(),
                };
                file.sync_all().await.unwrap();
                since_sync.lock().unwrap().clear();
                Ok(())
            }
            NameWork::Sleep { ms } => {
                pause_ms(ms).await;
                Ok(())
            }
        };
        since_sync.lock().unwrap().push(names_of(&disk));
    }
}

fn names_after_cut(seed: u64, options: DiskOptions, all: Vec<NameWork>) -> Result<(), TestCaseError> {
    with_disk(seed, options, move |bench| async move {
        let since_sync = Arc::new(Mutex::new(vec![vec![]]));
        bench.run(do_name_work(bench.disk.clone(), all, since_sync.clone())).await;
        bench.power_cycle();
        let left = names_of(&bench.disk);
        let trees = since_sync.lock().unwrap();
        prop_assert!(trees.contains(&left), "{left:?} was never the tree since the last sync: {trees:?}");
        check_books(&bench.disk)
    })
}

fn options() -> impl Strategy<Value = DiskOptions> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(large_sectors, xfs, volatile_write_cache)| DiskOptions {
        sector_bytes: if large_sectors { 4096 } else { 512 },
        file_system: if xfs { FileSystem::XFS } else { FileSystem::EXT4 },
        volatile_write_cache,
        ..small_disk()
    })
}

/// O_DIRECT asks for whole sectors.
fn possible(work: &Work, options: &DiskOptions) -> bool {
    let sectors = u64::from(options.sector_bytes) / SECTOR;
    !matches!(work, Work::Write { sector, count, direct: true, .. } if sector % sectors != 0 || count % sectors != 0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn content_is_synced_or_written_and_never_garbage(
        seed in any::<u64>(),
        options in options(),
        all in proptest::collection::vec(work(), 1..40),
    ) {
        let all = all.into_iter().filter(|work| possible(work, &options)).collect();
        content_after_cut(seed, options, all)?;
    }

    #[test]
    fn content_is_synced_or_written_also_in_the_middle_of_it(
        seed in any::<u64>(),
        options in options(),
        all in proptest::collection::vec(work(), 1..60),
        cut_after_us in 1..3000u64,
    ) {
        let all = all.into_iter().filter(|work| possible(work, &options)).collect();
        content_after_cut_at_any_moment(seed, options, all, cut_after_us)?;
    }

    #[test]
    fn names_are_as_they_were_at_one_point_since_the_last_sync(
        seed in any::<u64>(),
        options in options(),
        all in proptest::collection::vec(name_work(), 1..40),
    ) {
        names_after_cut(seed, options, all)?;
    }
}
