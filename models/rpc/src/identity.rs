//! Who a call is meant for: engine and replica processes reuse addresses and ports, so callers say which volume and which instance they
//! believe to be there, and the server refuses a mistaken one (longhorn-engine pkg/interceptor).

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;

const VOLUME_NAME: HeaderName = HeaderName::from_static("volume-name");
const INSTANCE_NAME: HeaderName = HeaderName::from_static("instance-name");

/// The names a caller expects, or a server has. An empty one is neither sent nor checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The volume's name.
    pub volume_name: String,
    /// The engine's or replica's name.
    pub instance_name: String,
}

/// What a server that checks identities is; its refusals say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// An engine's controller.
    Controller,
    /// A replica or its sync agent.
    Replica,
}

impl Identity {
    /// An identity of these names.
    pub fn new(volume_name: impl Into<String>, instance_name: impl Into<String>) -> Identity {
        Identity { volume_name: volume_name.into(), instance_name: instance_name.into() }
    }

    /// Adds what is known to a call's metadata. A name that no header can carry is not sent; no Longhorn name is such.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        for (key, name) in [(VOLUME_NAME, &self.volume_name), (INSTANCE_NAME, &self.instance_name)] {
            if !name.is_empty()
                && let Ok(value) = HeaderValue::from_str(name)
            {
                headers.append(key, value);
            }
        }
    }

    /// Refuses a call that was meant for another. Only what both sides name exactly once is compared.
    pub(crate) fn check(&self, kind: ServerKind, headers: &HeaderMap) -> Result<(), Status> {
        let kind = match kind {
            ServerKind::Controller => "controller",
            ServerKind::Replica => "replica",
        };
        for (key, what, own) in
            [(VOLUME_NAME, "volume", &self.volume_name), (INSTANCE_NAME, "instance", &self.instance_name)]
        {
            let expected = only(headers, &key).unwrap_or_default();
            if !expected.is_empty() && !own.is_empty() && expected != own {
                tracing::error!(expected, own, "call for another {what}");
                return Err(Status::failed_precondition(format!(
                    "incorrect {what} name {expected}; check {kind} address"
                )));
            }
        }
        Ok(())
    }
}

fn only<'a>(headers: &'a HeaderMap, key: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(key).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)?.to_str().ok()
}
