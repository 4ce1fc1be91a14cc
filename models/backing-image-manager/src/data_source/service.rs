//! The data source's HTTP service.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::http::Body;
use host::time::sleep;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::Source;
use crate::Process;
use crate::error::{Error, Result};
use crate::form::{Query, encode};
use crate::info::{DataSourceInfo, FileInfo, State};
use crate::web;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The first byte must have come after so many checks.
const BEGIN_CHECKS: u32 = 60;

/// The service.
#[derive(Clone)]
pub(super) struct Service(Arc<Shared>);

struct Shared {
    process: Process,
    source: Source,
    told: Mutex<Told>,
}

/// What is told while the file service does not know the file, or not any more.
struct Told {
    info: DataSourceInfo,
    /// The file was given up to a manager, or never begun: nothing changes any more.
    is_final: bool,
    transferred: bool,
}

impl Service {
    /// The service of a file that has been begun.
    pub fn new(process: Process, source: Source) -> Service {
        let options = &source.options;
        let state = if options.source_type == "upload" { State::Pending } else { State::None };
        let info = DataSourceInfo {
            source_type: options.source_type.clone(),
            parameters: options.parameters.clone(),
            name: options.name.clone(),
            file: FileInfo {
                disk_uuid: source.disk_uuid.clone(),
                expected_checksum: options.checksum.clone(),
                file_path: source.path.clone(),
                uuid: options.uuid.clone(),
                state,
                ..FileInfo::default()
            },
        };
        let told = Mutex::new(Told { info, is_final: false, transferred: false });
        let service = Service(Arc::new(Shared { process, source, told }));
        let task = service.clone();
        host::spawn(async move { task.give_up_unless_begun().await });
        service
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn give_up_unless_begun(&self) {
        for _ in 0..BEGIN_CHECKS {
            sleep(CHECK_INTERVAL).await;
            if let Ok(info) = self.info().await
                && !matches!(info.file.state, State::None | State::Pending | State::Starting)
            {
                return;
            }
        }
        sleep(CHECK_INTERVAL).await;
        {
            let mut told = self.told();
            told.is_final = true;
            told.info.file.state = State::Failed;
            told.info.file.message = "timeout waiting for the datasource file processing begin".to_owned();
        }
        if let Err(error) = self.0.source.files.delete(&self.0.source.path).await {
            tracing::error!(%error, "failed to clean up after the data source file did not begin");
        }
    }

    /// How far the file is.
    async fn info(&self) -> Result<DataSourceInfo> {
        {
            let told = self.told();
            if told.is_final {
                return Ok(told.info.clone());
            }
        }
        let file = match self.0.source.files.get(&self.0.source.path).await {
            Ok(file) => file,
            // The file service knows an upload's file only once the upload has come.
            Err(error) if error.is_not_found() && self.0.source.options.source_type == "upload" => {
                return Ok(self.told().info.clone());
            }
            Err(error) => return Err(error),
        };
        let mut told = self.told();
        if !told.is_final {
            told.info.file = file;
            if told.info.file.state == State::Ready {
                told.info.file.state = State::ReadyForTransfer;
            }
        }
        Ok(told.info.clone())
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let answer = match (request.method(), request.uri().path().trim_end_matches('/'), query.get("action")) {
            (&Method::GET, "/v1/file", _) => self.info().await.map(|info| web::json(&info)),
            (&Method::POST, "/v1/file", "transfer") => self.transfer().await.map(|()| web::done()),
            (&Method::POST, "/v1/file", "upload") => match self.0.source.options.source_type.as_str() {
                "upload" => self.upload(request, query).await,
                other => {
                    let text = format!("cannot do upload since data source type is {other} rather than upload");
                    Ok(web::failure(StatusCode::BAD_REQUEST, &text))
                }
            },
            _ => Ok(web::failure(StatusCode::NOT_FOUND, "404 page not found")),
        };
        answer.unwrap_or_else(|error| web::failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
    }

    async fn transfer(&self) -> Result<()> {
        if self.told().transferred {
            return Ok(());
        }
        let state = self.info().await?.file.state;
        if state != State::ReadyForTransfer {
            return Err(Error::Invalid(format!(
                "datasource file current state is {} rather than ready-for-transfer, cannot do transfer",
                state.as_str()
            )));
        }
        self.0.source.files.forget(&self.0.source.path).await?;
        let mut told = self.told();
        told.transferred = true;
        told.is_final = true;
        told.info.file.state = State::Ready;
        Ok(())
    }

    /// Passes an upload on to the file service.
    async fn upload(&self, request: Request<Incoming>, query: Query) -> Result<Response<Body>> {
        let source = &self.0.source;
        let mut pairs = query.pairs();
        pairs.extend([
            ("file-path", source.path.as_str()),
            ("uuid", &source.options.uuid),
            ("expected-checksum", &source.options.checksum),
            ("data-engine", source.data_engine()),
        ]);
        let url = format!("{}?{}", source.files.url(), encode(&pairs));
        let uri: Uri = url.parse().map_err(|error| Error::Invalid(format!("parse {url:?}: {error}")))?;
        let (mut head, body) = request.into_parts();
        head.uri = uri;
        head.headers.remove(http::header::HOST);
        let request = Request::from_parts(head, body.map_err(Into::into).boxed_unsync());
        let answer = self.0.process.client.send(request).await?;
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}
