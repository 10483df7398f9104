//! A small HTTP/1.1 client over one kept-alive connection: enough for tests, cheap enough for a load generator.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The problem's `code`.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Goes on only with this status.
    #[track_caller]
    #[expect(
        clippy::return_self_not_must_use,
        reason = "often called for the check alone"
    )]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }
}

/// One request.
#[derive(Debug, Clone, Default)]
pub struct Call<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub body: Option<Vec<u8>>,
    pub token: Option<&'a str>,
    pub headers: Vec<(&'a str, String)>,
}

/// One connection, opened when first needed and again when it was closed.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    agent: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// Longer than any answer may take; a test that hangs says where.
const PATIENCE: Duration = Duration::from_mins(1);

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self::with_agent(address, "testkit/1")
    }

    /// A client that says it is another device.
    pub fn with_agent(address: SocketAddr, agent: &str) -> Self {
        Self {
            address,
            agent: agent.to_owned(),
            stream: None,
            buffer: Vec::with_capacity(8 * 1024),
        }
    }

    /// A JSON call under `/api/v1`.
    pub async fn api(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Value>,
        token: Option<&str>,
    ) -> std::io::Result<Reply> {
        let path = format!("/api/v1{path}");
        let body = body.map(|body| body.to_string().into_bytes());
        let call = Call {
            method,
            path: &path,
            body,
            token,
            headers: Vec::new(),
        };
        self.call(&call).await
    }

    /// A form, as services ask about tokens.
    pub async fn form(&mut self, path: &str, body: &str, token: &str) -> std::io::Result<Reply> {
        let content_type = "application/x-www-form-urlencoded".to_owned();
        let call = Call {
            method: "POST",
            path: &format!("/api/v1{path}"),
            body: Some(body.as_bytes().to_vec()),
            token: Some(token),
            headers: vec![("content-type", content_type)],
        };
        self.call(&call).await
    }

    /// Any call. A connection that the server closed between two calls is opened again.
    pub async fn call(&mut self, call: &Call<'_>) -> std::io::Result<Reply> {
        let fresh = self.stream.is_none();
        match self.once(call).await {
            Err(_) if !fresh && self.buffer.is_empty() => {
                self.stream = None;
                self.once(call).await
            }
            other => other,
        }
    }

    async fn once(&mut self, call: &Call<'_>) -> std::io::Result<Reply> {
        let result = tokio::time::timeout(PATIENCE, self.exchange(call)).await;
        let result = result.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn exchange(&mut self, call: &Call<'_>) -> std::io::Result<Reply> {
        self.buffer.clear();
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let request = self.encode(call);
        let stream = self.stream.as_mut().expect("it was just opened");
        stream.write_all(&request).await?;
        let reply = read_reply(stream, &mut self.buffer, call.method == "HEAD").await?;
        if reply.header("connection") == Some("close") {
            self.stream = None;
        }
        Ok(reply)
    }

    fn encode(&self, call: &Call<'_>) -> Vec<u8> {
        use std::io::Write as _;
        let mut out = Vec::with_capacity(512 + call.body.as_ref().map_or(0, Vec::len));
        let Call { method, path, .. } = call;
        let _ = write!(out, "{method} {path} HTTP/1.1\r\n");
        if !call
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            let _ = write!(out, "Host: {}\r\n", self.address);
        }
        let _ = write!(
            out,
            "User-Agent: {}\r\nAccept: application/json\r\n",
            self.agent
        );
        if let Some(token) = call.token {
            let _ = write!(out, "Authorization: Bearer {token}\r\n");
        }
        for (name, value) in &call.headers {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        if let Some(body) = &call.body {
            if !call
                .headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            {
                out.extend_from_slice(b"Content-Type: application/json\r\n");
            }
            let _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
            out.extend_from_slice(body);
        } else {
            out.extend_from_slice(b"\r\n");
        }
        out
    }
}

async fn read_reply(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    head_only: bool,
) -> std::io::Result<Reply> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        fill(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|s| s.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let find = |name: &str| {
        headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
    };
    let start = end + 4;
    let body = if head_only || status == 204 {
        Vec::new()
    } else if find("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        read_chunks(stream, buffer, start).await?
    } else {
        let length: usize = find("content-length")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        while buffer.len() < start + length {
            fill(stream, buffer).await?;
        }
        buffer[start..start + length].to_vec()
    };
    Ok(Reply {
        status,
        headers,
        body,
    })
}

async fn read_chunks(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    mut at: usize,
) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(n) = buffer[at..].windows(2).position(|w| w == b"\r\n") {
                break at + n;
            }
            fill(stream, buffer).await?;
        };
        let size = String::from_utf8_lossy(&buffer[at..line]).into_owned();
        let size =
            usize::from_str_radix(size.trim(), 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
        let start = line + 2;
        while buffer.len() < start + size + 2 {
            fill(stream, buffer).await?;
        }
        body.extend_from_slice(&buffer[start..start + size]);
        at = start + size + 2;
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    if stream.read_buf(buffer).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
