//! JUnit XML, for build servers: a suite a scenario, a failing case a finding.

use std::collections::BTreeMap;

use corral_core::Nanos;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use crate::{Finding, Night};

/// A night as JUnit XML.
pub fn junit(night: &Night) -> String {
    let mut suites: BTreeMap<&str, Vec<&Finding>> =
        night.scenarios.iter().map(|scenario| (scenario.as_str(), Vec::new())).collect();
    for finding in night.sorted() {
        suites.entry(finding.scenario.as_str()).or_default().push(finding);
    }
    let tests = suites.len() + night.findings.len();
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut writer, Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
    let root = with(
        "testsuites",
        &[
            ("name", night.title.clone()),
            ("tests", tests.to_string()),
            ("failures", night.findings.len().to_string()),
            ("errors", "0".to_owned()),
            ("time", format!("{:.3}", night.real_seconds)),
        ],
    );
    write(&mut writer, Event::Start(root));
    for (scenario, findings) in &suites {
        let suite = with(
            "testsuite",
            &[
                ("name", (*scenario).to_owned()),
                ("tests", (findings.len() + 1).to_string()),
                ("failures", findings.len().to_string()),
                ("errors", "0".to_owned()),
            ],
        );
        write(&mut writer, Event::Start(suite));
        // That it ran at all: without it, a suite without findings would be empty, and some servers leave empty ones out.
        write(
            &mut writer,
            Event::Empty(with("testcase", &[("name", "runs".to_owned()), ("classname", (*scenario).to_owned())])),
        );
        for finding in findings {
            case(&mut writer, scenario, finding);
        }
        write(&mut writer, Event::End(BytesEnd::new("testsuite")));
    }
    write(&mut writer, Event::End(BytesEnd::new("testsuites")));
    String::from_utf8(writer.into_inner()).expect("it was made of strings") + "\n"
}

fn case(writer: &mut Writer<Vec<u8>>, scenario: &str, finding: &Finding) {
    let name = format!("{}: {}", finding.oracle, finding.signature);
    write(writer, Event::Start(with("testcase", &[("name", name), ("classname", scenario.to_owned())])));
    let attributes = [("message", finding.detail.clone()), ("type", finding.oracle.clone())];
    write(writer, Event::Start(with("failure", &attributes)));
    let body = readable(&body(finding));
    write(writer, Event::Text(BytesText::new(&body)));
    write(writer, Event::End(BytesEnd::new("failure")));
    write(writer, Event::End(BytesEnd::new("testcase")));
}

/// What a build server shows of a failure.
fn body(finding: &Finding) -> String {
    let mut head = format!("{} runs showed it; this is seed {}, {}", finding.runs, finding.seed, finding.arm);
    // Of a smaller run the story tells.
    if finding.at_ns > 0 && finding.removed.is_empty() {
        head.push_str(&format!(", at {}", Nanos(finding.at_ns)));
    }
    head.push('.');
    let mut paragraphs = vec![head, finding.story.clone()];
    let told = [
        ("To see it again:", &finding.reproduce),
        ("What makes it go away, and what does not:", &finding.attribution),
        ("How it came about:", &finding.chain),
    ];
    for (heading, lines) in told {
        if !lines.is_empty() {
            paragraphs.push(format!("{heading}\n{}", lines.join("\n")));
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs.join("\n\n")
}

fn with(name: &'static str, attributes: &[(&str, String)]) -> BytesStart<'static> {
    let mut start = BytesStart::new(name);
    for (name, value) in attributes {
        // A line in an attribute would be read back as a space.
        start.push_attribute((*name, readable(value).replace('\n', " ").as_str()));
    }
    start
}

fn write(writer: &mut Writer<Vec<u8>>, event: Event<'_>) {
    writer.write_event(event).expect("writing into memory cannot fail");
}

/// Text without what XML 1.0 forbids: control characters and noncharacters.
fn readable(text: &str) -> String {
    let is_allowed = |letter: &char| match letter {
        '\t' | '\n' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => !letter.is_control(),
    };
    text.chars().filter(is_allowed).collect()
}
