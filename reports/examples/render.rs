//! Renders a journal: `cargo run -p corral-reports --example render JOURNAL [TWIN] OUT`; OUT ends in `.html` or `.json` (for Perfetto).

use std::fs::File;
use std::io::BufReader;

use corral_core::journal::{JournalFile, file};
use corral_reports::{Page, perfetto};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((out, journals)) = arguments.split_last().filter(|(_, journals)| !journals.is_empty()) else {
        return Err("usage: render JOURNAL [TWIN] OUT".into());
    };
    let read = |path: &String| -> Result<JournalFile, Box<dyn std::error::Error>> {
        Ok(file::read(BufReader::new(File::open(path)?)).map_err(|error| format!("{path}: {error}"))?)
    };
    let run = read(&journals[0])?;
    let twin = journals.get(1).map(read).transpose()?;
    let text = if out.ends_with(".json") {
        perfetto(&run)
    } else {
        Page { run: &run, twin: twin.as_ref(), divergence: &[], chain: &[], parted_at: None }.html()
    };
    std::fs::write(out, text)?;
    Ok(())
}
