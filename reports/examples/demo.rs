//! Writes pages of runs that are built in code: `cargo run -p corral-reports --example demo FOLDER`. The browser test looks at them.

use std::path::Path;

use corral_reports::{Page, index, junit, perfetto};

#[path = "../tests/it/sample.rs"]
mod sample;

use sample::{HOSTILE, Story, night, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: demo FOLDER")?;
    let folder = Path::new(&folder);
    let (fails, passes) = (run(Story::FAILS), run(Story::PASSES));
    let hostile = run(Story { volume: HOSTILE, ..Story::FAILS });
    let large = run(Story { rounds: 20_000, ..Story::FAILS });
    let chain = ["   6.000000s  Volume vol-1: created".to_owned(), HOSTILE.to_owned()];
    let page = |run, twin| Page { run, twin, divergence: &[], chain: &chain, parted_at: None, decided: None }.html();
    let files = [
        ("run.html", page(&fails, None)),
        ("twin.html", page(&fails, Some(&passes))),
        ("hostile.html", page(&hostile, None)),
        ("large.html", page(&large, None)),
        ("index.html", index(&night())),
        ("junit.xml", junit(&night())),
        ("trace.json", perfetto(&fails)),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
