//! Texts for language models: three files of words, and the tokens that are made of them.
//!
//! The corpus `NAME` is the files `NAME.train.txt`, `NAME.valid.txt` and `NAME.test.txt` in the folder `NAME/` of the data folder, or
//! a single archive there that holds files of these names. Words are separated by white space; every line ends with the word
//! [`END_OF_LINE`]. Words get their numbers in the order in which they first appear in the training text. A word of the other texts
//! that is not in the training text becomes [`UNKNOWN`] if that is, and is an error otherwise.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::archive::{self, Member};
use super::{checksum, ptb};
use crate::error::{Error, Result};

/// The word at the end of every line.
pub const END_OF_LINE: &str = "<eos>";
/// The word that stands for all others, where a corpus has it.
pub const UNKNOWN: &str = "<unk>";

/// What the three texts are called, as part of their files' names.
pub const PARTS: [&str; 3] = ["train", "valid", "test"];

/// The texts of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// Its name.
    pub name: String,
    /// Training, validation and test text.
    pub texts: [String; 3],
    /// MD5 of each.
    pub md5: [String; 3],
    /// The folder or the archive that they are from.
    pub source: PathBuf,
}

/// How many lines of every text are used, from its beginning; 0 for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// Of the training text.
    pub training: usize,
    /// Of the validation text.
    pub validation: usize,
    /// Of the test text.
    pub test: usize,
}

/// A corpus as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The words by number.
    pub vocabulary: Vec<String>,
    /// The training text.
    pub training: Arc<[u32]>,
    /// The validation text.
    pub validation: Arc<[u32]>,
    /// The test text.
    pub test: Arc<[u32]>,
}

impl Corpus {
    /// Reads a corpus from the data folder. The texts of the Penn Treebank must be those that everybody uses.
    ///
    /// # Errors
    /// [`Error::NoData`] if there is none, [`Error::WrongData`] for a missing or empty text or one that is not UTF-8,
    /// [`Error::Usage`] for a name that is none, and what reading reports.
    pub fn load(data: &Path, name: &str) -> Result<Self> {
        if name == ptb::NAME { ptb::load(data) } else { Self::read(data, name, "") }
    }

