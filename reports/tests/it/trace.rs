//! The trace for Perfetto, held against the Trace Event Format.

use std::collections::{BTreeMap, BTreeSet};

use corral_reports::perfetto;
use serde_json::Value;

use crate::sample::{HOSTILE, Story, run};

/// A process and a thread.
type Track = (u64, u64);

fn trace(story: Story<'_>) -> Vec<Value> {
    let whole: Value = serde_json::from_str(&perfetto(&run(story))).expect("JSON");
    whole["traceEvents"].as_array().expect("events").clone()
}

fn track(event: &Value) -> Track {
    (event["pid"].as_u64().expect("a pid"), event["tid"].as_u64().expect("a tid"))
}

#[test]
fn every_phase_has_what_the_format_asks_of_it() {
    for event in trace(Story { volume: HOSTILE, ..Story::FAILS }) {
        let has = |names: &[&str]| names.iter().all(|name| !event[*name].is_null());
        let complete = match event["ph"].as_str().expect("a phase") {
            "M" => has(&["name", "pid", "tid", "args"]) && event["args"]["name"].is_string(),
            "X" => has(&["name", "cat", "ts", "dur", "pid", "tid"]) && event["dur"].as_f64().unwrap() >= 0.0,
            "i" => has(&["name", "cat", "ts", "pid", "tid"]) && event["s"] == "t",
            "b" | "e" => has(&["name", "cat", "id", "ts", "pid", "tid"]),
            "s" => has(&["name", "cat", "id", "ts", "pid", "tid"]),
            "f" => has(&["name", "cat", "id", "ts", "pid", "tid"]) && event["bp"] == "e",
            other => panic!("phase {other} is not used here"),
        };
        assert!(complete, "{event}");
    }
}

#[test]
fn times_only_grow_and_spans_of_a_track_do_not_overlap() {
    let mut last: BTreeMap<Track, f64> = BTreeMap::new();
    let mut busy: BTreeMap<Track, f64> = BTreeMap::new();
    let events = trace(Story { rounds: 30, ..Story::FAILS });
    for event in events.iter().filter(|event| event["ph"] != "M") {
        let at = event["ts"].as_f64().unwrap();
        let before = last.insert(track(event), at).unwrap_or(0.0);
        assert!(at >= before, "{event} is before {before}");
        if event["ph"] == "X" {
            let until = busy.insert(track(event), at + event["dur"].as_f64().unwrap()).unwrap_or(0.0);
            assert!(at + 1e-6 >= until, "{event} begins before {until}");
        }
    }
}

#[test]
fn what_begins_ends_and_ids_are_its_own() {
    let mut open: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for event in trace(Story::FAILS) {
        let key = || (event["cat"].as_str().unwrap().to_owned(), event["id"].as_str().unwrap().to_owned());
        match event["ph"].as_str().unwrap() {
            "b" => {
                assert!(seen.insert(key()), "{event} has an id that another had");
                open.insert(key(), event.clone());
            }
            "e" => {
                let began = open.remove(&key()).expect("it began before");
                assert_eq!(began["name"], event["name"]);
                assert!(began["ts"].as_f64() <= event["ts"].as_f64());
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(seen.iter().any(|(category, _)| category == "fault"));
    assert!(seen.iter().any(|(category, _)| category == "Backup"));
}

#[test]
fn a_fault_that_is_over_at_once_ends_when_it_begins() {
    let events = trace(Story::FAILS);
    let told: Vec<&Value> = events.iter().filter(|event| event["name"] == "kill-process: ns/manager-y8*").collect();
    let [begin, end] = told.as_slice() else { panic!("{told:?}") };
    assert!(begin["ph"] == "b" && end["ph"] == "e", "{told:?}");
    assert_eq!((&begin["id"], &begin["ts"]), (&end["id"], &end["ts"]));
}

#[test]
fn who_is_alive_when_the_run_ends_has_no_end() {
    let file = run(Story::FAILS);
    let events = trace(Story::FAILS);
    let life = |name: &str| events.iter().find(|event| event["ph"] == "X" && event["name"] == name).expect("it lived");
    let until = |life: &Value| (life["ts"].as_f64().unwrap() + life["dur"].as_f64().unwrap()) * 1_000.0;
    let (alive, killed) = (life("ns/manager-x7/manager"), life("ns/manager-y8/manager"));
    assert_eq!((&alive["args"]["end"], until(alive).round() as u64), (&Value::Null, file.header.ended_at.0));
    assert_eq!(killed["args"]["end"], "was killed");
}

#[test]
fn an_arrow_leads_from_a_deletion_to_who_removed_the_last_finalizer() {
    let events = trace(Story::FAILS);
    let at = |name: &str| &events.iter().find(|event| event["name"] == name).expect("it is told")["ts"];
    let (deletion, answer) = (at("delete Backup ns/backup-1"), at("update Backup ns/backup-1: 200"));
    let start = events.iter().find(|event| event["ph"] == "s" && event["ts"] == *deletion).expect("an arrow starts");
    let end = events.iter().find(|event| event["ph"] == "f" && event["id"] == start["id"]).expect("it ends");
    assert_eq!(&end["ts"], answer);
}

#[test]
fn arrows_go_forward_from_something_to_something() {
    let events = trace(Story::FAILS);
    let mut marks: BTreeSet<(Track, u64)> = BTreeSet::new();
    let nanos = |event: &Value| (event["ts"].as_f64().unwrap() * 1_000.0).round() as u64;
    for event in events.iter().filter(|event| event["ph"] == "i" || event["ph"] == "X") {
        marks.insert((track(event), nanos(event)));
    }
    let mut starts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut arrows = 0;
    for event in events.iter().filter(|event| event["ph"] == "s" || event["ph"] == "f") {
        assert!(marks.contains(&(track(event), nanos(event))), "{event} is at nothing");
        let id = event["id"].as_u64().unwrap();
        if event["ph"] == "s" {
            starts.insert(id, nanos(event));
        } else {
            assert!(starts.remove(&id).expect("it starts before it ends") <= nanos(event));
            arrows += 1;
        }
    }
    assert!(arrows > 3 && starts.is_empty(), "{arrows} arrows, {starts:?} without an end");
}

#[test]
fn machines_and_processes_are_named() {
    let events = trace(Story::FAILS);
    let names: BTreeSet<&str> =
        events.iter().filter(|event| event["ph"] == "M").map(|event| event["args"]["name"].as_str().unwrap()).collect();
    for name in ["machine worker-1", "objects", "run", "manager-x7", "manager-x7: calls", "kube-apiserver: writes"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    let used: BTreeSet<Track> =
        events.iter().filter(|event| event["ph"] == "X" || event["ph"] == "i").map(track).collect();
    let named: BTreeSet<Track> = events.iter().filter(|event| event["name"] == "thread_name").map(track).collect();
    assert!(used.is_subset(&named), "{:?}", used.difference(&named));
}
