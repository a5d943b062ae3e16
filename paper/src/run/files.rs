//! Writing a file as a whole or not at all: under a temporary name in the same folder, then renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

const PREFIX: &str = ".advnas-";
const SUFFIX: &str = ".tmp";

/// A temporary file in a folder, with what will be the content, safe on disk.
pub(super) fn prepare(folder: &Path, content: &[u8]) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // A temporary file is private by default; this one becomes a result that others may read if the umask says so.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(Error::io("write to", folder))?;
    let path = file.path().to_owned();
    file.write_all(content).map_err(Error::io("write", &path))?;
    file.as_file().sync_all().map_err(Error::io("write", &path))?;
    Ok(file)
}

/// Writes `folder/name`, replacing what is there.
pub(crate) fn replace(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = folder.join(name);
    let file = prepare(folder, content)?;
    file.persist(&path).map_err(|error| error.error).map_err(Error::io("write", &path))?;
    Ok(())
}

/// Whether a file name is that of a temporary file of ours.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Removes the temporary files that a killed process left. Only for a folder whose lock is held.
pub(super) fn remove_temporaries(folder: &Path) -> Result<()> {
    for name in names(folder)? {
        if is_temporary(&name) {
            let path = folder.join(name);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Names of everything in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    read().map_err(Error::io("read", folder))
}

/// Names in a few words.
pub(crate) fn contents(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// The content of a file, or nothing if there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Opens a file to read and lock it; for writing too if possible, which some network file systems want for a lock.
pub(super) fn open_to_lock(path: &Path) -> Result<File> {
    File::options().read(true).write(true).open(path).or_else(|_| File::open(path)).map_err(Error::io("open", path))
}
