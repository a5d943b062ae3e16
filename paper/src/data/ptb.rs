//! The Penn Treebank as preprocessed by Mikolov: three texts, known by their checksums.
//!
//! In `ptb/` of the data folder lie `ptb.train.txt`, `ptb.valid.txt`, `ptb.test.txt`, or a single archive that holds files of these
//! names.

use std::path::Path;

use super::corpus::Corpus;
use crate::error::{Error, Result};

/// Name of the set, and of its folder.
pub const NAME: &str = "ptb";

/// One of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its MD5.
    pub md5: &'static str,
}

/// Training, validation and test text; the checksums are those that everybody uses (torchtext, Chainer).
pub const FILES: [File; 3] = [
    File { name: "ptb.train.txt", bytes: 5_101_618, md5: "f26c4b92c5fdc7b3f8c7cdcb991d8420" },
    File { name: "ptb.valid.txt", bytes: 399_782, md5: "aa0affc06ff7c36e977d7cd49e3839bf" },
    File { name: "ptb.test.txt", bytes: 449_945, md5: "8b80168b89c18661a38ef683c0dc3721" },
];

const ADVICE: &str = "`advnas data fetch ptb` downloads it";

/// Reads the texts from the data folder.
///
/// # Errors
/// [`Error::NoData`] if there are none, [`Error::WrongData`] for a missing, truncated or changed one, and what reading reports.
pub fn load(data: &Path) -> Result<Corpus> {
    load_files(data, &FILES)
}

fn load_files(data: &Path, files: &[File; 3]) -> Result<Corpus> {
    let corpus = Corpus::read(data, NAME, ADVICE)?;
    for ((file, text), md5) in files.iter().zip(&corpus.texts).zip(&corpus.md5) {
        let length = text.len() as u64;
        if (length, md5.as_str()) != (file.bytes, file.md5) {
            let name = format!("{}: {}", corpus.source.display(), file.name);
            let expected = format!("{} bytes with md5 {}", file.bytes, file.md5);
            return Err(Error::wrong(name, expected, format!("{length} bytes with md5 {md5}")));
        }
    }
    Ok(corpus)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::archive::tests::{pack, tar};
    use crate::data::corpus::PARTS;

    const TINY: [File; 3] = [
        File { name: "ptb.train.txt", bytes: 3, md5: "900150983cd24fb0d6963f7d28e17f72" },
        File { name: "ptb.valid.txt", bytes: 1, md5: "0cc175b9c0f1b6a831c399e269772661" },
        File { name: "ptb.test.txt", bytes: 0, md5: "d41d8cd98f00b204e9800998ecf8427e" },
    ];

    #[test]
    fn names_are_those_of_a_corpus() {
        assert_eq!(FILES.map(|file| file.name.to_owned()), PARTS.map(|part| format!("{NAME}.{part}.txt")));
    }

    #[test]
    fn texts_from_files_and_archives() {
        // The contents are RFC 1321's test suite.
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join(NAME);
        let load = || load_files(data.path(), &TINY);
        let refused = |part: &str| {
            let message = load().unwrap_err().to_string();
            assert!(message.contains(part), "{part:?} is missing in {message:?}");
        };
        refused("the Penn Treebank not found in ");
        fs::create_dir(&folder).unwrap();
        refused("`advnas data fetch ptb`");
        let members: [(&str, &[u8]); 3] =
            [("./x/data/ptb.train.txt", b"abc"), ("./x/data/ptb.valid.txt", b"a"), ("./x/data/ptb.test.txt", b"")];
        fs::write(folder.join("any.tgz"), pack("any.tgz", &tar(&members))).unwrap();
        let texts = ["abc", "a", ""].map(str::to_owned);
        let ptb = load().unwrap();
        assert_eq!((ptb.texts, ptb.source), (texts.clone(), folder.join("any.tgz")));
        // Files go first.
        for (name, content) in members {
            fs::write(folder.join(name.rsplit('/').next().unwrap()), content).unwrap();
        }
        let ptb = load().unwrap();
        assert_eq!((ptb.texts, ptb.source), (texts, folder.clone()));
        fs::write(folder.join("ptb.train.txt"), "ab").unwrap();
        refused(
            "ptb: ptb.train.txt: expected 3 bytes with md5 900150983cd24fb0d6963f7d28e17f72, found 2 bytes with md5 ",
        );
        fs::remove_file(folder.join("ptb.train.txt")).unwrap();
        refused("ptb: expected a file ptb.train.txt, found none");
    }
}
