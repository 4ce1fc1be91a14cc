//! `longhorn version` (version.go and pkg/meta/version.go): the interfaces an engine image speaks, the same in all
//! modelled releases.

use longhorn_api::Build;
use longhorn_rpc::ptypes;
use serde::Serialize;

use crate::Invocation;
use crate::flags::{Flag, Parsed};
use crate::outcome::{Failure, Outcome, json};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client_version: Version,
    server_version: Option<Version>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: String,
    git_commit: String,
    build_date: String,
    #[serde(rename = "cliAPIVersion")]
    cli_api_version: u32,
    #[serde(rename = "cliAPIMinVersion")]
    cli_api_min_version: u32,
    #[serde(rename = "controllerAPIVersion")]
    controller_api_version: u32,
    #[serde(rename = "controllerAPIMinVersion")]
    controller_api_min_version: u32,
    data_format_version: u32,
    data_format_min_version: u32,
}

/// The versions of the interfaces: of the command line, the engine's service, and what lies in a replica's directory.
const CLI_API: (u32, u32) = (10, 8);
const CONTROLLER_API: (u32, u32) = (5, 4);
const DATA_FORMAT: (u32, u32) = (1, 1);

/// What an engine process says of itself.
pub(crate) fn output(build: &Build) -> ptypes::VersionOutput {
    ptypes::VersionOutput {
        version: build.release().to_string(),
        git_commit: String::new(),
        build_date: String::new(),
        cli_api_version: CLI_API.0.into(),
        cli_api_min_version: CLI_API.1.into(),
        controller_api_version: CONTROLLER_API.0.into(),
        controller_api_min_version: CONTROLLER_API.1.into(),
        data_format_version: DATA_FORMAT.0.into(),
        data_format_min_version: DATA_FORMAT.1.into(),
    }
}

impl Invocation {
    /// The image's own versions. Asking an engine process for its versions as well is not possible here.
    pub(crate) fn version(&self, arguments: &[String]) -> Outcome {
        let parsed = Parsed::anywhere(&[Flag::switch("client-only"), Flag::HELP], arguments).map_err(Failure::usage)?;
        if parsed.has("help") {
            return Ok("NAME:\n   longhorn version\n\nOPTIONS:\n   --client-only\n".to_owned());
        }
        if !parsed.has("client-only") {
            let failure = Failure::panic("engine processes are not modelled: only --client-only can be answered");
            return Err(failure.fatal("Error running info command:"));
        }
        let client_version = Version {
            version: self.engine.build.release().to_string(),
            git_commit: String::new(),
            build_date: String::new(),
            cli_api_version: CLI_API.0,
            cli_api_min_version: CLI_API.1,
            controller_api_version: CONTROLLER_API.0,
            controller_api_min_version: CONTROLLER_API.1,
            data_format_version: DATA_FORMAT.0,
            data_format_min_version: DATA_FORMAT.1,
        };
        Ok(json(&Versions { client_version, server_version: None }))
    }
}
