//! `longhorn system-backup ...` (backupstore cmd/system_backup.go). All of these report failures by a fatal log line.

use longhorn_backupstore::SystemBackupMaker;
use longhorn_backupstore::url::decode_system_backup;

use crate::Invocation;
use crate::flags::{Flag, Parsed};
use crate::outcome::{Failure, Outcome, json};

const UPLOAD_FLAGS: [Flag; 4] =
    [Flag::with_value("git-commit"), Flag::with_value("manager-image"), Flag::with_value("engine-image"), Flag::HELP];

impl Invocation {
    pub(crate) async fn system_backup(&self, arguments: &[String]) -> Outcome {
        let parsed = Parsed::strict(&[Flag::HELP], arguments).map_err(Failure::usage)?;
        let Some((command, rest)) = parsed.arguments.split_first().filter(|_| !parsed.has("help")) else {
            return Ok(help());
        };
        let flags: &[Flag] = if command == "upload" { &UPLOAD_FLAGS } else { &[Flag::HELP] };
        let parsed = Parsed::anywhere(flags, rest).map_err(Failure::usage)?;
        if parsed.has("help") {
            return Ok(help());
        }
        let (outcome, message) = match command.as_str() {
            "upload" => (self.upload(&parsed).await, "Failed to run upload system-backup command"),
            "delete" => (self.delete(&parsed).await, "Failed to run delete system backup command"),
            "download" => (self.download(&parsed).await, "Failed to run download system backup command"),
            "list" => (self.list_system_backups(&parsed).await, "Failed to run list system backup command"),
            "get-config" => (self.config(&parsed).await, "Failed to run get-config system backup command"),
            "help" | "h" => return Ok(help()),
            other => return Err(Failure::panic(format!("unrecognized command: {other}"))),
        };
        outcome.map_err(|failure| failure.fatal(message))
    }

    async fn upload(&self, parsed: &Parsed) -> Outcome {
        let [local, address] = parsed.arguments.as_slice() else {
            return Err(Failure::panic("missing required parameters to upload system backup"));
        };
        let target = decode_system_backup(address)?.target;
        let required = |name: &str| match parsed.value(name) {
            "" => Err(Failure::panic(format!("missing required parameter --{name}"))),
            value => Ok(value.to_owned()),
        };
        let maker = SystemBackupMaker {
            git_commit: required("git-commit")?,
            manager_image: required("manager-image")?,
            engine_image: required("engine-image")?,
        };
        self.open(&target).await?.upload_system_backup(local, address, maker).await?;
        Ok(String::new())
    }

    async fn delete(&self, parsed: &Parsed) -> Outcome {
        let address = first(parsed, "system backup URL")?;
        let target = decode_system_backup(address)?.target;
        self.open(&target).await?.delete_system_backup(address).await?;
        Ok(String::new())
    }

    async fn download(&self, parsed: &Parsed) -> Outcome {
        let [address, local] = parsed.arguments.as_slice() else {
            return Err(Failure::panic("missing required parameters to download system backup"));
        };
        let target = decode_system_backup(address)?.target;
        self.open(&target).await?.download_system_backup(address, local).await?;
        Ok(String::new())
    }

    async fn list_system_backups(&self, parsed: &Parsed) -> Outcome {
        let target = first(parsed, "backup target URL")?;
        Ok(json(&self.open(target).await?.list_system_backups().await?))
    }

    async fn config(&self, parsed: &Parsed) -> Outcome {
        let address = first(parsed, "system backup URL")?;
        let target = decode_system_backup(address)?.target;
        Ok(json(&self.open(&target).await?.system_backup_config(address).await?))
    }
}

fn first<'a>(parsed: &'a Parsed, what: &str) -> Result<&'a str, Failure> {
    let first = parsed.arguments.first().map(String::as_str);
    first.ok_or_else(|| Failure::panic(format!("missing required parameter for {what}")))
}

fn help() -> String {
    "NAME:\n   longhorn system-backup\n\nCOMMANDS:\n   upload\n   delete\n   download\n   list\n   get-config\n"
        .to_owned()
}
