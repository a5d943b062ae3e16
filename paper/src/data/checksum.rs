//! MD5, which the data sets are published with. It guards against accidents, not against forgery.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use md5::{Digest, Md5};

use crate::error::{Error, Result};

/// A checksum that grows piece by piece.
#[derive(Clone, Default)]
pub(super) struct Checksum(Md5);

impl Checksum {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Lower-case hexadecimal digits.
    pub(super) fn finish(self) -> String {
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
            text
        })
    }
}

/// Of some bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> String {
    let mut checksum = Checksum::default();
    checksum.add(bytes);
    checksum.finish()
}

/// Of a file: its length and its checksum.
pub(super) fn of_file(path: &Path) -> Result<(u64, String)> {
    let read = || -> io::Result<(u64, String)> {
        let mut file = File::open(path)?;
        let mut checksum = Checksum::default();
        let mut buffer = vec![0; 1 << 18];
        let mut length = 0;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok((length, checksum.finish()));
            }
            length += count as u64;
            checksum.add(&buffer[..count]);
        }
    };
    read().map_err(Error::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // RFC 1321, A.5.
        assert_eq!(of_bytes(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(of_bytes(b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(of_file(&path).unwrap(), (3, "900150983cd24fb0d6963f7d28e17f72".to_owned()));
        assert!(of_file(&folder.path().join("none")).is_err());
    }
}
