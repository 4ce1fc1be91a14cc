//! The binary's command line (main.go and app/cmd; urfave/cli, version 1).

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::{Process, data_source, manager};

/// Flags of a command with their values, in their order.
struct Flags(Vec<(String, String)>);

impl Flags {
    /// Reads `--name value` and `--name=value` (one dash will do). All known flags take a value.
    fn parse(known: &[&str], arguments: &[String]) -> Result<Flags> {
        let mut flags = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { break };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if !known.contains(&name) {
                return Err(Error::invalid(format!("flag provided but not defined: -{name}")));
            }
            let value = value.or_else(|| rest.next().cloned());
            let value = value.ok_or_else(|| Error::invalid(format!("flag needs an argument: -{name}")))?;
            flags.push((name.to_owned(), value));
        }
        Ok(Flags(flags))
    }

    fn value(&self, name: &str, default: &str) -> String {
        let given = self.0.iter().rev().find(|(known, _)| known == name);
        given.map_or_else(|| default.to_owned(), |(_, value)| value.clone())
    }

    /// All values of a flag, each `key=value`.
    fn map(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let values = self.0.iter().filter(|(known, _)| known == name);
        values
            .map(|(_, pair)| match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
                _ => Err(Error::invalid(format!("invalid slice input {pair:?} due to the empty key"))),
            })
            .collect()
    }
}

/// Runs a command; gives the exit status.
pub(crate) async fn run(process: Process, arguments: &[String]) -> i32 {
    let arguments = match arguments.first().map(String::as_str) {
        Some("--debug" | "-debug") => &arguments[1..],
        _ => arguments,
    };
    let Some((command, rest)) = arguments.split_first() else {
        host::process::print("USAGE:\n   backing-image-manager [--debug] daemon|data-source [command options]\n");
        return 0;
    };
    let ended = match command.as_str() {
        "daemon" => daemon(process, rest).await.map_err(|error| ("start", error)),
        "data-source" => data_source(process, rest).await.map_err(|error| ("data-source", error)),
        other => {
            host::process::print_error(&format!("No help topic for '{other}'\n"));
            return 3;
        }
    };
    match ended {
        Ok(()) => 0,
        Err((command, error)) => {
            host::process::print_error(&format!(
                "level=fatal msg=\"Error running {command} command\" error={:?}\n",
                error.to_string()
            ));
            1
        }
    }
}

async fn daemon(process: Process, arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(&["listen", "sync-listen", "disk-uuid", "port-range"], arguments)?;
    let options = manager::Options {
        listen: flags.value("listen", "localhost:8000"),
        sync_listen: flags.value("sync-listen", "localhost:8001"),
        disk_uuid: flags.value("disk-uuid", ""),
        port_range: flags.value("port-range", "30001-31000"),
    };
    manager::run(process, options).await
}

async fn data_source(process: Process, arguments: &[String]) -> Result<()> {
    let known = ["listen", "sync-listen", "name", "uuid", "source-type", "parameters", "checksum", "credential"];
    let flags = Flags::parse(&known, arguments)?;
    let options = data_source::Options {
        listen: flags.value("listen", "localhost:8000"),
        sync_listen: flags.value("sync-listen", "localhost:8001"),
        name: flags.value("name", ""),
        uuid: flags.value("uuid", ""),
        source_type: flags.value("source-type", ""),
        checksum: flags.value("checksum", ""),
        parameters: flags.map("parameters")?,
        credential: flags.map("credential")?,
    };
    data_source::run(process, options).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_anything_after_the_first_equals_sign() {
        let arguments =
            ["--parameters", "backup-url=s3://b@r/?backingImage=parrot", "--parameters=a=b", "--checksum", "x"];
        let flags = Flags::parse(&["parameters", "checksum"], &arguments.map(str::to_owned)).expect("known flags");
        let parameters = flags.map("parameters").expect("pairs");
        assert_eq!(parameters["backup-url"], "s3://b@r/?backingImage=parrot");
        assert_eq!((parameters["a"].as_str(), flags.value("checksum", "").as_str()), ("b", "x"));
        assert!(Flags::parse(&["a"], &["--b".to_owned(), "c".to_owned()]).is_err());
    }
}
