//! Connections to a worker: messages with their length in front, over Unix sockets.

use std::{io, path::Path};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use prost::Message;
use streamfleet_proto::worker::{Open, StreamEvent, StreamRequest, stream_request};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// Longest message taken from a worker, in bytes: Streamlit's `server.maxMessageSize` is 200 MB
/// unless set higher, and a batch is that or at most 1 MiB. The rest is room for those who do.
const MAX_FRAME_BYTES: usize = 1 << 30;

/// Reads frames.
pub(crate) type FrameReader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

/// A reader of frames from this half of a connection.
pub(crate) fn frame_reader(half: OwnedReadHalf) -> FrameReader {
    LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME_BYTES).new_read(half)
}

/// The message with its length in front.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(4 + length);
    // Nothing that is sent to a worker comes near 4 GiB: gateways cut bodies and frames up.
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut buffer);
    buffer.freeze()
}

/// Writes raw bytes as one frame.
pub(crate) async fn write_raw_frame(writer: &mut (impl AsyncWrite + Unpin), payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    writer.write_all(&length.to_be_bytes()).await?;
    writer.write_all(payload).await
}

/// Reads the next message. `None` at the end of the connection.
pub(crate) async fn read_message<M: Message + Default>(reader: &mut FrameReader) -> Option<io::Result<M>> {
    let frame = reader.next().await?;
    Some(frame.and_then(|frame| M::decode(frame.freeze()).map_err(io::Error::other)))
}

/// The sending half of a stream connection.
#[derive(Debug)]
pub(crate) struct StreamSender(OwnedWriteHalf);

impl StreamSender {
    /// Sends a message, waiting while the worker has more than it can take.
    pub(crate) async fn send(&mut self, kind: stream_request::Kind) -> io::Result<()> {
        let message = StreamRequest { kind: Some(kind) };
        self.0.write_all(&frame(&message)).await
    }
}

/// The receiving half of a stream connection.
#[derive(Debug)]
pub(crate) struct StreamReceiver(FrameReader);

impl StreamReceiver {
    /// The next event. `None` when the worker closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<io::Result<StreamEvent>> {
        read_message(&mut self.0).await
    }
}

/// Opens a stream to the worker that listens at `path`.
pub(crate) async fn open_stream(path: &Path, open: Open) -> io::Result<(StreamSender, StreamReceiver)> {
    let connection = UnixStream::connect(path).await?;
    let (reader, writer) = connection.into_split();
    let mut sender = StreamSender(writer);
    sender.send(stream_request::Kind::Open(open)).await?;
    Ok((sender, StreamReceiver(frame_reader(reader))))
}
