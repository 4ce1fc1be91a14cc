//! The binary as it is run: its commands, and its engine and replica processes on machines of a simulated network.

mod backups;
mod cluster;
mod command_line;
mod rebuild;
mod volume;
