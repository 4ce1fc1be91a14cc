//! Reading a `multipart/form-data` body piece by piece: the browser's upload.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::{Error, Result};

const HEAD_LIMIT_BYTES: usize = 16 << 10;

/// The parts of a body.
pub(super) struct Parts {
    body: Incoming,
    buffer: BytesMut,
    /// What stands between parts, with the line break that belongs to it.
    delimiter: Vec<u8>,
    ended: bool,
}

impl Parts {
    /// Reads a body of this content type.
    pub fn new(body: Incoming, kind: Option<&HeaderValue>) -> Result<Parts> {
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let boundary = kind.split(';').find_map(|parameter| parameter.trim().strip_prefix("boundary="));
        let boundary = match boundary {
            Some(boundary) if kind.starts_with("multipart/") => boundary.trim_matches('"'),
            _ => return Err(Error::invalid("request Content-Type isn't multipart/form-data")),
        };
        // The first delimiter stands at the very beginning: as if a line had ended before it.
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        Ok(Parts { body, buffer: BytesMut::from(&b"\r\n"[..]), delimiter, ended: false })
    }

    /// Goes to the part of this name.
    pub async fn find(&mut self, name: &str) -> Result<()> {
        let wanted = format!("name=\"{name}\"");
        loop {
            while self.next_piece().await?.is_some() {}
            let head = self.head().await?;
            if head.split([';', '\r', '\n']).any(|parameter| parameter.trim() == wanted) {
                return Ok(());
            }
        }
    }

    /// The next bytes of this part; none at its end.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = find(&self.buffer, &self.delimiter) {
                // At the end the buffer begins with the delimiter, which `head` reads.
                return Ok((at > 0).then(|| self.buffer.split_to(at).freeze()));
            }
            let safe = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if safe > 0 {
                return Ok(Some(self.buffer.split_to(safe).freeze()));
            }
            if !self.fill().await? {
                return Err(Error::invalid("multipart: NextPart: EOF"));
            }
        }
    }

    /// The head of the part that follows the delimiter.
    async fn head(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                return Ok(String::from_utf8_lossy(&head[self.delimiter.len()..]).into_owned());
            }
            let after = &self.buffer[self.delimiter.len().min(self.buffer.len())..];
            if after.starts_with(b"--") || self.buffer.len() > HEAD_LIMIT_BYTES || !self.fill().await? {
                return Err(Error::invalid("multipart: NextPart: EOF"));
            }
        }
    }

    async fn fill(&mut self) -> Result<bool> {
        while !self.ended {
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(error)) => return Err(Error::Http(error.into())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}

fn find(buffer: &[u8], wanted: &[u8]) -> Option<usize> {
    buffer.windows(wanted.len()).position(|window| window == wanted)
}
