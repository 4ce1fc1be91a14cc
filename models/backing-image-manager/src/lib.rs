//! The backing image manager and its data source: files, states, transfers, backups.
