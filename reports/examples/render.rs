//! Renders a journal: `cargo run -p corral-reports --example render JOURNAL [TWIN] [CHAIN.txt] OUT`. OUT ends in `.html`, or in `.json` for Perfetto.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;

use corral_core::journal::{JournalFile, file};
use corral_reports::{Page, perfetto};

fn read(path: &String) -> Result<JournalFile, Box<dyn Error>> {
    Ok(file::read(BufReader::new(File::open(path)?)).map_err(|error| format!("{path}: {error}"))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (chains, journals): (Vec<String>, Vec<String>) = arguments.into_iter().partition(|path| path.ends_with(".txt"));
    let Some((out, journals)) = journals.split_last().filter(|(_, journals)| !journals.is_empty()) else {
        return Err("usage: render JOURNAL [TWIN] [CHAIN.txt] OUT".into());
    };
    let run = read(&journals[0])?;
    let twin = journals.get(1).map(read).transpose()?;
    let chain = chains.first().map(std::fs::read_to_string).transpose()?.unwrap_or_default();
    let chain: Vec<String> = chain.lines().map(str::to_owned).collect();
    let page = Page { run: &run, twin: twin.as_ref(), divergence: &[], chain: &chain, parted_at: None, decided: None };
    let text = if out.ends_with(".json") { perfetto(&run) } else { page.html() };
    std::fs::write(out, text)?;
    Ok(())
}
