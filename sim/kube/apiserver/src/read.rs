//! GET of objects and of lists: versions, paging, selectors.
//!
//! Facts: facts/kubernetes.md section 1, "Lists and watches"; apiserver's `storage/etcd3/store.go` for paging.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use host::time::{Instant, sleep};
use serde_json::{Value, json};

use crate::answer::{Answer, Form};
use crate::call::Call;
use crate::error::{ApiError, Cause, json as as_json};
use crate::options::Access;
use crate::selector::{FieldSelector, Filter, LabelSelector};
use crate::store::{Compacted, Item};
use crate::table::{self, ListMeta};

/// Which version of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The newest.
    Newest,
    /// Anything that the cache has: paging does not apply.
    Any,
    /// At least this one.
    NotOlderThan(u64),
    /// This one.
    Exact(u64),
}

/// What a list request asks for.
#[derive(Clone, Debug)]
pub(crate) struct ListRequest {
    pub filter: Filter,
    at: At,
    limit: usize,
    /// Only keys after this one.
    after: Option<String>,
}

/// What a list found.
pub(crate) struct Listing {
    pub items: Vec<Item>,
    pub meta: ListMeta,
}

/// Reads the selectors of a request.
pub(crate) fn filter(call: &Call) -> Result<Filter, ApiError> {
    let labels = call.query.get("labelSelector").map(LabelSelector::parse).transpose()?.unwrap_or_default();
    let resource = &call.resource;
    let fields =
        call.query.get("fieldSelector").map(|text| FieldSelector::parse(text, |path| resource.has_field(path)));
    let mut fields = fields.transpose()?.unwrap_or_default();
    if !call.name.is_empty() {
        fields = fields.and(FieldSelector::name(&call.name));
    }
    // A selector for a namespace narrows the search as the path would.
    let asked = fields.required("metadata.namespace").filter(|_| resource.namespaced).map(str::to_owned);
    let namespace = Some(call.namespace.clone()).filter(|namespace| !namespace.is_empty()).or(asked);
    Ok(Filter { namespace, labels, fields })
}

/// A resourceVersion parameter as a number.
pub(crate) fn version(call: &Call) -> Result<Option<u64>, String> {
    let Some(text) = call.query.get("resourceVersion") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let shown = as_json(text);
        format!("invalid resource version: resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: invalid syntax")
    })
}

