//! The page of a run: what is embedded, that nothing from a cluster is taken for markup, that it stays small.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corral_core::Nanos;
use corral_core::journal::JournalFile;
use corral_reports::Page;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::sample::{HOSTILE, Story, run};

fn html(run: &JournalFile, twin: Option<&JournalFile>) -> String {
    let chain = ["   0.100000s  Volume vol-1: created".to_owned(), HOSTILE.to_owned()];
    Page { run, twin, divergence: &["they part".to_owned()], chain: &chain, parted_at: None, decided: None }.html()
}

fn embedded(html: &str) -> Value {
    let begin = "<script type=\"application/json\" id=\"data\">";
    let start = html.find(begin).expect("the data are embedded") + begin.len();
    let end = start + html[start..].find("</script>").expect("the data end");
    serde_json::from_str(&html[start..end]).expect("the data are JSON")
}

/// The strings, and a run's events as kind, lane and fields, with texts in place.
struct Told {
    data: Value,
    run: usize,
}

impl Told {
    fn of(run: &JournalFile) -> Told {
        Told { data: embedded(&html(run, None)), run: 0 }
    }

    fn part(&self, name: &str) -> &Value {
        &self.data["runs"][self.run][name]
    }

    fn text(&self, number: &Value) -> &str {
        self.part("strings")[number.as_u64().unwrap() as usize].as_str().unwrap()
    }

    fn rows(&self, kind: &str) -> Vec<usize> {
        let number = self.data["kinds"].as_array().unwrap().iter().position(|known| known[0] == kind).unwrap();
        let events = self.part("events").as_array().unwrap().iter().enumerate();
        events.filter(|(_, event)| event[0] == number).map(|(row, _)| row).collect()
    }

    fn requests(&self, verb: &str) -> Vec<usize> {
        let is_verb = |row: &usize| self.text(&self.part("events")[*row][7]) == verb;
        self.rows("api-request").into_iter().filter(is_verb).collect()
    }

    fn lane(&self, row: usize) -> (String, String) {
        let lane = &self.part("lanes")[self.part("events")[row][4].as_u64().unwrap() as usize];
        let group = &self.part("groups")[lane["group"].as_u64().unwrap() as usize];
        (group["label"].as_str().unwrap().to_owned(), lane["label"].as_str().unwrap().to_owned())
    }

    /// Lane and style of every bar.
    fn bars(&self) -> Vec<(String, String)> {
        let bars = self.part("bars").as_array().unwrap().iter();
        let lane = |bar: &Value| self.part("lanes")[bar[0].as_u64().unwrap() as usize]["label"].clone();
        bars.map(|bar| (lane(bar).as_str().unwrap().to_owned(), bar[3].as_str().unwrap().to_owned())).collect()
    }

    /// When the first bar of this lane and style begins and ends.
    fn span(&self, lane: &str, style: &str) -> (Nanos, Nanos) {
        let bars = self.bars();
        let place = bars.iter().position(|bar| bar.0 == lane && bar.1 == style);
        let bar = &self.part("bars")[place.unwrap_or_else(|| panic!("{lane} has no bar {style}: {bars:?}"))];
        (Nanos(bar[1].as_u64().unwrap()), Nanos(bar[2].as_u64().unwrap()))
    }
}

#[test]
fn every_event_stands_in_its_lane() {
    let told = Told::of(&run(Story::FAILS));
    let lane = |kind: &str| told.lane(told.rows(kind)[0]);
    let lanes =
        ["violation", "step", "hazard", "fault", "machine", "call", "store-operation", "log", "connected"].map(lane);
    let said: Vec<String> = lanes.iter().map(|(group, lane)| format!("{group}/{lane}")).collect();
    assert_eq!(
        said,
        [
            "Run/violations",
            "Run/client's steps",
            "Run/hazards",
            "Faults/slow-api: all clients",
            "Machines/control-plane",
            "Calls/manager-x7 · exec tool backup",
            "Object store/put",
            "Logs/manager-x7",
            "Connections/manager-x7",
        ]
    );
    assert_eq!(told.lane(told.rows("api-refused")[0]), ("Backup".to_owned(), "backup-1".to_owned()));
    assert_eq!(
        told.lane(told.rows("api-request")[0]),
        ("Requests of manager-x7".to_owned(), "volume-controller".to_owned())
    );
}

