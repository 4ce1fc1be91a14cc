//! How engines, replicas and backup stores are reached: through the engine's binary, whose command line is run on the host, and through
//! the services of instance managers.

pub mod answers;
pub mod arguments;
pub mod backing_image_manager;
pub mod backup_target_client;
pub mod connection;
pub mod credentials;
pub mod disk_service;
pub mod execute;
pub mod instance_manager;
pub mod news;
pub mod proxy;

pub use backup_target_client::BackupTargetClient;
