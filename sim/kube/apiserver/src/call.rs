//! One request about a resource, on its way through the server.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::answer::{Answer, Form};
use crate::error::ApiError;
use crate::options::ClientIdentity;
use crate::query::Query;
use crate::resource::Resource;
use crate::server::Inner;
use crate::store::{Object, Record, key_of};

/// One request about a resource.
pub(crate) struct Call {
    pub inner: Arc<Inner>,
    pub resource: Arc<Resource>,
    pub verb: &'static str,
    /// Empty for all namespaces and for cluster-scoped kinds.
    pub namespace: String,
    /// Empty for the collection.
    pub name: String,
    pub subresource: String,
    pub query: Query,
    pub client: ClientIdentity,
    pub form: Form,
    pub content_type: Option<String>,
    pub body: Bytes,
    pub warnings: Vec<String>,
}

impl Call {
    pub fn key(&self) -> Arc<str> {
        key_of(&self.namespace, &self.name)
    }

    /// The object of the path, as it is now.
    pub fn current(&self) -> Result<Arc<Object>, ApiError> {
        self.inner.store.at_key(&self.resource.key, &self.key()).ok_or_else(|| self.resource.not_found(&self.name))
    }

    /// Answers with a stored version, or one that is like a stored one.
    pub fn answer(&mut self, code: u16, record: &Record) -> Result<Answer, ApiError> {
        self.check_convertible()?;
        let bytes = match self.form {
            Form::Plain => record.bytes_as(&self.resource.head),
            Form::Table => crate::table::table(
                &self.resource,
                &[record.parse()],
                &crate::table::ListMeta::of_object(record),
                &self.query,
                &self.inner.age_reference(record.revision),
            ),
            Form::Partial => crate::table::partial(&record.parse()),
        };
        Ok(self.finish(Answer::json(code, bytes)))
    }

    /// Answers with an object that is not stored.
    pub fn answer_value(&mut self, code: u16, value: &Value, revision: u64) -> Result<Answer, ApiError> {
        let key = self.key();
        self.answer(code, &Record::encode(value, &key, revision))
    }

    /// Adds the warnings that have come up.
    pub fn finish(&mut self, answer: Answer) -> Answer {
        Answer { warnings: std::mem::take(&mut self.warnings), ..answer }
    }

    /// Versions that only a webhook could make cannot be shown.
    pub fn check_convertible(&self) -> Result<(), ApiError> {
        match self.resource.custom() {
            Some(version) if version.conversion_webhook && !version.is_storage => {
                let (stored, asked, kind) =
                    (&version.storage_api_version, self.resource.api_version(), &self.resource.kind);
                Err(ApiError::without_reason(
                    500,
                    format!(
                        "conversion webhook for {stored}, Kind={kind} failed: no conversion to {asked} without TLS"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}
