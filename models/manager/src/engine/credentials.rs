//! Kinds of backup stores, and how the engine binary is given a store's credentials: environment variables from the
//! Secret that the BackupTarget names (`engineapi/backups.go`, `types/types.go`).

use std::collections::BTreeMap;

use crate::runtime::error::{Error, Result};

/// Stores on S3 and what speaks its protocol.
pub const S3: &str = "s3";
/// SMB shares.
pub const CIFS: &str = "cifs";
/// NFS exports.
pub const NFS: &str = "nfs";
/// Azure blobs.
pub const AZURE_BLOB: &str = "azblob";

const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const ROLE: &str = "AWS_IAM_ROLE_ARN";
const S3_OTHERS: [&str; 6] =
    ["AWS_ENDPOINTS", "AWS_CERT", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "VIRTUAL_HOSTED_STYLE"];
const CIFS_ALL: [&str; 2] = ["CIFS_USERNAME", "CIFS_PASSWORD"];
const AZURE_ALL: [&str; 7] = [
    "AZBLOB_ACCOUNT_NAME",
    "AZBLOB_ACCOUNT_KEY",
    "AZBLOB_ENDPOINT",
    "AZBLOB_CERT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
];

/// Keys of a credential Secret that may not begin or end with white space, in the order in which they are checked.
pub const CHECKED_KEYS: [&str; 16] = [
    "iam.amazonaws.com/role",
    ROLE,
    ACCESS_KEY,
    SECRET_KEY,
    "AWS_ENDPOINTS",
    "AWS_CERT",
    "CIFS_USERNAME",
    "CIFS_PASSWORD",
    "AZBLOB_ACCOUNT_NAME",
    "AZBLOB_ACCOUNT_KEY",
    "AZBLOB_ENDPOINT",
    "AZBLOB_CERT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "VIRTUAL_HOSTED_STYLE",
];

/// The kind of store a backup target's URL names: its scheme, empty if it has none.
pub fn store_type(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

/// Whether a store of this kind is never reached without a Secret.
pub fn requires_credential(store_type: &str) -> bool {
    matches!(store_type, S3 | CIFS | AZURE_BLOB)
}

/// The environment that hands `credential` to the engine binary for the store at `url`.
pub fn environment(url: &str, credential: Option<&BTreeMap<String, String>>) -> Result<Vec<(String, String)>> {
    let Some(credential) = credential else { return Ok(Vec::new()) };
    let value = |key: &str| credential.get(key).cloned().unwrap_or_default();
    let pairs = |keys: &[&str]| keys.iter().map(|key| ((*key).to_string(), value(key))).collect::<Vec<_>>();
    match store_type(url) {
        S3 => {
            let missing: Vec<&str> = [ACCESS_KEY, SECRET_KEY].into_iter().filter(|key| value(key).is_empty()).collect();
            if value(ROLE).is_empty() && !missing.is_empty() {
                let missing = missing.join(" ");
                return Err(Error::message(format!("could not backup to s3, missing [{missing}] in the secret")));
            }
            let keys: &[&str] = if missing.is_empty() { &[ACCESS_KEY, SECRET_KEY] } else { &[] };
            Ok([pairs(keys), pairs(&S3_OTHERS)].concat())
        }
        CIFS => Ok(pairs(&CIFS_ALL)),
        AZURE_BLOB => Ok(pairs(&AZURE_ALL)),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn keys_go_by_name_and_absent_ones_are_empty() {
        let credential = secret(&[(ACCESS_KEY, "a"), (SECRET_KEY, "b"), ("AWS_ENDPOINTS", "http://minio:9000")]);
        let environment = environment("s3://bucket@region/", Some(&credential)).unwrap();
        let get = |key: &str| environment.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!((get(ACCESS_KEY), get(SECRET_KEY)), (Some("a"), Some("b")));
        assert_eq!((get("AWS_ENDPOINTS"), get("AWS_CERT")), (Some("http://minio:9000"), Some("")));
    }

    #[test]
    fn s3_needs_both_keys_or_a_role() {
        let half = secret(&[(ACCESS_KEY, "a")]);
        let message = environment("s3://b@r/", Some(&half)).unwrap_err().to_string();
        assert_eq!(message, "could not backup to s3, missing [AWS_SECRET_ACCESS_KEY] in the secret");
        let role = secret(&[(ROLE, "arn")]);
        assert!(environment("s3://b@r/", Some(&role)).unwrap().iter().all(|(key, _)| key != ACCESS_KEY));
    }

    #[test]
    fn an_export_needs_none() {
        assert!(!requires_credential(store_type("nfs://server:/export")));
        assert!(environment("nfs://server:/export", Some(&secret(&[(ACCESS_KEY, "a")]))).unwrap().is_empty());
    }
}
