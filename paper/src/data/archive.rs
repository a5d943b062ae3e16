//! Archives: `.tar`, `.tar.gz`, `.tar.zst`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::run::files;

const ENDINGS: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];

/// No file of a data set is larger.
const LARGEST: u64 = 1 << 28;

/// A file with its content.
#[derive(Debug)]
pub(super) struct Member {
    /// Its path in the archive, `/` between the parts.
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// The archives in a folder, sorted by name.
fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = files::names(folder)?;
    let archive = |name: &String| {
        let name = name.to_lowercase();
        !name.starts_with('.') && ENDINGS.iter().any(|ending| name.ends_with(ending))
    };
    Ok(names.iter().filter(|name| archive(name)).map(|name| folder.join(name)).collect())
}

/// The archive in a folder, if there is one.
pub(super) fn only(folder: &Path) -> Result<Option<PathBuf>> {
    let mut archives = archives(folder)?;
    if archives.len() > 1 {
        let names = archives.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy());
        return Err(Error::wrong(folder.display(), "one archive", names.collect::<Vec<_>>().join(", ")));
    }
    Ok(archives.pop())
}

/// The files in an archive whose name is wanted, in the archive's order. The archive is read to its end, so that one that is
/// truncated, or whose own checksums don't hold, is an error.
pub(super) fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Member>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let read = || -> io::Result<Result<Vec<Member>>> {
        let mut members = Vec::new();
        let mut archive = tar::Archive::new(unpacked(path, file)?);
        for entry in archive.entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = name_of(&entry.path()?);
            if !wanted(&name) {
                continue;
            }
            if entry.size() > LARGEST {
                let file = format!("{}: {name}", path.display());
                return Ok(Err(Error::wrong(
                    file,
                    format!("at most {LARGEST} bytes"),
                    format!("{} bytes", entry.size()),
                )));
            }
            let mut content = Vec::with_capacity(entry.size() as usize);
            entry.read_to_end(&mut content)?;
            members.push(Member { name, content });
        }
        // What follows the last file may be filled up, but must be readable.
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        Ok(Ok(members))
    };
    match read() {
        Ok(members) => members,
        Err(error) => {
            Err(Error::wrong(path.display(), "an archive", format!("one that is truncated or corrupt: {error}")))
        }
    }
}

fn unpacked(path: &Path, file: File) -> io::Result<Box<dyn Read>> {
    let file = BufReader::with_capacity(1 << 17, file);
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    Ok(if name.ends_with("gz") {
        Box::new(BufReader::with_capacity(1 << 17, MultiGzDecoder::new(file)))
    } else if name.ends_with("zst") {
        Box::new(BufReader::with_capacity(1 << 17, zstd::Decoder::with_buffer(file)?))
    } else {
        Box::new(file)
    })
}

fn name_of(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Archives for tests.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    /// A tar of files, also of folders and of a link, as real ones have them.
    pub(in crate::data) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut folder = tar::Header::new_gnu();
        folder.set_entry_type(tar::EntryType::Directory);
        folder.set_size(0);
        builder.append_data(&mut folder.clone(), "train/", io::empty()).unwrap();
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        folder.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut folder, "link", "elsewhere").unwrap();
        builder.into_inner().unwrap()
    }

    /// Packed as the name says.
    pub(in crate::data) fn pack(name: &str, tar: &[u8]) -> Vec<u8> {
        if name.ends_with("gz") {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        } else if name.ends_with("zst") {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        } else {
            tar.to_vec()
        }
    }

    #[test]
    fn archives_of_every_kind() {
        let folder = tempfile::tempdir().unwrap();
        // Noise, so that a cut or a flipped bit hits content.
        let mut noise = vec![0u8; 5000];
        let mut state = 1u32;
        for byte in &mut noise {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        let tar = tar(&[("./train/cat/1.jpg", &noise), ("train/b.txt", b"b"), ("other", b"")]);
        for ending in ENDINGS {
            let path = folder.path().join(format!("data{ending}"));
            let packed = pack(ending, &tar);
            fs::write(&path, &packed).unwrap();
            let members = read(&path, |name| name.starts_with("train/")).unwrap();
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            assert_eq!(names, ["train/cat/1.jpg", "train/b.txt"]);
            assert_eq!((members[0].content.as_slice(), members[1].content.as_slice()), (&noise[..], &b"b"[..]));

            let refused = |content: &[u8]| {
                fs::write(&path, content).unwrap();
                let message = read(&path, |_| true).unwrap_err().to_string();
                assert!(message.contains("expected an archive, found one that is truncated or corrupt: "), "{message}");
                assert!(message.contains(ending) && message.lines().count() == 1, "{message}");
            };
            refused(&packed[..packed.len() / 2]);
            if !ending.ends_with("tar") {
                refused(&packed[..packed.len() - 3]);
                let mut flipped = packed.clone();
                flipped[packed.len() / 2] ^= 4;
                refused(&flipped);
                refused(b"no archive at all");
            }
        }
        // Two compressed streams one after the other are one.
        let path = folder.path().join("data.tar.zst");
        let (first, second) = tar.split_at(1024);
        fs::write(&path, [pack(".zst", first), pack(".zst", second)].concat()).unwrap();
        assert_eq!(read(&path, |_| true).unwrap().len(), 3);
        fs::write(folder.path().join(".hidden.tar"), "").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        assert_eq!(archives(folder.path()).unwrap().len(), 5);
    }
}
