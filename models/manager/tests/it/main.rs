//! The manager in a simulated cluster; one binary, because linking many takes longer than running them.

mod backup_deletion;
mod backup_target;
mod common;
mod empty_listing;
mod other_backups;
mod start;
mod upgrade;