#[test]
fn lives_and_states_are_bars() {
    let bars = Told::of(&run(Story::FAILS)).bars();
    for (lane, style) in [
        ("backup-1", "object"),
        ("backup-1", "deleting"),
        ("vol-1", "object"),
        ("worker-1", "running"),
        ("slow-api: all clients", "fault"),
        ("manager-x7", "process"),
        ("manager-y8", "ended-badly"),
        ("manager-x7: tool", "program"),
        ("manager-x7 · exec tool backup", "call-failed"),
        ("leader", "heartbeats"),
    ] {
        assert!(bars.contains(&(lane.to_owned(), style.to_owned())), "{lane} has no bar {style}: {bars:?}");
    }
}

#[test]
fn who_is_killed_ended_badly_and_who_is_alive_at_the_end_did_not() {
    let file = run(Story::FAILS);
    let told = Told::of(&file);
    let bad: Vec<_> = told.bars().into_iter().filter(|(_, style)| style == "ended-badly").collect();
    assert_eq!(bad, [("manager-y8".to_owned(), "ended-badly".to_owned())]);
    assert!(told.span("manager-y8", "ended-badly").1 < file.header.ended_at);
    assert_eq!(told.span("manager-x7", "process").1, file.header.ended_at);
    let ends = told.rows("process-ended").into_iter().map(|row| {
        let event = &told.part("events")[row];
        (told.text(&event[8]), told.text(&event[9]), event[1].as_u64().unwrap())
    });
    assert_eq!(
        ends.collect::<Vec<_>>(),
        [
            ("ns/manager-x7/manager:tool", "exited with 1", 1),
            ("ns/manager-y8/manager", "was killed", 1),
            ("corral", "was alive when the run ended", 0),
            ("kube-apiserver", "was alive when the run ended", 0),
            ("ns/manager-x7/manager", "was alive when the run ended", 0),
        ]
    );
}

#[test]
fn a_fault_that_is_over_at_once_has_one_time() {
    let file = run(Story::FAILS);
    let told = Told::of(&file);
    let (from, until) = told.span("kill-process: ns/manager-y8*", "fault");
    assert_eq!(from, until);
    let (begins, ends) = told.span("slow-api: all clients", "fault");
    let html = html(&file, None);
    for said in
        [format!(">{from}  kill-process of ns/manager-y8*<"), format!(">{begins} to {ends}  slow-api of all clients<")]
    {
        assert!(html.contains(&said), "{said} is not said");
    }
}

#[test]
fn a_read_leads_to_the_write_that_it_saw_and_to_the_one_that_it_missed() {
    let told = Told::of(&run(Story::FAILS));
    let writes = told.rows("api-write");
    let of_volume: Vec<usize> = writes.iter().copied().filter(|row| told.lane(*row).1 == "vol-1").collect();
    let request = told.requests("delete")[0];
    let read = &told.part("reads")[request.to_string()];
    assert_eq!((told.text(&read[0]), told.text(&read[1])), ("Volume", "ns/vol-1"));
    assert_eq!(read[3], 3_000_000_000_u64);
    let (saw, missed) = (read[5].as_u64().unwrap() as usize - 1, read[6].as_u64().unwrap() as usize - 1);
    assert_eq!((saw, missed, &read[7]), (of_volume[0], *of_volume.last().unwrap(), &Value::from(3)));
    // The same request made the write that marks the backup for deletion.
    let made: Vec<usize> =
        told.part("made").as_array().unwrap().iter().map(|row| row.as_u64().unwrap() as usize).collect();
    let pair = made.chunks(2).find(|pair| pair[0] == request).unwrap();
    assert_eq!(told.lane(pair[1]).1, "backup-1");
    let changed = &told.part("changes")[pair[1].to_string()];
    assert_eq!(told.text(&changed[0]), "metadata.deletionTimestamp");
}

