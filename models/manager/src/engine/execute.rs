//! Running the engine binary: `longhorn ...` from the directory that the engine image's DaemonSet fills on each host.
//!
//! As upstream's executor (go-common-libs `exec`): a command that passes its time-out is given up but not killed, so
//! that it goes on working on the store. Deletions have no time-out. What the binary writes to its standard error
//! becomes part of the error's text, by which controllers tell "cannot find" and "in progress" apart.

use std::time::Duration;

use corral_kube_client::reads;
use host::process::Command;
use host::time::{Instant, timeout};

use crate::runtime::error::{Error, Result};

/// Where every node keeps the binaries of its engine images (`types.EngineBinaryDirectoryOnHost`).
const BINARY_DIRECTORY_ON_HOST: &str = "/var/lib/longhorn/engine-binaries/";

/// The engine binary of `image` on this node.
pub fn binary_path(image: &str) -> String {
    format!("{}/longhorn", binary_directory(image))
}

/// The directory that the DaemonSet of `image` fills: the image's name with `-` for `:` and `/`.
pub fn binary_directory(image: &str) -> String {
    format!("{BINARY_DIRECTORY_ON_HOST}{}", image.replace([':', '/'], "-"))
}

/// Whether the binary of `image` is in place on this node (`types.EngineBinaryExistOnHostForImage`).
pub async fn binary_exists(image: &str) -> bool {
    host::fs::metadata(&binary_path(image)).await.is_ok_and(|metadata| !metadata.is_dir)
}

/// Runs the binary of `image` and returns what it printed.
pub async fn execute(
    image: &str,
    arguments: &[&str],
    environment: Vec<(String, String)>,
    limit: Option<Duration>,
) -> Result<String> {
    let program = binary_path(image);
    let mut command = Command::new(program.clone()).args(arguments.iter().copied());
    for (name, value) in environment {
        command = command.env(name, value);
    }
    let (taken, began) = (reads::take(), Instant::now());
    // A task of its own: whoever stops waiting leaves the command running.
    let running = host::spawn(async move { command.output().await });
    let joined = match limit {
        None => running.await,
        Some(limit) => match timeout(limit, running).await {
            Ok(joined) => joined,
            Err(_elapsed) => {
                let error = Error::Engine(format!("timeout executing: {program} {arguments:?}"));
                record(&taken, arguments, "timeout", began);
                return Err(error);
            }
        },
    };
    let outcome = match joined {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => Err(format!(
            "failed to execute: {program} {arguments:?}, output {}, stderr {}: exit status {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            output.status.code
        )),
        Ok(Err(error)) => Err(format!("failed to execute: {program} {arguments:?}, output , stderr : {error}")),
        Err(error) => Err(format!("failed to execute: {program} {arguments:?}, output , stderr : {error}")),
    };
    record(&taken, arguments, if outcome.is_ok() { "ok" } else { "error" }, began);
    outcome.map_err(Error::Engine)
}

/// Puts the reads that led to the command into the journal; the peer is the store or object that it was given last.
fn record(taken: &reads::Taken, arguments: &[&str], outcome: &str, began: Instant) {
    let (peer, words) = arguments.split_last().unwrap_or((&"", &[]));
    reads::record_call(taken, &format!("exec longhorn {}", words.join(" ")), peer, outcome, began.elapsed());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_stands_where_the_daemon_set_puts_it() {
        assert_eq!(
            binary_path("longhornio/longhorn-engine:v1.8.0"),
            "/var/lib/longhorn/engine-binaries/longhornio-longhorn-engine-v1.8.0/longhorn"
        );
    }

    #[test]
    fn an_absent_binary_is_an_engine_error() {
        host::real::block_on(async {
            let error = execute("no/such-image:v0", &["backup", "ls"], Vec::new(), None).await.unwrap_err();
            assert!(matches!(error, Error::Engine(_)), "{error}");
            assert!(!error.says_cannot_find(), "an absent program is not an absent backup: {error}");
        });
    }
}
