//! `longhorn backup ...`: volumes, backups and backing images in a target (backupstore cmd/list.go, remove.go,
//! inspect.go, head.go and backup_backing_image.go).

use longhorn_backupstore::url::{is_valid_name, unescape_ampersand};

use crate::Invocation;
use crate::flags::{Flag, Parsed};
use crate::outcome::{Failure, Outcome, json, missing};
use crate::volume_backup::CREATE_FLAGS;

impl Invocation {
    pub(crate) async fn backup(&self, arguments: &[String]) -> Outcome {
        let parsed = Parsed::strict(&[Flag::HELP], arguments).map_err(Failure::usage)?;
        let Some((command, rest)) = parsed.arguments.split_first().filter(|_| !parsed.has("help")) else {
            return Ok(help());
        };
        let flags: &[Flag] = match command.as_str() {
            "list" | "ls" => &[Flag::with_value("volume"), Flag::switch("volume-only"), Flag::HELP],
            "remove" | "rm" | "delete" => &[Flag::with_value("volume"), Flag::HELP],
            "create" => &CREATE_FLAGS,
            "status" => &[Flag::with_value("replica"), Flag::with_value("replica-instance-name"), Flag::HELP],
            "restore" => &[Flag::with_value("concurrent-limit"), Flag::HELP],
            _ => &[Flag::HELP],
        };
        let parsed = Parsed::anywhere(flags, rest).map_err(Failure::usage)?;
        if parsed.has("help") {
            return Ok(help());
        }
        match command.as_str() {
            "create" => self.create_backup(&parsed).await,
            "status" => self.backup_status(&parsed).await,
            "restore" => self.restore_backup(&parsed).await,
            "restore-status" => self.restore_status().await,
            "list" | "ls" => self.list(&parsed).await,
            "remove" | "rm" | "delete" => self.remove(&parsed).await,
            "inspect" => self.inspect(&parsed).await,
            "inspect-volume" => self.inspect_volume(&parsed).await,
            "head" => self.head(&parsed).await,
            "ls-backing-image" => self.list_backing_images(&parsed).await,
            "inspect-backing-image" => {
                let inspected = self.inspect_backing_image(&parsed).await;
                inspected.map_err(|failure| failure.fatal("Failed to run inspect-backing-image command"))
            }
            "rm-backing-image" => self.remove_backing_image(&parsed).await,
            // Targets that need mounting are not modelled, so there is never a mount to clean up.
            "cleanup-all-mounts" => Ok(String::new()),
            "help" | "h" => Ok(help()),
            other => Err(Failure::panic(format!("unrecognized command: {other}"))),
        }
    }

    async fn list(&self, parsed: &Parsed) -> Outcome {
        let target = address(parsed)?;
        let volume = Some(parsed.value("volume")).filter(|volume| !volume.is_empty());
        if let Some(volume) = volume
            && !is_valid_name(volume)
        {
            return Err(Failure::panic(format!("invalid volume name {volume} for backup")));
        }
        Ok(json(&self.open(target).await?.list(volume, parsed.has("volume-only")).await?))
    }

    /// Removes a backup, or with `--volume` everything of a volume.
    async fn remove(&self, parsed: &Parsed) -> Outcome {
        let target = address(parsed)?;
        let volume = parsed.value("volume");
        if volume.is_empty() {
            let address = unescape_ampersand(target);
            self.open(&address).await?.delete_backup(&address).await?;
        } else if is_valid_name(volume) {
            self.open(target).await?.delete_volume(volume).await?;
        } else {
            return Err(Failure::panic(format!("invalid backup volume name {volume}")));
        }
        Ok(String::new())
    }

    async fn inspect(&self, parsed: &Parsed) -> Outcome {
        let address = unescape_ampersand(address(parsed)?);
        Ok(json(&self.open(&address).await?.inspect_backup(&address).await?))
    }

    async fn inspect_volume(&self, parsed: &Parsed) -> Outcome {
        let address = unescape_ampersand(address(parsed)?);
        Ok(json(&self.open(&address).await?.inspect_volume(&address).await?))
    }

    async fn head(&self, parsed: &Parsed) -> Outcome {
        let address = unescape_ampersand(address(parsed)?);
        Ok(json(&self.open(&address).await?.config_metadata(&address).await?))
    }

    async fn list_backing_images(&self, parsed: &Parsed) -> Outcome {
        Ok(json(&self.open(address(parsed)?).await?.list_backing_images().await?))
    }

    async fn inspect_backing_image(&self, parsed: &Parsed) -> Outcome {
        let address = match parsed.arguments.first() {
            None => return Err(Failure::panic("missing required parameter for backup backing image URL")),
            Some(address) if address.is_empty() => return Err(missing("backup-url")),
            Some(address) => unescape_ampersand(address),
        };
        Ok(json(&self.open(&address).await?.inspect_backing_image(&address).await?))
    }

    async fn remove_backing_image(&self, parsed: &Parsed) -> Outcome {
        let address = unescape_ampersand(address(parsed)?);
        self.open(&address).await?.delete_backing_image(&address).await?;
        Ok(String::new())
    }
}

/// The first argument, which no command here can do without.
fn address(parsed: &Parsed) -> Result<&str, Failure> {
    match parsed.arguments.first() {
        Some(address) if !address.is_empty() => Ok(address),
        _ => Err(missing("dest URL")),
    }
}

fn help() -> String {
    "NAME:\n   longhorn backups\n\nCOMMANDS:\n   create\n   status\n   restore\n   restore-status\n   list, ls\n   remove, rm, delete\n   inspect-volume\n   inspect\n   head\n   \
     ls-backing-image\n   rm-backing-image\n   inspect-backing-image\n   cleanup-all-mounts\n"
        .to_owned()
}
