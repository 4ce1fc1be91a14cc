//! Locks: small files in the store, through which the operations of all nodes keep out of each other's way (lock.go
//! upstream).
//!
//! Two types exclude each other, backups and restores on one side and deletions on the other; those of one type share.
//! A lock is written, lies for a while so that a rival's lock can become visible, and then counts if no unexpired lock
//! of the other type has priority. There is one try.
//!
//! Fault model: the store's clock dates locks, the local clock judges their age, so skew shortens or lengthens them. A
//! lock whose date cannot be read counts as expired, one that cannot be loaded as absent, and a list that fails as
//! empty: a store that falters lets both sides in.

use std::sync::Arc;

use host::JoinHandle;
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard};

use crate::config::LockConfig;
use crate::error::{Context, Error, Result};
use crate::layout;
use crate::store::Backupstore;

/// What a lock is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Backups and restores, which share.
    CreateOrRestore,
    /// Deletions.
    Delete,
}

impl LockKind {
    fn number(self) -> u8 {
        match self {
            LockKind::CreateOrRestore => 1,
            LockKind::Delete => 2,
        }
    }

    fn operation(self) -> &'static str {
        match self {
            LockKind::CreateOrRestore => "create/restore",
            LockKind::Delete => "delete",
        }
    }
}

/// A lock on a volume. It counts its holders within the process and leaves the store with the last of them.
pub struct FileLock {
    store: Backupstore,
    volume: String,
    kind: LockKind,
    name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    acquired: bool,
    holders: i64,
    written_at: Option<Timestamp>,
    refresh: Option<JoinHandle<()>>,
}

/// Another process's lock, or our own, as the store has it.
#[derive(Debug)]
struct Seen {
    config: LockConfig,
    written_at: Option<Timestamp>,
}

impl FileLock {
    /// A lock that nobody holds yet.
    pub fn new(store: &Backupstore, volume: &str, kind: LockKind) -> Arc<Self> {
        let name = store.context.name("lock");
        Arc::new(Self { store: store.clone(), volume: volume.to_owned(), kind, name, state: Mutex::default() })
    }

    /// Takes the lock, or joins those who hold it already.
    pub async fn lock(self: &Arc<Self>) -> Result<()> {
        let mut state = self.state.lock().await;
        if state.acquired {
            state.holders += 1;
            let _ = self.save(&mut state).await;
            return Ok(());
        }
        self.save(&mut state).await?;
        host::time::sleep(self.store.context.behaviour.lock_wait).await;
        if !self.may_acquire(&state).await {
            let _ = self.remove().await;
            return Err(Error::LockRefused { file: self.path(), operation: self.kind.operation() });
        }
        state.acquired = true;
        state.holders += 1;
        if let Err(error) = self.save(&mut state).await {
            let _ = self.remove().await;
            return Err(error).context(|| {
                let operation = self.kind.operation();
                format!(
                    "failed to store updated lock {} when performing backup {operation}, please try again later",
                    self.path()
                )
            });
        }
        state.refresh = Some(host::spawn(Self::refresh(Arc::clone(self))));
        Ok(())
    }

    /// Leaves the lock; the last one to leave removes it from the store. Leaving a lock that was never taken removes it
    /// too, as upstream does.
    pub async fn unlock(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        state.holders -= 1;
        if state.holders > 0 {
            return Ok(());
        }
        state.acquired = false;
        if let Some(refresh) = state.refresh.take() {
            refresh.abort();
        }
        self.remove().await
    }

    /// Leaves the lock where a failure to do so is only worth a warning.
    pub async fn unlock_or_warn(&self) {
        if let Err(error) = self.unlock().await {
            self.store.context.log.warn("Failed to unlock", &error);
        }
    }

    /// Writes the lock again and again, so that it does not expire while it is held.
    async fn refresh(self: Arc<Self>) {
        let period = self.store.context.behaviour.lock_refresh;
        let mut ticks = host::time::interval_at(host::time::Instant::now() + period, period);
        loop {
            ticks.tick().await;
            let mut state: MutexGuard<'_, State> = self.state.lock().await;
            if state.acquired
                && let Err(error) = self.save(&mut state).await
            {
                let operation = self.kind.operation();
                let what = format!(
                    "Failed to refresh acquired lock {} when performing backup {operation}, please try again later",
                    self.path()
                );
                self.store.context.log.warn(&what, &error);
            }
        }
    }

    async fn may_acquire(&self, state: &State) -> bool {
        let own = Seen { config: self.config(state), written_at: state.written_at };
        let now = host::wall_clock::now();
        let seen = self.locks_in_store().await;
        self.store.context.log.info(|| format!("Trying to acquire lock {}", self.path()));
        self.store.context.log.info(|| format!("backupstore volume {} contains locks {seen:?}", self.volume));
        !seen.iter().any(|other| {
            other.config.kind != own.config.kind && other.has_priority_over(&own) && !self.is_expired(other, now)
        })
    }

    fn is_expired(&self, lock: &Seen, now: Timestamp) -> bool {
        lock.written_at.is_none_or(|written_at| {
            let age = now.duration_since(written_at);
            age > jiff::SignedDuration::try_from(self.store.context.behaviour.lock_expiry)
                .expect("an expiry of hours at most")
        })
    }

    async fn locks_in_store(&self) -> Vec<Seen> {
        let files = self.store.driver.list(&layout::locks(&self.volume)).await.unwrap_or_default();
        let mut locks = Vec::new();
        for name in layout::names_in(&files, "", layout::LOCK_SUFFIX) {
            let path = layout::lock(&self.volume, &name);
            match self.store.load::<LockConfig>(&path).await {
                Ok(config) => locks.push(Seen { config, written_at: self.store.driver.file_time(&path).await }),
                Err(error) => {
                    self.store.context.log.warn(&format!("Failed to load lock {path} on backupstore"), &error)
                }
            }
        }
        locks
    }

    fn path(&self) -> String {
        layout::lock(&self.volume, &self.name)
    }

    fn config(&self, state: &State) -> LockConfig {
        LockConfig { name: self.name.clone(), kind: self.kind.number(), acquired: state.acquired }
    }

    async fn save(&self, state: &mut State) -> Result<()> {
        let path = self.path();
        self.store.save(&path, &self.config(state)).await?;
        state.written_at = self.store.driver.file_time(&path).await;
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        self.store.driver.remove(&self.path()).await
    }
}

impl Seen {
    /// Held before waiting, then older before newer by the store's clock (of which a date that cannot be read is the
    /// oldest), then by name.
    fn has_priority_over(&self, other: &Seen) -> bool {
        let rank = |lock: &Seen| (!lock.config.acquired, lock.written_at, lock.config.name.clone());
        rank(self) < rank(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, acquired: bool, second: Option<i64>) -> Seen {
        Seen {
            config: LockConfig { name: name.to_owned(), kind: 1, acquired },
            written_at: second.map(|second| Timestamp::from_second(second).unwrap()),
        }
    }

    #[test]
    fn held_locks_come_first_then_older_ones_then_names() {
        let order = [
            seen("c", true, Some(9)),
            seen("z", false, None),
            seen("b", false, Some(1)),
            seen("a", false, Some(2)),
            seen("b", false, Some(2)),
        ];
        for pair in order.windows(2) {
            assert!(pair[0].has_priority_over(&pair[1]) && !pair[1].has_priority_over(&pair[0]), "{pair:?}");
        }
        assert!(!seen("a", true, Some(1)).has_priority_over(&seen("a", true, Some(1))));
    }
}
