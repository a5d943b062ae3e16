//! A server on this machine that sends files well or badly.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path, with its slash.
    pub path: String,
    /// The first byte of the range, if one was asked for.
    pub start: Option<u64>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code and text, such as `200 OK`.
    pub status: &'static str,
    /// Headers besides the length.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the length is said.
    pub length: bool,
    /// Bytes of the body after which the connection is closed.
    pub cut: usize,
    /// Whether the connection is kept open after that, in silence.
    pub stall: bool,
}

impl Reply {
    /// An answer without content.
    pub fn status(status: &'static str) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), length: true, cut: usize::MAX, stall: false }
    }

    /// The whole file.
    pub fn whole(content: &[u8]) -> Self {
        Self { body: content.to_vec(), ..Self::status("200 OK") }
    }

    /// The part that was asked for, as a good server sends it.
    pub fn file(content: &[u8], request: &Request) -> Self {
        let Some(start) = request.start else { return Self::whole(content) };
        if start >= content.len() as u64 {
            return Self::status("416 Range Not Satisfiable");
        }
        let range = format!("Content-Range: bytes {start}-{}/{}", content.len() - 1, content.len());
        let body = content[start as usize..].to_vec();
        Self { headers: vec![range], body, ..Self::status("206 Partial Content") }
    }

    /// The connection ends after so many bytes of the body.
    pub fn cut(self, cut: usize) -> Self {
        Self { cut, ..self }
    }
}

/// Runs until the process ends.
#[derive(Clone, Debug)]
pub struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers every request by a function of the request and of how many came before.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || {
                    // A client that is killed is no failure of the server.
                    let _ = serve(stream.unwrap(), &seen, &*answer);
                });
            }
        });
        Self { address, requests }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request, usize) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut request = Request { path: first.split(' ').nth(1).unwrap_or_default().to_owned(), start: None };
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            request.start = range.trim_end_matches('-').parse().ok();
        }
    }
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let reply = answer(&request, number);
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {}\r\nConnection: close\r\n", reply.status)?;
    for header in &reply.headers {
        write!(stream, "{header}\r\n")?;
    }
    if reply.length {
        write!(stream, "Content-Length: {}\r\n", reply.body.len())?;
    }
    write!(stream, "\r\n")?;
    stream.write_all(&reply.body[..reply.body.len().min(reply.cut)])?;
    stream.flush()?;
    if reply.stall {
        std::thread::sleep(std::time::Duration::from_secs(20));
    }
    Ok(())
}
