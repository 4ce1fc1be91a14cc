//! DELETE of a collection: a list, and then one deletion after another, up to the first that is denied.

use crate::answer::Answer;
use crate::call::Call;
use crate::error::ApiError;
use crate::read::{self, ListRequest};

use super::delete::{DeleteOptions, delete_with};

/// Deletes what the selectors find; answers with what it has found.
pub(crate) async fn delete_collection(call: &mut Call) -> Result<Answer, ApiError> {
    let options = DeleteOptions::read(call)?;
    let request = ListRequest::read(call)?;
    let listing = read::select(call, &request).await?;
    let path_namespace = call.namespace.clone();
    for item in &listing.items {
        let (namespace, name) = item.record.key.rsplit_once('/').unwrap_or(("", &item.record.key));
        (call.namespace, call.name) = (namespace.to_owned(), name.to_owned());
        match delete_with(call, &options, true).await {
            Err(error) if error.code != 404 => return Err(error),
            // Gone already is what was asked for.
            _ => {}
        }
    }
    (call.namespace, call.name) = (path_namespace, String::new());
    let answer = read::render(call, &listing)?;
    Ok(call.finish(answer))
}
