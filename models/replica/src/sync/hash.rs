//! Hashing a snapshot's disk (pkg/replica/hash.go): one at a time, recorded beside the disk with the time its inode last
//! changed. An inode that did not change while the checksum did has rotted.

use std::sync::{Arc, Mutex};

use host::JoinHandle;

use crate::error::{Error, Result};
use crate::format::names::{CHECKSUM_SUFFIX, snapshot_disk};
use crate::sync::agent::{Agent, Progress, lock};
use crate::sync::checksum::{ChecksumFile, METHOD, change_time, of_disk};

/// How many jobs are remembered.
const JOBS: usize = 10;

/// What came of hashing a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashStatus {
    pub state: Progress,
    pub checksum: String,
    pub error: String,
    pub silently_corrupted: bool,
}

/// The jobs, newest last.
#[derive(Debug, Default)]
pub(crate) struct HashList(Vec<Job>);

#[derive(Debug)]
struct Job {
    snapshot: String,
    status: Arc<Mutex<HashStatus>>,
    task: Option<JoinHandle<()>>,
}

impl HashList {
    fn find(&self, snapshot: &str) -> Option<&Job> {
        self.0.iter().find(|job| job.snapshot == snapshot)
    }
}

impl Agent {
    /// Begins to hash a snapshot, unless that is under way.
    pub(crate) fn start_hash(&self, snapshot: String, again: bool) {
        let mut jobs = lock(&self.0.statuses.hashes);
        if jobs.find(&snapshot).is_some_and(|job| lock(&job.status).state == Progress::Running) {
            tracing::error!(snapshot, "the snapshot is being hashed already");
            return;
        }
        jobs.0.retain(|job| job.snapshot != snapshot);
        if jobs.0.len() >= JOBS
            && let Some(oldest) = jobs.0.iter().position(|job| lock(&job.status).state != Progress::Running)
        {
            jobs.0.remove(oldest);
        }
        let status = Arc::new(Mutex::new(HashStatus { state: Progress::Running, ..HashStatus::default() }));
        let (agent, name, shared) = (self.clone(), snapshot.clone(), Arc::clone(&status));
        let task = host::spawn(async move {
            let result = agent.hash(&name, again).await;
            let mut status = lock(&shared);
            match result {
                Ok((checksum, corrupted)) => {
                    let state = Progress::Complete;
                    *status = HashStatus { state, checksum, silently_corrupted: corrupted, error: String::new() };
                }
                Err(error) => {
                    status.state = Progress::Error;
                    status.error = error.to_string();
                }
            }
        });
        jobs.0.push(Job { snapshot, status, task: Some(task) });
    }

    /// What came of hashing a snapshot: from memory, or from the file beside the disk.
    pub(crate) async fn hash_status(&self, snapshot: &str) -> HashStatus {
        if let Some(job) = lock(&self.0.statuses.hashes).find(snapshot) {
            return lock(&job.status).clone();
        }
        let disk = snapshot_disk(snapshot);
        let recorded = async {
            let file = ChecksumFile::read(self.directory(), &disk).await?;
            if file.change_time != change_time(self.directory(), &disk).await? {
                return Err(Error::Refused(format!("snapshot {snapshot} is changed")));
            }
            Ok(file.checksum)
        };
        match recorded.await {
            Ok(checksum) => HashStatus { state: Progress::Complete, checksum, ..HashStatus::default() },
            Err(error) => HashStatus { state: Progress::Error, error: error.to_string(), ..HashStatus::default() },
        }
    }

    /// Stops hashing a snapshot.
    pub(crate) fn cancel_hash(&self, snapshot: &str) {
        let jobs = lock(&self.0.statuses.hashes);
        let Some(job) = jobs.find(snapshot) else { return };
        let mut status = lock(&job.status);
        if status.state == Progress::Running {
            status.state = Progress::Error;
            status.error = "context canceled".to_owned();
            if let Some(task) = &job.task {
                task.abort();
            }
        }
    }

    /// Whether a disk is being hashed.
    pub(crate) fn is_hashing(&self) -> bool {
        self.0.hashing.try_lock().is_err()
    }

    async fn hash(&self, snapshot: &str, again: bool) -> Result<(String, bool)> {
        let _alone = self.0.hashing.lock().await;
        let (directory, disk) = (self.directory(), snapshot_disk(snapshot));
        let changed = change_time(directory, &disk).await?;
        let recorded = match ChecksumFile::read(directory, &disk).await {
            Ok(file) => Some(file),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                let text = format!("failed to get snapshot {snapshot} last hash info from checksum file: {error}");
                return Err(Error::Refused(text));
            }
        };
        let unchanged = recorded.filter(|file| file.change_time == changed);
        if let Some(file) = &unchanged {
            if file.silently_corrupted {
                return Ok((String::new(), true));
            }
            if !again && !file.checksum.is_empty() {
                return Ok((file.checksum.clone(), false));
            }
        }
        let mut hashed = ChecksumFile {
            method: METHOD.to_owned(),
            change_time: changed,
            last_hashed_at: crate::format::now(),
            checksum: of_disk(directory, &disk).await?,
            silently_corrupted: false,
        };
        if let Some(file) = unchanged.filter(|file| !file.checksum.is_empty() && file.checksum != hashed.checksum) {
            hashed = ChecksumFile { silently_corrupted: true, method: METHOD.to_owned(), ..file };
        }
        hashed.write(directory, &disk).await?;
        if change_time(directory, &disk).await? != hashed.change_time {
            directory.remove(&format!("{disk}{CHECKSUM_SUFFIX}")).await?;
            return Err(Error::Refused(format!("snapshot {snapshot} modification time is changed")));
        }
        Ok((hashed.checksum, hashed.silently_corrupted))
    }
}
