//! What the reports say, through their public functions.

mod night;
mod page;
mod sample;
mod trace;
