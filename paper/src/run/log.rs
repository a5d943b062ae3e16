//! The logs of a run: CSV files that are appended to. The checkpoint knows how long they were, and a resumed run cuts them
//! back to that length, so that they end up as if nothing had happened.
//!
//! Floats are written with the fewest digits that bring back the same bits, so that a log is exact.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Name and header line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Name of the file.
    pub name: &'static str,
    /// Names of the columns.
    pub columns: Vec<&'static str>,
}

/// Lengths of the logs in bytes, by file name.
pub type Lengths = BTreeMap<String, u64>;

/// One open log.
#[derive(Debug)]
pub struct Log {
    name: &'static str,
    path: PathBuf,
    writer: BufWriter<File>,
    length: u64,
}

impl Log {
    /// An empty log with its header.
    pub(super) fn create(folder: &Path, columns: &Columns) -> Result<Self> {
        let path = folder.join(columns.name);
        let file = File::create(&path).map_err(Error::io("write", &path))?;
        let mut log = Self { name: columns.name, path, writer: BufWriter::new(file), length: 0 };
        log.append(&format!("{}\n", columns.columns.join(",")))?;
        Ok(log)
    }

    /// A log that goes on after its first `length` bytes; what lies behind them is dropped.
    pub(super) fn resume(folder: &Path, columns: &Columns, length: u64) -> Result<Self> {
        let path = folder.join(columns.name);
        let mut file = File::options().write(true).open(&path).map_err(Error::io("open", &path))?;
        file.set_len(length).and_then(|()| file.seek(SeekFrom::End(0))).map_err(Error::io("write", &path))?;
        Ok(Self { name: columns.name, path, writer: BufWriter::new(file), length })
    }

    /// Checks that a log has at least its first `expected` bytes.
    pub(super) fn expect(folder: &Path, name: &str, expected: u64) -> Result<()> {
        let path = folder.join(name);
        let found = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        if found < expected { Err(Error::ShortLog { path, expected, found }) } else { Ok(()) }
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn append(&mut self, lines: &str) -> Result<()> {
        self.length += lines.len() as u64;
        self.writer.write_all(lines.as_bytes()).map_err(Error::io("write", &self.path))
    }

    /// Brings everything to disk and says how long the log is.
    pub(super) fn flush(&mut self) -> Result<(String, u64)> {
        self.writer.flush().and_then(|()| self.writer.get_ref().sync_data()).map_err(Error::io("write", &self.path))?;
        Ok((self.name.to_owned(), self.length))
    }
}

/// A float in the fewest digits that bring back the same bits.
#[must_use]
pub fn float(value: f64) -> String {
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_come_back_bit_for_bit() {
        for value in [0.0, -0.0, 1.0, 0.1, 1.0 / 3.0, 1e-300, f64::MIN_POSITIVE / 8.0, f64::MAX] {
            let text = float(value);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            assert!(text.len() < 25, "{text}");
        }
    }

    #[test]
    fn a_resumed_log_forgets_what_came_later() {
        let folder = tempfile::tempdir().unwrap();
        let columns = Columns { name: "log.csv", columns: vec!["a", "b"] };
        let mut log = Log::create(folder.path(), &columns).unwrap();
        log.append("1,2\n").unwrap();
        let (name, length) = log.flush().unwrap();
        assert_eq!((name.as_str(), length), ("log.csv", 8));
        log.append("lost\n").unwrap();
        drop(log);
        let mut log = Log::resume(folder.path(), &columns, length).unwrap();
        log.append("3,4\n").unwrap();
        drop(log);
        assert_eq!(std::fs::read_to_string(folder.path().join("log.csv")).unwrap(), "a,b\n1,2\n3,4\n");
        Log::expect(folder.path(), "log.csv", 12).unwrap();
        let message = Log::expect(folder.path(), "log.csv", 13).unwrap_err().to_string();
        assert!(message.ends_with("log.csv: the checkpoint expects at least 13 bytes, found 12"), "{message}");
        assert!(matches!(Log::expect(folder.path(), "none.csv", 1), Err(Error::ShortLog { found: 0, .. })));
    }
}
