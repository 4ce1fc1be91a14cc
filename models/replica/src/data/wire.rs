//! Messages as they go over a data connection: a header of 26 bytes, little endian, and data (pkg/dataconn/wire.go).

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How every message begins.
pub const MAGIC: u16 = 0x1b01;
/// The length of a header.
pub const HEADER_BYTES: usize = 26;
/// Read from a connection at once, and set aside at most for data that has not come yet.
const CHUNK_BYTES: usize = 64 << 10;

/// What a message is. Numbers beyond these go through unchanged, and count as a good answer upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(pub u32);

impl Kind {
    /// Asks for data.
    pub const READ: Kind = Kind(0);
    /// Brings data.
    pub const WRITE: Kind = Kind(1);
    /// A good answer.
    pub const RESPONSE: Kind = Kind(2);
    /// A bad one; its data is a text.
    pub const ERROR: Kind = Kind(3);
    /// An answer to a read that went past the end.
    pub const EOF: Kind = Kind(4);
    /// The peer stops.
    pub const CLOSE: Kind = Kind(5);
    /// Asks whether the replica is well.
    pub const PING: Kind = Kind(6);
    /// Frees a range.
    pub const UNMAP: Kind = Kind(7);
    /// The disk is full; its data is a text.
    pub const NO_SPACE: Kind = Kind(8);

    /// Whether it is one of those that a time-out counts.
    pub fn is_io(self) -> bool {
        matches!(self, Kind::READ | Kind::WRITE | Kind::UNMAP)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// [`MAGIC`], but in the close message, where it is 0.
    pub magic: u16,
    /// Which request it is, or answers.
    pub sequence: u32,
    /// What it is.
    pub kind: Kind,
    /// Where in the volume, in bytes.
    pub offset: i64,
    /// How many bytes it is about.
    pub size: u32,
    /// What it brings.
    pub data: Bytes,
}

impl Message {
    /// Its header.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut rest = &mut header[..];
        rest.put_u16_le(self.magic);
        rest.put_u32_le(self.sequence);
        rest.put_u32_le(self.kind.0);
        rest.put_i64_le(self.offset);
        rest.put_u32_le(self.size);
        rest.put_u32_le(u32::try_from(self.data.len()).expect("requests are smaller than 4 GiB"));
        header
    }
}

/// A connection brought no message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It ended between two messages.
    #[error("EOF")]
    End,
    /// It ended within a message.
    #[error("unexpected EOF")]
    Cut,
    /// What came is no message.
    #[error("wrong API version received: {0:#x}")]
    Magic(u16),
    /// It failed.
    #[error("{}", crate::error::go_text(.0))]
    Failed(#[from] io::Error),
}

/// Takes messages from a connection. What was read stays in one piece of memory: data is cut out of it, not copied.
#[derive(Debug)]
pub struct MessageReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Reads from here.
    pub fn new(stream: R) -> MessageReader<R> {
        MessageReader { stream, buffer: BytesMut::new() }
    }

    /// The next message.
    ///
    /// # Errors
    /// The connection ended or failed, or brought something else.
    pub async fn read(&mut self) -> Result<Message, WireError> {
        self.fill(HEADER_BYTES).await?;
        let mut header = &self.buffer[..HEADER_BYTES];
        let magic = header.get_u16_le();
        if magic != MAGIC {
            return Err(WireError::Magic(magic));
        }
        let (sequence, kind) = (header.get_u32_le(), Kind(header.get_u32_le()));
        let (offset, size) = (header.get_i64_le(), header.get_u32_le());
        let length = header.get_u32_le() as usize;
        self.fill(HEADER_BYTES + length).await.map_err(|error| match error {
            WireError::End => WireError::Cut,
            other => other,
        })?;
        self.buffer.advance(HEADER_BYTES);
        let data = if length == 0 { Bytes::new() } else { self.buffer.split_to(length).freeze() };
        Ok(Message { magic, sequence, kind, offset, size, data })
    }

    async fn fill(&mut self, length: usize) -> Result<(), WireError> {
        while self.buffer.len() < length {
            // As it comes, however much was announced.
            self.buffer.reserve((length - self.buffer.len()).clamp(CHUNK_BYTES / 2, CHUNK_BYTES));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(if self.buffer.is_empty() { WireError::End } else { WireError::Cut });
            }
        }
        Ok(())
    }
}

/// Writes a message in one go.
///
/// # Errors
/// The connection failed.
pub async fn write_message<W: AsyncWrite + Unpin>(stream: &mut W, message: &Message) -> io::Result<()> {
    let header = message.header();
    let mut content = Buf::chain(&header[..], &message.data[..]);
    while content.has_remaining() {
        let mut slices = [io::IoSlice::new(&[]); 2];
        let count = content.chunks_vectored(&mut slices);
        match stream.write_vectored(&slices[..count]).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => content.advance(written),
        }
    }
    stream.flush().await
}