    /// Reads the texts, whatever they are; `advice` is how to get them, if there is a way.
    pub(super) fn read(data: &Path, name: &str, advice: &str) -> Result<Self> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Err(Error::Usage(format!(
                "{name:?} is not the name of a corpus: expected that of a folder of texts"
            )));
        }
        let files = PARTS.map(|part| format!("{name}.{part}.txt"));
        let folder = data.join(name);
        let (source, members) = members(&folder, &files)?.ok_or_else(|| Error::NoData {
            what: if name == ptb::NAME { "the Penn Treebank".to_owned() } else { format!("the corpus {name:?}") },
            folder,
            advice: if advice.is_empty() {
                format!("put {} there, or one archive of them", files.join(", "))
            } else {
                advice.to_owned()
            },
        })?;
        let read = |file: &String| -> Result<(String, String)> {
            let Some(member) = members.iter().find(|member| is_named(&member.name, file)) else {
                return Err(Error::wrong(source.display(), format!("a file {file}"), "none"));
            };
            let md5 = checksum::of_bytes(&member.content);
            let text = String::from_utf8(member.content.clone()).map_err(|error| {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                Error::wrong(place(&source, file, Some(line)), "UTF-8", "other bytes")
            })?;
            // Some editors begin a file with a mark that is no part of the first word.
            Ok((text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text), md5))
        };
        let [train, valid, test] = &files;
        let [train, valid, test] = [read(train)?, read(valid)?, read(test)?];
        let texts = [train.0, valid.0, test.0];
        Ok(Self { name: name.to_owned(), texts, md5: [train.1, valid.1, test.1], source })
    }

    /// The checksums, as a run records them.
    #[must_use]
    pub fn checksums(&self) -> Table {
        let entry = |(part, md5): (&&str, &String)| (self.file(part), format!("md5 {md5}").into());
        PARTS.iter().zip(&self.md5).map(entry).collect()
    }

    /// The first lines of every text as numbers; the vocabulary is that of these lines of the training text.
    ///
    /// # Errors
    /// [`Error::WrongData`] for a text without a word, or a word that the training text has not, nor [`UNKNOWN`].
    pub fn tokens(&self, lines: Lines) -> Result<Tokens> {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut vocabulary = Vec::new();
        let mut training = Vec::new();
        for line in first(&self.texts[0], lines.training) {
            for word in line.split_whitespace().chain([END_OF_LINE]) {
                let number = *numbers.entry(word).or_insert_with(|| {
                    vocabulary.push(word.to_owned());
                    vocabulary.len() as u32 - 1
                });
                training.push(number);
            }
        }
        if vocabulary.iter().all(|word| word == END_OF_LINE) {
            return Err(Error::wrong(place(&self.source, &self.file(PARTS[0]), None), "words", "none"));
        }
        let unknown = numbers.get(UNKNOWN).copied();
        let encode = |index: usize, lines: usize| -> Result<Arc<[u32]>> {
            let (file, mut tokens, mut words) = (self.file(PARTS[index]), Vec::new(), 0);
            for (number, line) in first(&self.texts[index], lines).enumerate() {
                for word in line.split_whitespace().chain([END_OF_LINE]) {
                    let token = numbers.get(word).copied().or(unknown).ok_or_else(|| {
                        let expected = format!("words of the training text, which has no {UNKNOWN}");
                        Error::wrong(place(&self.source, &file, Some(number + 1)), expected, format!("{word:?}"))
                    })?;
                    tokens.push(token);
                }
                words += line.split_whitespace().count();
            }
            if words == 0 {
                return Err(Error::wrong(place(&self.source, &file, None), "words", "none"));
            }
            Ok(tokens.into())
        };
        let (validation, test) = (encode(1, lines.validation)?, encode(2, lines.test)?);
        Ok(Tokens { vocabulary, training: training.into(), validation, test })
    }

    fn file(&self, part: &str) -> String {
        format!("{}.{part}.txt", self.name)
    }
}

/// The first lines of a text, or all of them.
fn first(text: &str, lines: usize) -> impl Iterator<Item = &str> {
    text.lines().take(if lines == 0 { usize::MAX } else { lines })
}

/// A file, or a line of it, for messages.
fn place(source: &Path, file: &str, line: Option<usize>) -> String {
    let line = line.map_or_else(String::new, |line| format!(", line {line}"));
    format!("{}: {file}{line}", source.display())
}

fn is_named(path: &str, file: &str) -> bool {
    path.rsplit('/').next() == Some(file)
}

