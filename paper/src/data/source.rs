//! Where images are from: known to those who read them and to the cache.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the images were decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The official binary files.
    Official,
    /// Image files: not necessarily the official pixels.
    Pictures,
}

/// Where the images are from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The archive or the folder.
    pub path: PathBuf,
    /// What it holds.
    pub kind: Kind,
    /// MD5 of the archive; of a folder, of its files' contents in order, before each picture its name and a zero byte.
    pub source_md5: String,
    /// MD5 of what was decoded: the classes' names, each with a newline, labels and pixels of the training set, those of the test set.
    /// The same for an archive and the folder that it was made from.
    pub images_md5: String,
}
