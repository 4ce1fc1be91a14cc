//! `corral report`: a journal as a page, as a trace, as data, as JUnit's XML.

use corral_explore::{USUAL_LINES, explain, first_violation, parting};
use corral_reports::Page;
use corral_scenarios::catalogue;

use crate::arguments::ReportOptions;
use crate::failure::{Done, Refused, Status};
use crate::{journal, night};

/// Writes what the ending of the file's name asks for.
pub fn report(options: &ReportOptions) -> Done {
    let out = &options.out;
    let run = journal::read(&options.journal)?;
    let twin = options.twin.as_deref().map(journal::read).transpose()?;
    let is_trace = out.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".trace.json"));
    let text = match out.extension().and_then(|ending| ending.to_str()) {
        Some("html") => {
            let differs = twin.as_ref().map(|twin| format!("({})", twin.header.title)).unwrap_or_default();
            let beside = twin.as_ref().map(|twin| (twin, differs.as_str()));
            let found = first_violation(&run, catalogue(), |_| true);
            let explained = found.map(|found| explain(&run, &found, beside, &[], USUAL_LINES)).transpose()?;
            let (divergence, chain) = explained.map(|told| (told.divergence, told.chain)).unwrap_or_default();
            let parted_at = twin.as_ref().and_then(|twin| parting(&run, twin));
            Page {
                run: &run,
                twin: twin.as_ref(),
                divergence: &divergence.lines,
                chain: &chain,
                parted_at,
                decided: None,
            }
            .html()
        }
        Some("json") if is_trace => corral_reports::perfetto(&run),
        Some("json") => format!("{:#}\n", serde_json::to_value(night::of_run(&run)).map_err(Refused::new)?),
        Some("xml") => corral_reports::junit(&night::of_run(&run)),
        _ => {
            return Err(Refused::new(format!(
                "{}: allowed are names that end in .html (a page), .trace.json (for Perfetto), .json (data) or .xml (JUnit)",
                out.display()
            )));
        }
    };
    std::fs::write(out, text).map_err(|error| Refused::path(out, "cannot be written", error))?;
    Ok(Status::AsExpected)
}
