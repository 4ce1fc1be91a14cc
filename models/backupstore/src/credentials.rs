//! What a process needs to know to reach a target: the variables that the manager puts into the engine binary's
//! environment.

use std::collections::BTreeMap;

/// The variables the drivers look at (types/types.go upstream).
const NAMES: [&str; 10] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ENDPOINTS",
    "AWS_CERT",
    "AWS_REGION",
    "VIRTUAL_HOSTED_STYLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "AWS_SESSION_TOKEN",
];

/// Credentials and endpoint of a target, by the name of the variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<String, String>);

impl Credentials {
    /// No credentials, as local directories need.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those in the process's environment.
    pub fn from_environment() -> Self {
        NAMES.iter().filter_map(|name| Some(((*name).to_owned(), host::process::env_var(name)?))).collect()
    }

    /// A variable's value; empty if it is not set.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl FromIterator<(String, String)> for Credentials {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}
