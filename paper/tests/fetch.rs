//! Downloads from a server on this machine: resumed, interrupted, wrong, refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::server::{Reply, Request, Server};
use advantage_nas_paper::data::fetch::{Item, Outcome, Patience, fetch};
use advantage_nas_paper::progress::Progress;
use advantage_nas_paper::{Error, Result};
use md5::{Digest, Md5};

/// Larger than what a socket buffers, and no two blocks alike.
fn content() -> Vec<u8> {
    (0..300_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("deep/folder/file.bin")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("deep/folder/file.bin.part")
    }

    /// What an earlier process left.
    fn leave(&self, bytes: &[u8]) {
        fs::create_dir_all(self.part().parent().unwrap()).unwrap();
        fs::write(self.part(), bytes).unwrap();
    }

    fn fetch(&self, server: &Server) -> Result<Outcome> {
        let content = content();
        let item =
            Item { url: server.url("/file.bin"), path: self.path(), bytes: content.len() as u64, md5: md5(&content) };
        let patience = Patience { attempts: 3, pause: Duration::from_millis(1), silence: Duration::from_millis(500) };
        fetch(&item, &patience, &Progress::hidden())
    }

    /// Nothing but the file is there, and it is right.
    #[track_caller]
    fn complete(&self) {
        assert!(fs::read(self.path()).unwrap() == content(), "the file is wrong");
        assert_eq!(fs::read_dir(self.path().parent().unwrap()).unwrap().count(), 1);
    }

    /// The fetch fails with all parts in one line; the file is not there.
    #[track_caller]
    fn refused(&self, server: &Server, parts: &[&str]) -> Error {
        let error = self.fetch(server).unwrap_err();
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing in {message:?}");
        }
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!self.path().exists());
        error
    }
}

fn starts(server: &Server) -> Vec<Option<u64>> {
    server.requests().into_iter().map(|Request { start, .. }| start).collect()
}

#[test]
fn a_file_is_downloaded_once() {
    let server = Server::start(|request, _| Reply::file(&content(), request));
    let place = Place::new();
    assert_eq!(place.fetch(&server).unwrap(), Outcome::Downloaded { resumed: 0 });
    place.complete();
    assert_eq!(place.fetch(&server).unwrap(), Outcome::There);
    assert_eq!(starts(&server), [None]);
    // A damaged file is replaced.
    fs::write(place.path(), "damaged").unwrap();
    assert_eq!(place.fetch(&server).unwrap(), Outcome::Downloaded { resumed: 0 });
    place.complete();
}

#[test]
fn what_is_there_is_not_asked_for_again() {
    let server = Server::start(|request, _| Reply::file(&content(), request));
    let place = Place::new();
    place.leave(&content()[..123_456]);
    assert_eq!(place.fetch(&server).unwrap(), Outcome::Downloaded { resumed: 123_456 });
    place.complete();
    assert_eq!(starts(&server), [Some(123_456)]);
    // All of it: only the rename was missing.
    let place = Place::new();
    place.leave(&content());
    assert_eq!(place.fetch(&server).unwrap(), Outcome::Downloaded { resumed: 300_000 });
    place.complete();
    assert_eq!(starts(&server).len(), 1);
}

#[test]
fn interrupted_transfers_go_on() {
    // Every connection ends after 60 000 bytes more: more interruptions in all than are forgiven in a row.
    for length in [true, false] {
        let answer = move |request: &Request, _| Reply { length, ..Reply::file(&content(), request).cut(60_000) };
        let server = Server::start(answer);
        let place = Place::new();
        assert_eq!(place.fetch(&server).unwrap(), Outcome::Downloaded { resumed: 0 });
        place.complete();
        assert_eq!(starts(&server), [None, Some(60_000), Some(120_000), Some(180_000), Some(240_000)]);
    }
}

#[test]
fn a_silent_server_is_left() {
    let server = Server::start(|request, number| {
        let reply = Reply::file(&content(), request);
        if number == 0 { Reply { stall: true, ..reply.cut(50_000) } } else { reply }
    });
    let place = Place::new();
    place.fetch(&server).unwrap();
    place.complete();
    assert_eq!(starts(&server), [None, Some(50_000)]);
}

#[test]
fn servers_without_ranges_send_everything() {
    let server = Server::start(|_, _| Reply::whole(&content()));
    let place = Place::new();
    place.leave(&content()[..1000]);
    place.fetch(&server).unwrap();
    place.complete();
    assert_eq!(starts(&server), [Some(1000)]);
    // One that is interrupted as well, twice.
    let server = Server::start(|_, number| {
        let reply = Reply::whole(&content());
        if number < 2 { reply.cut(100_000) } else { reply }
    });
    let place = Place::new();
    place.fetch(&server).unwrap();
    place.complete();
    assert_eq!(starts(&server), [None, Some(100_000), Some(100_000)]);
    // Always at the same place: that is the end, not a loop.
    let server = Server::start(|_, _| Reply::whole(&content()).cut(100_000));
    let place = Place::new();
    place.refused(&server, &["can't download http://127.0.0.1:", "100000 of 300000 bytes are kept, the same command"]);
    assert_eq!(starts(&server).len(), 3);
    assert_eq!(fs::read(place.part()).unwrap(), content()[..100_000]);
}