/// The files of the given names, those in the folder before those in its archive, and where they were found; nothing if there is
/// neither.
fn members(folder: &Path, files: &[String; 3]) -> Result<Option<(PathBuf, Vec<Member>)>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let there: Vec<&String> = files.iter().filter(|name| folder.join(name).exists()).collect();
    if there.is_empty() {
        let Some(path) = archive::only(folder)? else { return Ok(None) };
        let members = archive::read(&path, |name| files.iter().any(|file| is_named(name, file)))?;
        return Ok(Some((path, members)));
    }
    let members = there.into_iter().map(|name| {
        let path = folder.join(name);
        let content = fs::read(&path).map_err(Error::io("read", &path))?;
        Ok(Member { name: name.clone(), content })
    });
    Ok(Some((folder.to_owned(), members.collect::<Result<_>>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::archive::tests::{pack, tar};

    fn corpus(texts: [&str; 3]) -> Corpus {
        let md5 = [const { String::new() }; 3];
        Corpus { name: "x".to_owned(), texts: texts.map(str::to_owned), md5, source: PathBuf::from("d/x") }
    }

    #[test]
    fn words_are_numbered_as_they_appear() {
        let corpus = corpus([" the cat \n sat on the mat\n\nend", "mat the\n", "cat\nsat"]);
        let tokens = corpus.tokens(Lines::default()).unwrap();
        assert_eq!(tokens.vocabulary, ["the", "cat", "<eos>", "sat", "on", "mat", "end"]);
        assert_eq!(*tokens.training, [0, 1, 2, 3, 4, 0, 5, 2, 2, 6, 2]);
        assert_eq!(*tokens.validation, [5, 0, 2]);
        assert_eq!(*tokens.test, [1, 2, 3, 2]);
        // The vocabulary follows the lines that are used.
        let refused = corpus.tokens(Lines { training: 1, ..Lines::default() }).unwrap_err().to_string();
        assert_eq!(
            refused,
            "d/x: x.valid.txt, line 1: expected words of the training text, which has no <unk>, found \"mat\""
        );
        let shorter = corpus.tokens(Lines { training: 2, validation: 0, test: 1 }).unwrap();
        assert_eq!((shorter.vocabulary.len(), shorter.training.len(), &*shorter.test), (6, 8, &[1, 2][..]));
    }

    #[test]
    fn unknown_words() {
        let with = corpus(["a <unk> b\n", "b c\n", "c\nd\n"]).tokens(Lines::default()).unwrap();
        assert_eq!((&*with.validation, &*with.test), (&[2, 1, 3][..], &[1, 3, 1, 3][..]));
        let refused = corpus(["a b\n", "b\n", "a\n\nb d\n"]).tokens(Lines::default()).unwrap_err().to_string();
        assert!(refused.contains("x.test.txt, line 3: ") && refused.ends_with("found \"d\""), "{refused}");
    }

    #[test]
    fn empty_texts() {
        for (texts, part) in [(["", "a", "a"], "train"), (["a", " \n\n", "a"], "valid"), (["a", "a", "\n"], "test")] {
            let refused = corpus(texts).tokens(Lines::default()).unwrap_err().to_string();
            assert_eq!(refused, format!("d/x: x.{part}.txt: expected words, found none"));
        }
    }

    #[test]
    fn files_and_archives() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("x");
        let load = || Corpus::load(data.path(), "x");
        let refused = |part: &str| {
            let message = load().unwrap_err().to_string();
            assert!(message.contains(part), "{part:?} is missing in {message:?}");
        };
        refused("the corpus \"x\" not found in ");
        fs::create_dir(&folder).unwrap();
        refused("put x.train.txt, x.valid.txt, x.test.txt there, or one archive of them");
        // The contents are RFC 1321's test suite.
        let members: [(&str, &[u8]); 3] = [("y/x.train.txt", b"abc"), ("x.valid.txt", b"a"), ("./z/x.test.txt", b"")];
        fs::write(folder.join("any.tar.zst"), pack("any.tar.zst", &tar(&members))).unwrap();
        let loaded = load().unwrap();
        assert_eq!((loaded.texts, loaded.source), (["abc", "a", ""].map(str::to_owned), folder.join("any.tar.zst")));
        assert_eq!(loaded.md5[0], "900150983cd24fb0d6963f7d28e17f72");
        // Files go first, and then all of them must be there.
        fs::write(folder.join("x.train.txt"), "abc").unwrap();
        refused("x: expected a file x.valid.txt, found none");
        fs::write(folder.join("x.valid.txt"), b"ok\nfine \xff\n").unwrap();
        fs::write(folder.join("x.test.txt"), "a").unwrap();
        refused("x: x.valid.txt, line 2: expected UTF-8, found other bytes");
        fs::write(folder.join("x.valid.txt"), "\u{feff}ok").unwrap();
        assert_eq!(load().unwrap().texts[1], "ok");
        let checksums = load().unwrap().checksums();
        assert_eq!(checksums["x.train.txt"].as_str(), Some("md5 900150983cd24fb0d6963f7d28e17f72"));
        for name in ["", ".", "..", "a/b", "../x"] {
            let message = Corpus::load(data.path(), name).unwrap_err();
            assert!(message.is_usage() && message.to_string().contains("is not the name of a corpus"), "{message}");
        }
    }
}
