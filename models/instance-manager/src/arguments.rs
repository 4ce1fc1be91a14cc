//! The command line: `longhorn-instance-manager [global flags] daemon [flags]` (`main.go`, `app/cmd/start.go`), and the image's entry point in
//! front of it, which takes what is for spdk_tgt away (`package/instance-manager`).

use std::net::Ipv4Addr;

/// What the daemon is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Port of the process manager; the other services' follow.
    pub port: u16,
    /// Ports for processes.
    pub process_ports: String,
    /// Ports for what the v2 data engine exposes.
    pub spdk_ports: String,
    /// Whether there is a v2 data engine.
    pub spdk_enabled: bool,
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    /// Another command than `daemon`, or none.
    #[error("No help topic for '{0}'")]
    Command(String),
    /// Not a flag of this command.
    #[error("flag provided but not defined: -{0}")]
    Flag(String),
    /// A flag without its value.
    #[error("flag needs an argument: -{0}")]
    Value(String),
    /// Not an address to listen at.
    #[error("invalid endpoint: {0}")]
    Listen(String),
}

impl Arguments {
    /// Reads arguments, without the program's name.
    pub fn parse(arguments: &[String]) -> Result<Self, UsageError> {
        let mut parsed = Self {
            port: 8500,
            process_ports: "10000-20000".to_owned(),
            spdk_ports: "20001-30000".to_owned(),
            spdk_enabled: false,
        };
        let mut rest = arguments.iter();
        let mut command = None;
        while let Some(argument) = rest.next() {
            let Some((name, value)) = flag(argument) else {
                if command.replace(argument.as_str()).is_some() || argument != "daemon" {
                    return Err(UsageError::Command(argument.clone()));
                }
                continue;
            };
            let mut value = || {
                let value = value.map(str::to_owned).or_else(|| rest.next().cloned());
                value.ok_or_else(|| UsageError::Value(name.to_owned()))
            };
            match (command, name) {
                // The entry point's own: whether to start spdk_tgt, and how.
                (_, "debug" | "enable-spdk" | "s") => {}
                (_, "spdk-log" | "l" | "spdk-cpumask" | "m") => drop(value()?),
                (None, "url" | "tls-dir") => drop(value()?),
                (Some(_), "spdk-enabled") => parsed.spdk_enabled = true,
                (Some(_), "listen") => parsed.port = port_of(&value()?)?,
                (Some(_), "logs-dir") => drop(value()?),
                (Some(_), "port-range") => parsed.process_ports = value()?,
                (Some(_), "spdk-port-range") => parsed.spdk_ports = value()?,
                _ => return Err(UsageError::Flag(name.to_owned())),
            }
        }
        command.map(|_| parsed).ok_or_else(|| UsageError::Command(String::new()))
    }
}

fn flag(argument: &str) -> Option<(&str, Option<&str>)> {
    let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).filter(|name| !name.is_empty())?;
    Some(name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value))))
}

/// The port of an endpoint. A pod has one address, so whatever host stands before it is that.
fn port_of(endpoint: &str) -> Result<u16, UsageError> {
    let invalid = || UsageError::Listen(endpoint.to_owned());
    let address = endpoint.strip_prefix("tcp://").unwrap_or(endpoint);
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    if !matches!(host, "" | "localhost") && host.parse::<Ipv4Addr>().is_err() {
        return Err(invalid());
    }
    port.parse().map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, UsageError> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_managers_command_lines_are_understood() {
        let v1 = parse("--debug daemon --listen 0.0.0.0:8500").unwrap();
        assert_eq!((v1.port, v1.spdk_enabled, v1.process_ports.as_str()), (8500, false, "10000-20000"));
        let v2 = parse(
            "--spdk-log all --spdk-cpumask 0x1 --enable-spdk --debug daemon --spdk-enabled --listen 0.0.0.0:8500",
        );
        assert!(v2.unwrap().spdk_enabled);
        let ports = parse("daemon --port-range=1-2 --spdk-port-range 3-4 --listen tcp://localhost:9").unwrap();
        assert_eq!((ports.port, ports.process_ports.as_str(), ports.spdk_ports.as_str()), (9, "1-2", "3-4"));
    }

    #[test]
    fn the_rest_is_refused() {
        assert_eq!(parse(""), Err(UsageError::Command(String::new())));
        assert_eq!(parse("deamon"), Err(UsageError::Command("deamon".into())));
        assert_eq!(parse("daemon --nope"), Err(UsageError::Flag("nope".into())));
        assert_eq!(parse("daemon --listen"), Err(UsageError::Value("listen".into())));
        assert_eq!(parse("daemon --listen nowhere"), Err(UsageError::Listen("nowhere".into())));
    }
}
