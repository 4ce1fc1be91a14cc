//! From a journal to what a person reads: a page for a run, an index for a night of runs, a trace for Perfetto, JUnit for a build server.

mod faults;
mod html;
mod index;
mod junit;
mod markdown;
mod night;
mod page;
mod perfetto;
mod requests;
mod teardown;

pub use index::index;
pub use junit::junit;
pub use markdown::markdown;
pub use night::{Also, Files, Finding, Night};
pub use page::Page;
pub use perfetto::perfetto;
