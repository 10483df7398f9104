//! A reader of Server-Sent Events over a connection of its own.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// Longer than a stream may say nothing at all, heartbeats included.
const PATIENCE: Duration = Duration::from_mins(1);

/// Small, so that the other side feels it soon when nobody reads.
const RECEIVE_BYTES: u32 = 16 * 1024;

/// What was said at once. A cursor alone has no data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    connection: BufReader<TcpStream>,
    /// What came and is no whole frame yet.
    pending: String,
}

impl Stream {
    /// Opens it; the error is another status than 200.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        token: &str,
        last: Option<&str>,
    ) -> std::io::Result<Result<Self, u16>> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        let mut connection = BufReader::new(socket.connect(address).await?);
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        let request = format!(
            "GET /api/v1{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
            Accept: text/event-stream\r\n{last}\r\n"
        );
        connection.write_all(request.as_bytes()).await?;
        let status = line(&mut connection).await?;
        let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.ok_or(ErrorKind::InvalidData)?;
        while !line(&mut connection).await?.is_empty() {}
        if status != 200 {
            return Ok(Err(status));
        }
        Ok(Ok(Self {
            connection,
            pending: String::new(),
        }))
    }

    /// What is said next, but for heartbeats; `None` when the server has ended the stream in good order.
    pub async fn next(&mut self) -> std::io::Result<Option<Said>> {
        loop {
            if let Some(end) = self.pending.find("\n\n") {
                let frame: String = self.pending.drain(..end + 2).collect();
                if let Some(said) = read(&frame) {
                    return Ok(Some(said));
                }
                continue;
            }
            let more = tokio::time::timeout(PATIENCE, self.chunk()).await;
            if !more.map_err(|_| ErrorKind::TimedOut)?? {
                return Ok(None);
            }
        }
    }

    /// Says whether there was one more.
    async fn chunk(&mut self) -> std::io::Result<bool> {
        let size = line(&mut self.connection).await?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| ErrorKind::InvalidData)?;
        let mut bytes = vec![0; size + 2];
        self.connection.read_exact(&mut bytes).await?;
        let text = std::str::from_utf8(&bytes[..size]).map_err(|_| ErrorKind::InvalidData)?;
        self.pending.push_str(text);
        Ok(size > 0)
    }
}

async fn line(connection: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// `None`: a heartbeat.
fn read(frame: &str) -> Option<Said> {
    let mut said = Said::default();
    for line in frame.trim_end().lines() {
        match line.split_once(": ") {
            Some(("id", id)) => id.clone_into(&mut said.id),
            Some(("event", kind)) => kind.clone_into(&mut said.kind),
            Some(("data", data)) => said.data = serde_json::from_str(data).unwrap_or_default(),
            _ => return None,
        }
    }
    Some(said)
}
