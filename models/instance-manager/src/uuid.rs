//! Random UUIDs.

use host::random::Stream;
use rand::Rng;

/// A version 4 UUID.
pub(crate) fn random_uuid(random: &mut Stream) -> String {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}
