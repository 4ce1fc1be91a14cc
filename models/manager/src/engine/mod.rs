//! The manager's half of the engine's command line: how the binary is run, and what its backup commands answer.

pub mod answers;
pub mod backup_target_client;
pub mod credentials;
pub mod execute;

pub use backup_target_client::BackupTargetClient;
