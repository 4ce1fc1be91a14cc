//! `corral inspect`, from a journal to a client in the real world.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use corral_core::Nanos;
use corral_core::journal::{Event, file};
use host::http::{Client, collect, empty, full};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;

const BACKUPS: &str = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/backups";

fn corral() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corral"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    command
}

/// The journal of a short run.
fn journal(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("journal.jsonl");
    let ran =
        corral().args(["run", "backup-cleanup", "--seed", "5", "--journal"]).arg(&path).output().expect("it runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    path
}

/// A server of the past, killed at its end.
struct Served {
    process: Child,
    line: String,
}

impl Served {
    fn begin(journal: &Path, options: &[&str]) -> Served {
        let mut command = corral();
        command.arg("inspect").arg(journal).args(["--listen", "127.0.0.1:0"]).args(options);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = process.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it serves");
        Served { process, line }
    }

    fn request(&self, method: Method, path: &str, body: &'static str) -> Request<host::http::Body> {
        let base =
            self.line.split("kubectl --server ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a line to try");
        let body = if body.is_empty() { empty() } else { full(body) };
        let request = Request::builder().method(method).uri(format!("{base}{path}"));
        request.header("Content-Type", "application/json").body(body).expect("a request")
    }

    async fn send(&self, method: Method, path: &str, body: &'static str) -> (u16, Value) {
        let response = Client::new().send(self.request(method, path, body)).await.expect("an answer");
        let code = response.status().as_u16();
        let bytes = collect(response.into_body(), 64 << 20).await.expect("a body");
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Version and names of a list.
    async fn list(&self, path: &str) -> (String, Vec<String>) {
        let (code, list) = self.send(Method::GET, path, "").await;
        assert_eq!(code, 200, "{path}: {list}");
        let name = |item: &Value| item["metadata"]["name"].as_str().expect("a name").to_owned();
        let names = list["items"].as_array().expect("items").iter().map(name).collect();
        (list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned(), names)
    }

    /// Type and name of what a watch tells, until this is among it.
    async fn watch_until(&self, path: &str, wanted: &str) {
        let response = Client::new().send(self.request(Method::GET, path, "")).await.expect("an answer");
        let (mut body, mut told) = (response.into_body(), Vec::new());
        let tells = async {
            loop {
                let frame = body.frame().await.expect("it stays open").expect("it does not break");
                told.extend_from_slice(frame.data_ref().expect("data"));
                let events =
                    told.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
                let seen = |event: Value| {
                    format!("{} {}", event["type"], event["object"]["metadata"]["name"]).replace('"', "")
                };
                if events.map(seen).any(|event| event == wanted) {
                    return;
                }
            }
        };
        assert!(host::time::timeout(Duration::from_secs(20), tells).await.is_ok(), "never told: {wanted}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_cluster_is_shown_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = journal(&folder);
    let read = file::read(BufReader::new(std::fs::File::open(&path).unwrap())).unwrap();
    // A moment in the workload: when a backup is made.
    let mut made = read.records.iter().filter_map(|record| match &record.event {
        Event::ApiWrite { verb, kind, name, resource_version, .. } if verb == "create" && kind == "Backup" => {
            Some((record.at, name.to_string(), *resource_version))
        }
        _ => None,
    });
    let (at, backup, revision) = made.next_back().expect("the scenario makes backups");
    let before = (at - Duration::from_micros(1)).to_string();
    host::real::block_on(async {
        let served = Served::begin(&path, &["--at", &before]);
        assert!(served.line.contains(&format!("as it was at {before}")), "{}", served.line);
        let (version, names) = served.list(BACKUPS).await;
        assert!(!names.contains(&backup), "{names:?}");
        assert_eq!(served.list("/api/v1/nodes").await.0, version, "all of one revision");
        served.watch_until(&format!("{BACKUPS}?watch=1&resourceVersion={version}"), &format!("ADDED {backup}")).await;
        let (code, status) = served.send(Method::POST, "/api/v1/namespaces", r#"{"metadata": {"name": "new"}}"#).await;
        assert_eq!((code, status["reason"].as_str()), (405, Some("MethodNotAllowed")), "{status}");
    });
    host::real::block_on(async {
        let served = Served::begin(&path, &["--at", &at.to_string()]);
        let (version, names) = served.list(BACKUPS).await;
        assert!(names.contains(&backup), "{names:?}");
        assert_eq!(version, revision.to_string());
        let (_, pods) = served.list("/api/v1/namespaces/longhorn-system/pods").await;
        assert!(pods.iter().any(|name| name.starts_with("longhorn-manager-")), "{pods:?}");
    });
    // This run has no violation: without a moment it is the end.
    let served = Served::begin(&path, &[]);
    assert!(served.line.contains(&format!("as it was at {} ", read.header.ended_at)), "{}", served.line);
}

#[test]
fn what_cannot_be_shown_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = journal(&folder);
    let good = std::fs::read_to_string(&path).unwrap();
    let header = file::read(good.as_bytes()).unwrap().header;
    let refused = |text: &str, options: &[&str], status: i32, parts: &[&str]| {
        std::fs::write(&path, text).unwrap();
        let command = corral().args(["inspect", "--listen", "127.0.0.1:0"]).arg(&path).args(options).output();
        let Output { status: ended, stderr, .. } = command.expect("it runs");
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!((ended.code(), said.trim_end().lines().count()), (Some(status), 1), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in: {said}");
    };
    let later = (header.ended_at + Duration::from_micros(1)).to_string();
    refused(&good, &["--at", &later], 2, &[&later, &Nanos::to_string(&header.ended_at), "allowed"]);
    refused(&good, &["--at", "0s"], 2, &["allowed is from 0.000001s"]);
    refused("nothing\n", &[], 2, &["journal.jsonl: line 1: is no journal's"]);
    refused("", &[], 2, &["line 1: the file is empty"]);
    let [now, before] = [0, 1].map(|ago| format!("\"version\":{}", file::Header::VERSION - ago));
    refused(&good.replacen(&now, &before, 1), &[], 2, &["line 1: version", "is unknown; allowed is"]);
    refused(&good.replacen("\"scenario\":\"backup", "\"scenario\":\"bakup", 1), &[], 2, &["line 1", "did you mean"]);
    refused(&good.replacen("\"seed\":5", "\"seed\":true", 1), &[], 2, &["line 1", "cannot be done again"]);
    // Another run than the one that was recorded.
    let other = good.replacen("\"seed\":5", "\"seed\":6", 1);
    refused(&other, &[], 3, &[&header.digest, &header.commit, "another run"]);
}
