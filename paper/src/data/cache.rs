//! Decoded images in the user's cache folder.
//!
//! # Layout
//! `advnas-images\n`, the length of the header (u32, little-endian), the header (JSON), labels and pixels of every set one after the
//! other, and the CRC-32 of everything before (u32, little-endian). A file that is not exactly that is made again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use advantage_nas::network::nas_bench_201::{Images, PIXELS};
use directories::ProjectDirs;
use serde::{Deserialize, Serialize};

use super::source::Source;
use crate::error::{Error, Result};
use crate::run::files;

const MAGIC: &[u8] = b"advnas-images\n";
/// To be raised when the decoding changes: older files are then not found.
const VERSION: u32 = 1;

/// The folder for decoded data.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    source: Source,
    classes: Vec<String>,
    /// Images of the training set, and of the test set.
    counts: [usize; 2],
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) source: Source,
    pub(super) training: Images,
    pub(super) test: Option<Images>,
}

/// The user's cache folder, such as `~/.cache/advantage-nas`: for decoded images, and for compiled kernels.
#[must_use]
pub fn users_folder() -> Option<PathBuf> {
    ProjectDirs::from("", "", "advantage-nas").map(|folders| folders.cache_dir().to_owned())
}

impl Cache {
    /// The given folder, or the user's cache folder, such as `~/.cache/advantage-nas`.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder: folder.or_else(users_folder) }
    }

    /// No cache: everything is decoded afresh.
    #[must_use]
    pub fn none() -> Self {
        Self { folder: None }
    }

    /// The file of a source, whose key is made of hexadecimal digits.
    fn path(&self, key: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("cifar10-{key}-v{VERSION}.bin")))
    }

    /// What is cached of a source. A damaged file is a warning and counts as none.
    pub(super) fn load(&self, key: &str) -> Option<Content> {
        let path = self.path(key)?;
        let problem = match fs::read(&path) {
            Ok(bytes) => match parse(&bytes) {
                Ok(content) => return Some(content),
                Err(problem) => problem,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        tracing::warn!("{}: {problem}; the images are decoded again", path.display());
        None
    }

    /// Keeps what was decoded. A cache that can't be written is a warning: the next run decodes again.
    pub(super) fn store(&self, key: &str, content: &Content) {
        let Some(path) = self.path(key) else { return };
        if let Err(error) = write(&path, content) {
            // With its cause, in one line.
            tracing::warn!("{:#}; the images will be decoded again", anyhow::Error::new(error));
        }
    }
}

fn write(path: &Path, content: &Content) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    files::replace(folder, &name, &bytes(content))
}

fn bytes(content: &Content) -> Vec<u8> {
    let counts = [content.training.len(), content.test.as_ref().map_or(0, Images::len)];
    let header = Header { source: content.source.clone(), classes: content.training.classes().to_vec(), counts };
    let header = serde_json::to_vec(&header).expect("a header has only text and numbers");
    let length = u32::try_from(header.len()).expect("a header is a few hundred bytes");
    let images: usize = counts.iter().sum();
    let mut out = Vec::with_capacity(MAGIC.len() + 8 + header.len() + images * (1 + PIXELS));
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&header);
    for images in [Some(&content.training), content.test.as_ref()].into_iter().flatten() {
        out.extend_from_slice(images.labels());
        out.extend_from_slice(images.pixels());
    }
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

fn parse(bytes: &[u8]) -> Result<Content, String> {
    let (rest, checksum) = bytes.split_last_chunk::<4>().ok_or("truncated")?;
    let found = crc32fast::hash(rest);
    let expected = u32::from_le_bytes(*checksum);
    if found != expected {
        return Err(format!("expected CRC-32 {expected:08x}, found {found:08x}"));
    }
    let rest = rest.strip_prefix(MAGIC).ok_or("not a file of decoded images")?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or("truncated")?;
    let (header, mut rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("truncated")?;
    let header: Header = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    let mut take = |count: usize| -> Result<Images, String> {
        let (labels, more) = rest.split_at_checked(count).ok_or("truncated")?;
        let (pixels, more) = more.split_at_checked(count.saturating_mul(PIXELS)).ok_or("truncated")?;
        rest = more;
        Images::new(pixels, labels, header.classes.clone()).map_err(|error| error.to_string())
    };
    let [training, test] = header.counts;
    let training = take(training)?;
    let test = if test == 0 { None } else { Some(take(test)?) };
    if rest.is_empty() { Ok(Content { source: header.source, training, test }) } else { Err("too long".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::Kind;

    fn content(test: bool) -> Content {
        let images = |count: usize, value: u8| {
            let labels: Vec<u8> = (0..count).map(|image| (image % 2) as u8).collect();
            Images::new(vec![value; count * PIXELS], labels, vec!["cat".to_owned(), "dog".to_owned()]).unwrap()
        };
        let source = Source {
            path: PathBuf::from("data/cifar10/a.tar"),
            kind: Kind::Pictures,
            source_md5: "0123".to_owned(),
            images_md5: "4567".to_owned(),
        };
        Content { source, training: images(4, 200), test: test.then(|| images(2, 7)) }
    }

    #[test]
    fn files_read_back_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(folder.path().join("deep/cache")));
        for content in [content(true), content(false)] {
            cache.store("0123", &content);
            assert_eq!(cache.load("0123").unwrap(), content);
        }
        assert_eq!(cache.load("4567"), None);
        let path = cache.path("0123").unwrap();
        let good = fs::read(&path).unwrap();
        // Compact: nothing but labels and pixels besides the header.
        assert!(good.len() - 4 * (1 + PIXELS) < 400);
        for at in [0, 14, 20, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(cache.load("0123"), None, "byte {at}");
        }
        for length in [0, 3, 30, good.len() - 1] {
            fs::write(&path, &good[..length]).unwrap();
            assert_eq!(cache.load("0123"), None, "length {length}");
        }
        // Correct checksums do not make up for a wrong form.
        let sealed = |bytes: &[u8]| [bytes, &crc32fast::hash(bytes).to_le_bytes()[..]].concat();
        for bad in [&b""[..], MAGIC, b"advnas-images\n\xff\xff\xff\xff", &good[..good.len() - 10]] {
            assert!(parse(&sealed(bad)).is_err());
        }
        let longer = sealed(&[&good[..good.len() - 4], b"x"].concat());
        assert_eq!(parse(&longer).unwrap_err(), "too long");
    }

    #[test]
    fn without_a_cache_nothing_is_kept() {
        Cache::none().store("0123", &content(true));
        assert_eq!(Cache::none().load("0123"), None);
        // Nor where it can't be written.
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = Cache::new(Some(file.path().join("cache")));
        cache.store("0123", &content(true));
        assert_eq!(cache.load("0123"), None);
    }
}
