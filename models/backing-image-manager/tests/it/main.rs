//! Managers, data sources and their files in a simulated world, with real bytes.

mod backups;
mod bad_input;
mod export;
mod files;
mod support;