#[test]
fn who_removed_the_last_finalizer_made_the_deletion_and_missed_nothing() {
    let told = Told::of(&run(Story::FAILS));
    let request = *told.requests("update").last().unwrap();
    let made = told.part("made").as_array().unwrap().chunks(2).find(|pair| pair[0] == request).unwrap();
    let write = made[1].as_u64().unwrap() as usize;
    assert_eq!((told.lane(write).1.as_str(), told.text(&told.part("events")[write][7])), ("backup-1", "delete"));
    let read = &told.part("reads")[request.to_string()];
    assert_eq!((told.text(&read[0]), &read[6], &read[7]), ("Backup", &Value::from(0), &Value::from(0)));
}

#[test]
fn heartbeats_are_counted_and_left_out() {
    let file = run(Story { rounds: 20, ..Story::FAILS });
    let told = Told::of(&file);
    assert_eq!(told.part("folded"), 40);
    let leases = told.rows("api-write").into_iter().filter(|row| told.lane(*row).0 == "Lease").count();
    assert_eq!(leases, 1, "that it was created is told");
    assert!(told.part("strings").as_array().unwrap().iter().any(|text| text == "renewed 20 times"));
}

#[test]
fn nothing_from_the_cluster_is_markup() {
    let file = run(Story { volume: HOSTILE, ..Story::FAILS });
    let html = html(&file, Some(&run(Story { volume: HOSTILE, ..Story::PASSES })));
    assert_eq!(html.matches("<script").count(), 2);
    assert_eq!(html.matches("</script").count(), 2);
    assert_eq!(html.matches("<img").count(), 0);
    assert!(!html.contains("<!--"));
    let strings = embedded(&html)["runs"][0]["strings"].clone();
    assert!(strings.as_array().unwrap().iter().any(|text| text == HOSTILE), "it is told as it is");
    let script = &html[html.find("<script>").unwrap() + 8..];
    let script = &script[..script.find("</script>").unwrap()];
    for unsafe_way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(unsafe_way), "{unsafe_way}");
    }
    // And if some were taken for markup, the page's policy would not run it.
    assert!(html.contains(&format!("script-src 'sha256-{}'", STANDARD.encode(Sha256::digest(script)))));
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn two_runs_stand_beside_each_other_and_part_where_it_is_said() {
    let (fails, passes) = (run(Story::FAILS), run(Story::PASSES));
    let data = embedded(&html(&fails, Some(&passes)));
    assert_eq!(data["runs"].as_array().unwrap().len(), 2);
    assert_eq!(data["parted"], Value::Null);
    let parted_at = Some((Nanos(3), Nanos(4)));
    let decided = Some((Nanos(1_000_000_000), Nanos(2_000_000_000)));
    let html = Page { run: &fails, twin: Some(&passes), divergence: &[], chain: &[], parted_at, decided }.html();
    let data = embedded(&html);
    assert_eq!(data["parted"], serde_json::json!([3, 4]));
    assert_eq!(data["decided"], serde_json::json!([1_000_000_000, 2_000_000_000]));
    assert!(html.contains("Decided between"), "told without a script too");
}

#[test]
fn the_top_says_what_why_and_how_to_get_it_again_without_a_script() {
    let html = html(&run(Story::FAILS), None);
    let top = &html[..html.find("id=\"explorer\"").unwrap()];
    for said in [
        "1 violation",
        "backups-are-kept",
        "backup-1 of vol-1 is gone",
        "Volume vol-1: created",
        "they part",
        "corral run sample --release v1",
        "acted-on-a-stale-read, 1 times",
        "fault-while-used",
        "backup volume vol-1",
        "slow-api for 2s, after 1s",
    ] {
        assert!(top.contains(said), "{said} is not said");
    }
}

#[test]
fn an_empty_run_has_a_page() {
    let mut file = run(Story::PASSES);
    file.records.clear();
    file.changes.clear();
    file.logs.clear();
    assert!(html(&file, None).contains("no violation"));
}

#[test]
fn ten_thousand_events_stay_small() {
    let file = run(Story { rounds: 2_000, ..Story::FAILS });
    assert!(file.records.len() > 10_000, "{}", file.records.len());
    let size = html(&file, None).len();
    assert!(size < 2 << 20, "{size} bytes");
}