#[test]
fn another_range_than_asked_for_is_not_believed() {
    let server = Server::start(|request, _| {
        let mut reply = Reply::file(&content(), request);
        if request.start == Some(1000) {
            reply.headers = vec!["Content-Range: bytes 0-299999/300000".to_owned()];
            reply.body = content();
        }
        reply
    });
    let place = Place::new();
    place.leave(&content()[..1000]);
    place.fetch(&server).unwrap();
    place.complete();
    assert_eq!(starts(&server), [Some(1000), None]);
}

#[test]
fn wrong_checksums() {
    let wrong = |request: &Request| {
        let mut bytes = content();
        bytes[200_000] ^= 1;
        Reply::file(&bytes, request)
    };
    let server = Server::start(move |request, _| wrong(request));
    let place = Place::new();
    let expected =
        format!("/file.bin: expected 300000 bytes with md5 {}, found 300000 bytes with md5 ", md5(&content()));
    let error = place.refused(&server, &[&expected]);
    assert!(matches!(error, Error::WrongData { .. }));
    // Wrong bytes are not kept.
    assert!(!place.part().exists());
    assert_eq!(starts(&server), [None]);

    // If the wrong bytes are those of an earlier process, the file is fetched from the start.
    let server = Server::start(|request, _| Reply::file(&content(), request));
    place.leave(&[7; 1000]);
    assert_eq!(place.fetch(&server).unwrap(), Outcome::Downloaded { resumed: 0 });
    place.complete();
    assert_eq!(starts(&server), [Some(1000), None]);
    // As if it is too long.
    let place = Place::new();
    place.leave(&[7; 300_001]);
    place.fetch(&server).unwrap();
    place.complete();
}

#[test]
fn wrong_lengths_are_refused_before_anything_is_written() {
    for length in [10, 299_999, 300_001] {
        let server = Server::start(move |request, _| Reply::file(&vec![1; length], request));
        let place = Place::new();
        place.refused(&server, &["/file.bin: expected 300000 bytes, found ", &format!("found {length} bytes")]);
        assert_eq!(starts(&server), [None]);
    }
    // A server that does not say the length.
    let server = Server::start(|_, _| Reply { length: false, ..Reply::whole(&[1; 300_001]) });
    Place::new().refused(&server, &["expected 300000 bytes, found more"]);
    // One with a shorter file than was left by an earlier process.
    let server = Server::start(|request, _| Reply::file(&[1; 50], request));
    let place = Place::new();
    place.leave(&content()[..100]);
    place.refused(&server, &["expected 300000 bytes, found 50 bytes"]);
    assert_eq!(starts(&server), [Some(100), None]);
}

#[test]
fn refusals() {
    let server = Server::start(|_, _| Reply::status("404 Not Found"));
    Place::new()
        .refused(&server, &["can't download http://127.0.0.1:", "/file.bin: the server answered 404 Not Found"]);
    assert_eq!(server.requests().len(), 1);
    // A passing failure.
    let server = Server::start(|request, number| {
        if number == 0 { Reply::status("503 Service Unavailable") } else { Reply::file(&content(), request) }
    });
    let place = Place::new();
    place.fetch(&server).unwrap();
    place.complete();
    // One that does not pass.
    let server = Server::start(|_, _| Reply::status("503 Service Unavailable"));
    let place = Place::new();
    place.leave(&content()[..5]);
    place.refused(&server, &["the server answered 503 Service Unavailable; 5 of 300000 bytes are kept"]);
    assert_eq!(server.requests().len(), 3);
    assert_eq!(fs::read(place.part()).unwrap(), content()[..5]);
    // Redirects are followed.
    let server = Server::start(|request, _| match request.path.as_str() {
        "/file.bin" => Reply { headers: vec!["Location: /elsewhere".to_owned()], ..Reply::status("302 Found") },
        _ => Reply::file(&content(), request),
    });
    let place = Place::new();
    place.fetch(&server).unwrap();
    place.complete();
}

#[test]
fn nobody_answers() {
    let fetch_from = |url: &str, folder: &Path| {
        let item = Item { url: url.to_owned(), path: folder.join("f"), bytes: 1, md5: String::new() };
        fetch(&item, &Patience::default(), &Progress::hidden()).unwrap_err().to_string()
    };
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let message = fetch_from(&format!("http://127.0.0.1:{port}/f"), folder.path());
    assert!(message.starts_with(&format!("can't download http://127.0.0.1:{port}/f: ")), "{message}");
    for url in ["no address", "ftp://127.0.0.1/f", "http://"] {
        let message = fetch_from(url, folder.path());
        assert!(message.starts_with(&format!("can't download {url}: ")) && message.lines().count() == 1, "{message}");
    }
}

#[test]
fn one_process_downloads_a_file() {
    let server = Server::start(|request, _| Reply::file(&content(), request));
    let place = Place::new();
    place.leave(&content()[..10]);
    let other = fs::File::options().write(true).open(place.part()).unwrap();
    other.lock().unwrap();
    let error = place.refused(&server, &["file.bin.part is in use by another process"]);
    assert!(matches!(error, Error::InUse(_)));
    drop(other);
    place.fetch(&server).unwrap();
    place.complete();
}
