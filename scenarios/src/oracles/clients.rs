//! **Damage**: a user's client gets an error that nothing it did deserves.
//! **Promise**: the Longhorn and Kubernetes APIs; what the client's own release expects of them (longhorn-tests' assertions).
//! **Bound**: none; the client judges each answer as it comes and reports through the stage.

use corral_world::Oracle;

/// The client meets no error that it does not expect. The client itself is the judge: this names what it reports.
pub struct ClientMeetsNoUnexpectedError;

impl Oracle for ClientMeetsNoUnexpectedError {
    fn name(&self) -> &'static str {
        "client-meets-no-unexpected-error"
    }

    fn about(&self) -> &'static str {
        "a user's client gets no error that nothing it did deserves"
    }
}

/// What a client asked for, and waited for longer than anything takes, comes about. The client is the judge here too.
pub struct ClientsAreServed;

impl Oracle for ClientsAreServed {
    fn name(&self) -> &'static str {
        "clients-are-served"
    }

    fn about(&self) -> &'static str {
        "what a client asked for comes about"
    }

    fn sees_symptoms(&self) -> bool {
        true
    }
}
