//! HTTP/1.1 on one kept connection, asynchronous: requests with a length, and server-sent events.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    /// # Errors
    /// What the network said.
    pub async fn open(host: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), host })
    }

    async fn send(&mut self, method: &str, path: &str, headers: &[(&str, String)], body: &[u8]) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n", self.host, body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat()).await
    }

    /// Status and body length (`None`: chunked).
    async fn head(&mut self) -> io::Result<(u16, Option<usize>)> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(bad)?;
        let mut length = Some(0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).await?;
            let text = line.trim_end();
            if text.is_empty() {
                return Ok((status, length));
            }
            match text.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.trim().parse().map_err(|_| bad())?);
                }
                Some((name, value)) if name.eq_ignore_ascii_case("transfer-encoding") && value.contains("chunked") => {
                    length = None;
                }
                _ => {}
            }
        }
    }

    /// # Errors
    /// What the network said; the connection is of no more use then.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        self.send(method, path, headers, body).await?;
        let (status, length) = self.head().await?;
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length, 0);
                self.stream.read_exact(&mut body).await?;
            }
            None => {
                while let Some(chunk) = self.chunk().await? {
                    body.extend(chunk);
                }
            }
        }
        Ok((status, body))
    }

    /// Begins a stream of server-sent events; `chunk` reads on.
    ///
    /// # Errors
    /// What the network said, or a status other than 200.
    pub async fn stream(&mut self, path: &str, headers: &[(&str, String)]) -> io::Result<()> {
        self.send("GET", path, headers, b"").await?;
        match self.head().await? {
            (200, None) => Ok(()),
            (status, _) => Err(io::Error::other(format!("status {status}"))),
        }
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// What the network said.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::from_str_radix(line.trim_end(), 16).map_err(|_| bad())?;
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).await?;
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }
}