impl ListRequest {
    pub fn read(call: &Call) -> Result<ListRequest, ApiError> {
        let filter = filter(call)?;
        let version = version(call).map_err(ApiError::bad_request)?;
        let limit = call.query.number("limit")?.unwrap_or(0).max(0) as usize;
        let token = call.query.get("continue");
        let forbidden = |why: &str| {
            let cause = Cause::forbidden("resourceVersionMatch", why);
            Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", vec![cause]))
        };
        let at = match (call.query.get("resourceVersionMatch"), version) {
            (Some(_), None) => {
                return forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            (Some(_), _) if token.is_some() => {
                return forbidden("resourceVersionMatch is forbidden when continue is provided");
            }
            (Some("Exact"), Some(0)) => {
                return forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            (Some("Exact"), Some(version)) => At::Exact(version),
            (Some("NotOlderThan"), Some(0)) | (None, Some(0)) => At::Any,
            (Some("NotOlderThan"), Some(version)) => At::NotOlderThan(version),
            (Some(other), _) => {
                let known = ["Exact", "NotOlderThan", ""].map(as_json);
                let cause = Cause::not_supported("resourceVersionMatch", as_json(other), &known);
                return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", vec![cause]));
            }
            // The first page of an old version is that version, as the real server has it.
            (None, Some(version)) if limit > 0 => At::Exact(version),
            (None, Some(version)) => At::NotOlderThan(version),
            (None, None) => At::Newest,
        };
        if token.is_some() && !matches!(at, At::Newest | At::Any) {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        let Some(token) = token else { return Ok(ListRequest { filter, at, limit, after: None }) };
        let (version, after) = decode_token(token)?;
        let at = version.map_or(At::Newest, At::Exact);
        Ok(ListRequest { filter, at, limit, after: Some(after) })
    }
}

fn encode_token(version: Option<u64>, after: &str) -> String {
    let version = version.map_or(-1, |version| version as i64);
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": version, "start": format!("{after}\u{0}")}).to_string())
}

fn decode_token(token: &str) -> Result<(Option<u64>, String), ApiError> {
    let invalid =
        |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|error| invalid(&error.to_string()))?;
    let parsed: Value =
        serde_json::from_slice(&bytes).map_err(|_| invalid("invalid character looking for beginning of value"))?;
    let start = parsed.get("start").and_then(Value::as_str).ok_or_else(|| invalid("no start key"))?;
    let version = parsed
        .get("rv")
        .and_then(Value::as_i64)
        .ok_or_else(|| invalid("incorrect encoded resourceVersion in the continue token"))?;
    Ok((u64::try_from(version).ok(), start.trim_end_matches('\u{0}').to_owned()))
}

/// Waits until the store has a version, as the watch cache does; an error if it does not come.
async fn wait_for(call: &Call, version: u64) -> Result<(), ApiError> {
    const STEP: std::time::Duration = std::time::Duration::from_millis(50);
    let begun = Instant::now();
    loop {
        let current = call.inner.store.revision();
        if current >= version {
            return Ok(());
        }
        if begun.elapsed() >= call.inner.options.future_version_wait {
            return Err(ApiError::version_too_large(version, current));
        }
        sleep(STEP).await;
    }
}

/// Finds what a list request asks for.
pub(crate) async fn select(call: &Call, request: &ListRequest) -> Result<Listing, ApiError> {
    call.inner.check_ready(&call.resource)?;
    call.check_convertible()?;
    let at = match request.at {
        At::NotOlderThan(version) => {
            wait_for(call, version).await?;
            None
        }
        At::Exact(version) => {
            wait_for(call, version).await?;
            Some(version)
        }
        At::Newest => {
            call.inner.storage(Access::Read).await;
            None
        }
        At::Any => None,
    };
    let (revision, mut items) = match call.inner.store.list(&call.resource.key, &request.filter, at) {
        Ok(found) => found,
        Err(Compacted) => return Err(compacted(request)),
    };
    if let Some(after) = &request.after {
        let start = items.partition_point(|item| *item.record.key <= **after);
        items.drain(..start);
    }
    let mut meta = ListMeta { version: revision, continue_token: String::new(), remaining: None };
    if request.limit > 0 && request.at != At::Any && items.len() > request.limit {
        let rest = items.split_off(request.limit);
        meta.continue_token = encode_token(Some(revision), &items[items.len() - 1].record.key);
        meta.remaining = request.filter.is_everything().then_some(rest.len());
    }
    Ok(Listing { items, meta })
}

/// The version is gone. A continue token is answered with a fresh one that goes on without consistency.
fn compacted(request: &ListRequest) -> ApiError {
    let Some(after) = &request.after else {
        return ApiError::expired("The resourceVersion for the provided list is too old.");
    };
    let token = encode_token(None, after);
    ApiError::expired(format!(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list. ({token})"
    ))
    .with_continue(token)
}

/// Writes a list in the form that was asked for.
pub(crate) fn render(call: &Call, listing: &Listing) -> Result<Answer, ApiError> {
    let resource = &call.resource;
    let values = || listing.items.iter().map(|item| item.with_value(Value::clone)).collect::<Vec<_>>();
    let bytes = match call.form {
        Form::Table => table::table(
            resource,
            &values(),
            &listing.meta,
            &call.query,
            &call.inner.age_reference(listing.meta.version),
        ),
        Form::Partial => table::partial_list(&values(), &listing.meta),
        Form::Plain => {
            let size: usize = listing.items.iter().map(|item| item.record.bytes.len() + 1).sum();
            let mut buffer = Vec::with_capacity(size + 256);
            let mut meta = listing.meta.json();
            if resource.custom().is_some() && listing.meta.continue_token.is_empty() {
                // Lists of custom resources show the token even when there is none.
                meta["continue"] = "".into();
            }
            let (kind, version) = (as_json(&resource.list_kind), as_json(&resource.api_version()));
            let head = format!(r#"{{"kind":{kind},"apiVersion":{version},"metadata":{meta},"items":["#);
            buffer.extend_from_slice(head.as_bytes());
            for (index, item) in listing.items.iter().enumerate() {
                if index > 0 {
                    buffer.push(b',');
                }
                if resource.custom().is_some() {
                    buffer.extend_from_slice(&item.record.bytes_as(&resource.head));
                } else {
                    // Items of core kinds carry no type.
                    buffer.push(b'{');
                    buffer.extend_from_slice(item.record.tail());
                }
            }
            buffer.extend_from_slice(b"]}");
            buffer.into()
        }
    };
    Ok(Answer::json(200, bytes))
}

/// GET of a collection.
pub(crate) async fn list(call: &mut Call) -> Result<Answer, ApiError> {
    let request = ListRequest::read(call)?;
    let listing = select(call, &request).await?;
    let answer = render(call, &listing)?;
    Ok(call.finish(answer))
}

/// GET of an object.
pub(crate) async fn get(call: &mut Call) -> Result<Answer, ApiError> {
    match version(call).map_err(ApiError::bad_request)? {
        None => call.inner.storage(Access::Read).await,
        Some(version) => wait_for(call, version).await?,
    }
    let current = call.current()?;
    call.answer(200, &current.record)
}
