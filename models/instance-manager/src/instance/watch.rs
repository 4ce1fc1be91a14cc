//! Notifications of changes: one empty message for each change of a process, a v2 replica or a v2 engine.

use tokio::sync::mpsc;

use crate::process::Manager;
use crate::spdk;
use crate::stream::{Answers, heard};

/// Notifications that may wait for the watcher (`notifyChan`); those that do not fit wait before it.
const CAPACITY: usize = 1024;

/// The notifications from now on.
pub(super) fn notifications(processes: &Manager, spdk: Option<&spdk::Service>) -> Answers<()> {
    let (notify, notified) = mpsc::channel(CAPACITY);
    host::spawn(forward(processes.watch(), notify.clone()));
    if let Some(spdk) = spdk {
        host::spawn(forward(spdk.watch_engines(), notify.clone()));
        host::spawn(forward(spdk.watch_replicas(), notify));
    }
    heard(notified)
}

/// Tells of each message until nobody listens.
async fn forward<T>(mut listener: mpsc::Receiver<T>, notify: mpsc::Sender<()>) {
    loop {
        tokio::select! {
            biased;
            () = notify.closed() => return,
            message = listener.recv() => {
                if message.is_none() || notify.send(()).await.is_err() {
                    return;
                }
            }
        }
    }
}
