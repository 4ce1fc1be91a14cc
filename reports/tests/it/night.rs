//! The summary of a night: its schema, its index, its JUnit.

use std::path::Path;

use corral_reports::{Night, index, junit};
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::sample::{HOSTILE, night};

#[test]
fn the_committed_schema_is_what_the_types_give() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/summary.json");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let again = "cargo run -p corral-reports --example schema >reports/schema/summary.json";
    assert!(committed == Night::schema(), "the types have changed; `{again}` writes the schema again");
}

#[test]
fn a_summary_reads_back_and_unknown_fields_are_refused() {
    let json = serde_json::to_string(&night()).unwrap();
    assert_eq!(serde_json::from_str::<Night>(&json).unwrap(), night());
    let odd = json.replacen("\"runs\"", "\"rnus\"", 1);
    assert!(serde_json::from_str::<Night>(&odd).unwrap_err().to_string().contains("rnus"));
}

#[test]
fn the_index_tells_the_most_frequent_first_and_leads_to_everything() {
    let html = index(&night());
    let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is not said"));
    assert!(place("<article id=\"finding-1\">") < place("An acknowledged write is lost"));
    assert!(place("An acknowledged write is lost") < place("A system backup never ends"));
    for said in [
        "41 of 3000 runs",
        "5m32.704000s of simulated time",
        "corral replay seeds/10740.toml",
        "href=\"./10740.html\"",
        "href=\"./10740%20twin.jsonl\"",
        "passes with cure 10740",
        "fault: slow-store",
        "14 d 6 h",
    ] {
        place(said);
    }
    assert!(!html.contains("<script") && !html.contains("<b>\u{1b}"));
    assert!(html.contains("reads zeros \u{fffd}[31m&lt;b&gt;"));
}

#[test]
fn a_night_without_findings_says_so() {
    let html = index(&Night { findings: Vec::new(), failed: 0, ..night() });
    assert!(html.contains("nothing found") && !html.contains("<article"));
}

#[test]
fn junit_has_a_suite_a_scenario_and_a_failing_case_a_finding() {
    insta::assert_snapshot!(junit(&night()));
}

#[test]
fn junit_is_well_formed_whatever_it_is_told() {
    let mut night = night();
    for finding in &mut night.findings {
        finding.detail = format!("{HOSTILE}\u{0}\u{8}\u{fffe}\nline");
        finding.scenario = HOSTILE.into();
        finding.chain.push(format!("]]>{HOSTILE}\u{1b}"));
    }
    let text = junit(&night);
    assert!(!text.chars().any(|letter| (letter.is_control() && letter != '\n') || letter == '\u{fffe}'));
    let mut reader = Reader::from_str(&text);
    let (mut depth, mut failures) = (0, 0);
    loop {
        match reader.read_event().expect("it is well-formed") {
            Event::Start(start) => {
                depth += 1;
                failures += usize::from(start.name().as_ref() == "failure");
                for attribute in start.attributes() {
                    attribute.expect("attributes are well-formed");
                }
            }
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!((depth, failures), (0, 2));
}
