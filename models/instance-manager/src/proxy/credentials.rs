//! Credentials of backup targets: each request brings them as environment variables, which upstream puts into the environment of the whole pod and
//! reads again from there (`setEnv`, backupstore `util/credential.go`). What one target's request sets, and the next one's does not, stays.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tonic::Status;

/// The pod's environment, as far as requests have set it.
#[derive(Default)]
pub(super) struct Environment(Mutex<BTreeMap<String, String>>);

/// Variables for each kind of target. Of S3 the keys are apart: both or none.
const S3: [&str; 6] = ["AWS_ENDPOINTS", "AWS_CERT", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "VIRTUAL_HOSTED_STYLE"];
const CIFS: [&str; 2] = ["CIFS_USERNAME", "CIFS_PASSWORD"];
const AZURE: [&str; 7] = [
    "AZBLOB_ACCOUNT_NAME",
    "AZBLOB_ACCOUNT_KEY",
    "AZBLOB_ENDPOINT",
    "AZBLOB_CERT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
];
const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";

impl Environment {
    /// Sets what a request brings, and gives what its target needs.
    pub fn credential(&self, variables: &[String], target: &str) -> Result<BTreeMap<String, String>, Status> {
        let mut environment = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let set = variables.iter().filter_map(|variable| variable.split_once('='));
        environment.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let value = |name: &str| environment.get(name).cloned().unwrap_or_default();
        let all = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), value(name))).collect();
        Ok(match target.split_once("://").map(|(scheme, _)| scheme) {
            Some("s3") => {
                let mut credential: BTreeMap<String, String> = all(&S3);
                let missing = match (value(ACCESS_KEY).is_empty(), value(SECRET_KEY).is_empty()) {
                    (true, false) => Some("s3 credential access key not found"),
                    (false, true) => Some("s3 credential secret access key not found"),
                    (true, true) => None,
                    (false, false) => {
                        credential.extend(all(&[ACCESS_KEY, SECRET_KEY]));
                        None
                    }
                };
                if let Some(missing) = missing {
                    return Err(Status::invalid_argument(format!("failed to get backup credential: {missing}")));
                }
                credential
            }
            Some("cifs") => all(&CIFS),
            Some("azblob") => all(&AZURE),
            Some(_) | None => BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[&str]) -> Vec<String> {
        list.iter().map(|variable| (*variable).to_owned()).collect()
    }

    #[test]
    fn what_was_set_once_stays() {
        let environment = Environment::default();
        let first =
            variables(&["AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=s=1", "AWS_ENDPOINTS=http://one", "junk"]);
        let credential = environment.credential(&first, "s3://bucket@region/").unwrap();
        assert_eq!((credential[SECRET_KEY].as_str(), credential["AWS_ENDPOINTS"].as_str()), ("s=1", "http://one"));
        let other = environment.credential(&[], "s3://other@region/").unwrap();
        assert_eq!(other, credential);
        assert_eq!(environment.credential(&[], "nfs://server:/path").unwrap(), BTreeMap::new());
    }

    #[test]
    fn half_a_key_is_refused() {
        let environment = Environment::default();
        let half = variables(&["AWS_ACCESS_KEY_ID=a"]);
        let refused = environment.credential(&half, "s3://bucket@region/").unwrap_err();
        assert!(refused.message().ends_with("s3 credential secret access key not found"));
        assert_eq!(environment.credential(&[], "s3://b@r/").unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
