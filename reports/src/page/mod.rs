//! One run as one HTML file: what is wrong and why at the top, a timeline of everything below. It opens from disk and loads nothing.

mod bars;
mod data;
mod head;
mod heartbeats;
mod lane_of;
mod lanes;
pub(crate) mod names;
mod plan;
mod reads;
mod rows;
mod strings;
mod summary;

use corral_core::Nanos;
use corral_core::journal::JournalFile;
use serde::Serialize;

use crate::html;
use data::Data;
use summary::Summary;

/// The style of the page of a run; the index begins with the same colours.
pub(crate) const COLOURS: &str = include_str!("colours.css");
const STYLE: &str = include_str!("page.css");

/// The script, in the order in which its parts build on each other.
const SCRIPT: &[&str] = &[
    include_str!("text.js"),
    include_str!("model.js"),
    include_str!("lanes.js"),
    include_str!("filter.js"),
    include_str!("view.js"),
    include_str!("draw.js"),
    include_str!("panel.js"),
    include_str!("table.js"),
    include_str!("input.js"),
    include_str!("main.js"),
];

/// The report of one run.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The run.
    pub run: &'a JournalFile,
    /// A run that passed and differs in little, to be shown beside it.
    pub twin: Option<&'a JournalFile>,
    /// What the twin did otherwise first, as lines.
    pub divergence: &'a [String],
    /// How the violation came about, as lines, each with its time in front.
    pub chain: &'a [String],
    /// When the run parted from its twin, in its own time and in the twin's.
    pub parted_at: Option<(Nanos, Nanos)>,
    /// Between which times the failure was decided, if that was searched for: up to the first the run could still pass.
    pub decided: Option<(Nanos, Nanos)>,
}

/// What the page's script is given.
#[derive(Serialize)]
struct Embedded {
    kinds: &'static [(&'static str, &'static [(&'static str, char)])],
    runs: Vec<Data>,
    /// When the runs part, in the run and in its twin.
    parted: Option<(u64, u64)>,
    /// Between which times of the run its failure was decided.
    decided: Option<(u64, u64)>,
}

impl Page<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let summary = Summary::of(self.run);
        let parted = self.parted_at;
        let mut runs = vec![Data::of(self.run, &summary)];
        runs.extend(self.twin.map(|twin| Data::of(twin, &Summary::of(twin))));
        let numbers = |times: Option<(Nanos, Nanos)>| times.map(|(one, other)| (one.0, other.0));
        let (parted_at, decided) = (numbers(parted), numbers(self.decided));
        let embedded = Embedded { kinds: rows::KINDS, runs, parted: parted_at, decided };
        let json = serde_json::to_string(&embedded).expect("numbers and strings are JSON");
        let body = format!(
            "{}{}<script type=\"application/json\" id=\"data\">{}</script>",
            head::head(self, &summary, parted),
            include_str!("body.html"),
            html::script_json(&json)
        );
        let script = format!("'use strict';\n(() => {{\n{}\n}})();\n", SCRIPT.join("\n"));
        let style = format!("{COLOURS}{STYLE}");
        html::document(&self.run.header.title, &style, &body, &script)
    }
}
