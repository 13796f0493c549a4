//! HTTP/1.1 messages read strictly: a test must notice what a lenient client would forgive.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A status line or request line, and the fields as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub first_line: String,
    pub fields: Vec<(String, String)>,
    /// All its bytes, the empty line included.
    pub bytes: Vec<u8>,
}

/// A response, or a request, with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Those of status 1xx that came before it.
    pub interim: Vec<Head>,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Whether the end of the stream was the end of the body.
    pub until_close: bool,
}

impl Head {
    /// Of a response.
    pub fn status(&self) -> u16 {
        let mut parts = self.first_line.splitn(3, ' ');
        let version = parts.next().unwrap();
        assert!(
            matches!(version, "HTTP/1.1" | "HTTP/1.0"),
            "{:?}",
            self.first_line
        );
        let status = parts.next().expect("a status");
        assert_eq!(status.len(), 3, "{:?}", self.first_line);
        assert!(
            parts.next().is_some(),
            "no space after the status: {:?}",
            self.first_line
        );
        status.parse().unwrap()
    }

    /// The only value of this field; panics when it is repeated.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        let value = values.next();
        assert!(
            values.next().is_none(),
            "{name} is repeated in {:?}",
            self.fields
        );
        value
    }

    /// Every value of this field.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(named)
            .map(|(_, value)| value.as_str())
    }
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether the connection may carry another request.
    pub fn keeps_alive(&self) -> bool {
        let closes = self.head.all("connection").any(|value| {
            value
                .split(',')
                .any(|option| option.trim().eq_ignore_ascii_case("close"))
        });
        !self.until_close && !closes && self.head.first_line.starts_with("HTTP/1.1")
    }
}

/// Content-Length and Transfer-Encoding, of which there may be one.
fn lengths(head: &Head) -> (Option<String>, Option<String>) {
    let field = |name| head.field(name).map(str::to_owned);
    let both = (field("content-length"), field("transfer-encoding"));
    assert!(
        both.0.is_none() || both.1.is_none(),
        "both lengths: {head:?}"
    );
    both
}

/// Reads messages from a stream, byte by byte out of its own buffer.
pub struct Reader<R> {
    pub stream: R,
    ahead: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Reads more into the buffer; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.ahead).await? > 0)
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.ahead.split_off(count);
        std::mem::replace(&mut self.ahead, rest)
    }

    /// Exactly this many bytes.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.take(count))
    }

    /// Up to and with the end of a line.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line = self.take(end + 1);
                let line = line.strip_suffix(b"\r\n").expect("a line ends in CR LF");
                assert!(!line.contains(&b'\r'), "a bare CR: {line:?}");
                return Ok(line.iter().copied().map(char::from).collect());
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// A head of either side; `None` when the stream ended instead.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        if self.ahead.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        let first_line = self.line().await?;
        let (fields, mut bytes) = self.fields().await?;
        bytes.splice(0..0, format!("{first_line}\r\n").chars().map(|c| c as u8));
        Ok(Some(Head {
            first_line,
            fields,
            bytes,
        }))
    }

    /// Fields to the empty line, and their bytes.
    async fn fields(&mut self) -> io::Result<(Vec<(String, String)>, Vec<u8>)> {
        let (mut fields, mut bytes) = (Vec::new(), Vec::new());
        loop {
            let line = self.line().await?;
            bytes.extend(line.chars().map(|c| c as u8));
            bytes.extend_from_slice(b"\r\n");
            if line.is_empty() {
                return Ok((fields, bytes));
            }
            let (name, value) = line.split_once(':').expect("a field has a colon");
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            assert!(
                !name.is_empty() && name.chars().all(token),
                "a field's name: {line:?}"
            );
            assert!(!value.contains('\0'), "a NUL in a field: {line:?}");
            let value = value.trim_matches([' ', '\t']);
            fields.push((name.to_owned(), value.to_owned()));
        }
    }

    /// A response to `method`, with the interim ones before it.
    pub async fn response(&mut self, method: &str) -> io::Result<Message> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if !(100..200).contains(&head.status()) || head.status() == 101 {
                break head;
            }
            assert_eq!(head.field("content-length"), None, "RFC 9110, 8.6");
            assert_eq!(head.field("transfer-encoding"), None, "RFC 9112, 6.1");
            interim.push(head);
        };
        let mut message = Message {
            interim,
            head,
            body: Vec::new(),
            trailers: Vec::new(),
            until_close: false,
        };
        self.body(method, &mut message).await?;
        Ok(message)
    }

    /// A request; `None` when the stream ended instead.
    pub async fn request(&mut self) -> io::Result<Option<Message>> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let mut message = Message {
            interim: Vec::new(),
            head,
            body: Vec::new(),
            trailers: Vec::new(),
            until_close: false,
        };
        self.framed(&mut message).await?;
        Ok(Some(message))
    }

    /// By the rules of RFC 9112, 6.3, for responses.
    async fn body(&mut self, method: &str, message: &mut Message) -> io::Result<()> {
        let status = message.status();
        let (length, coding) = lengths(&message.head);
        if matches!(status, 101 | 204) {
            assert!(
                length.is_none() && coding.is_none(),
                "a length where no body can be: {:?}",
                message.head
            );
        }
        let tunnel = method == "CONNECT" && (200..300).contains(&status);
        if method == "HEAD" || matches!(status, 101 | 204 | 304) || tunnel {
            return Ok(());
        }
        if !self.framed(message).await? {
            message.until_close = true;
            message.body = self.rest().await?;
        }
        Ok(())
    }

    /// The body that the head tells the length of; false when it does not.
    async fn framed(&mut self, message: &mut Message) -> io::Result<bool> {
        let (length, coding) = lengths(&message.head);
        if let Some(coding) = coding {
            assert_eq!(coding, "chunked");
            message.body = self.chunks().await?;
            message.trailers = self.fields().await?.0;
        } else if let Some(length) = length {
            assert!(
                length.bytes().all(|byte| byte.is_ascii_digit()),
                "a length: {length:?}"
            );
            message.body = self.exactly(length.parse().unwrap()).await?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The chunks and the last one, but not what follows that.
    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            assert!(
                line.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "a chunk's size: {line:?}"
            );
            let size = usize::from_str_radix(&line, 16).unwrap();
            if size == 0 {
                return Ok(body);
            }
            body.extend(self.exactly(size).await?);
            assert_eq!(self.exactly(2).await?, b"\r\n", "the end of a chunk");
        }
    }

    /// All to the end of the stream.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill().await? {}
        Ok(std::mem::take(&mut self.ahead))
    }

    /// At least one byte, or none at the end of the stream.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }
}
