//! AWS Signature Version 4 over a request's head ("Signature Calculations for the Authorization Header", Amazon S3 API
//! reference). The payload is left unsigned: hashing every block a second time would tell neither side anything.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// What stands for the payload's hash when it is not signed.
pub(super) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const HASH_BLOCK_BYTES: usize = 64;

/// Who signs, and for where.
pub(super) struct Signer {
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
}

/// The parts of a request that are signed. `path` and `query` are encoded already, the query sorted by name.
pub(super) struct Signable<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    /// Lower-case names, in order.
    pub headers: &'a [(&'a str, &'a str)],
    pub payload_hash: &'a str,
}

impl Signer {
    /// The value of the Authorization header. The headers must hold `x-amz-date` of this time.
    pub fn authorization(&self, request: &Signable<'_>, time: Timestamp) -> String {
        let signed: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let signed = signed.join(";");
        let headers: String =
            request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{signed}\n{}",
            request.method, request.path, request.query, request.payload_hash
        );
        let day = time.strftime("%Y%m%d").to_string();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign =
            format!("{ALGORITHM}\n{}\n{scope}\n{}", amz_date(time), hex::encode(Sha256::digest(canonical.as_bytes())));
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [day.as_str(), self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes()).to_vec();
        }
        let signature = hex::encode(hmac(&key, to_sign.as_bytes()));
        format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.access_key)
    }
}

/// The value of the `x-amz-date` header.
pub(super) fn amz_date(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut padded = [0; HASH_BLOCK_BYTES];
    if key.len() > HASH_BLOCK_BYTES {
        padded[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn hmac_is_that_of_the_rfc() {
        assert_eq!(
            hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex::encode(hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    /// The GET example of the S3 API reference.
    #[test]
    fn a_request_is_signed_as_in_the_reference() {
        let signer = Signer {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let request = Signable {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", empty),
                ("x-amz-date", "20130524T000000Z"),
            ],
            payload_hash: empty,
        };
        let authorization = signer.authorization(&request, "2013-05-24T00:00:00Z".parse().unwrap());
        let signature = authorization.rsplit_once('=').unwrap().1;
        assert_eq!(signature, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    }
}
