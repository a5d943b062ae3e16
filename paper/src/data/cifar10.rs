//! CIFAR-10, from the official binary files or from an image folder, plain or in an archive.
//!
//! # Where it is looked for
//! In `cifar10/` of the data folder, the first of:
//! 1. `cifar-10-batches-bin/` or the six `.bin` files themselves: the official files, unpacked;
//! 2. `cifar-10-binary.tar.gz`: the official archive, which must have the official checksum;
//! 3. `train/<class>/` and `test/<class>/` with JPEG or PNG images; `test/` may be absent;
//! 4. a single archive of one of these.
//!
//! # Order
//! Classes are in the order of their names, which is also the official one. The official files' images keep their order; those of an
//! image folder are sorted by class, then by file name (as bytes).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use advantage_nas::network::nas_bench_201::{Images, PIXELS};
use rayon::prelude::*;

use super::archive::{self, Member};
use super::cache::{Cache, Content};
use super::checksum::{self, Checksum};
use super::pictures;
pub use super::source::{Kind, Source};
use crate::error::{Error, Result};
use crate::run::files;

/// Name of the set, and of its folder.
pub const NAME: &str = "cifar10";
/// Name of the official archive.
pub const ARCHIVE: &str = "cifar-10-binary.tar.gz";
/// MD5 of the official archive, from <https://www.cs.toronto.edu/~kriz/cifar.html>.
pub const ARCHIVE_MD5: &str = "c32a1d4ab5d03f1284b67883e8d87530";
/// Length of the official archive in bytes.
pub const ARCHIVE_BYTES: u64 = 170_052_171;

const BATCHES: &str = "cifar-10-batches-bin";
const TRAINING_FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST_FILE: &str = "test_batch.bin";
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const ADVICE: &str =
    "`advnas data fetch cifar10` downloads it; an archive or a folder train/<class>/*.jpg or *.png does as well";

/// A label and the pixels of its image, `[3, 32, 32]`.
const RECORD: usize = 1 + PIXELS;

/// How many images there are.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Of every class in the training set.
    training: usize,
    /// Of every class in the test set.
    test: usize,
}

const SIZES: Sizes = Sizes { training: 5000, test: 1000 };

/// The images of CIFAR-10.
#[derive(Clone, Debug)]
pub struct Cifar10 {
    /// The 50 000 training images.
    pub training: Images,
    /// The 10 000 test images, where there are any.
    pub test: Option<Images>,
    /// Where they are from.
    pub source: Source,
}

impl Cifar10 {
    /// Loads the images from the data folder, from the cache if the same source was decoded before. Archives are recognised by their
    /// checksum, folders of images by the names, lengths and times of their files.
    ///
    /// # Errors
    /// [`Error::NoData`] if there is no such set, [`Error::WrongData`] for whatever is truncated, corrupt, too many or too few, and what
    /// reading reports.
    pub fn load(data: &Path, cache: &Cache) -> Result<Self> {
        Self::load_sized(data, cache, SIZES, true)
    }

    /// As [`Cifar10::load`], but image files are read and decoded whatever the cache has.
    ///
    /// # Errors
    /// As [`Cifar10::load`].
    pub fn verify(data: &Path, cache: &Cache) -> Result<Self> {
        Self::load_sized(data, cache, SIZES, false)
    }

    fn load_sized(data: &Path, cache: &Cache, sizes: Sizes, trust_times: bool) -> Result<Self> {
        let folder = data.join(NAME);
        let found = find(&folder)?;
        let key = match &found {
            // Reading these is as fast as reading the cache.
            Found::Batches(_) => None,
            Found::Archive { path, official } => {
                let (length, md5) = checksum::of_file(path)?;
                if *official && md5 != ARCHIVE_MD5 {
                    let expected = format!("{ARCHIVE_BYTES} bytes with md5 {ARCHIVE_MD5}");
                    return Err(Error::wrong(path.display(), expected, format!("{length} bytes with md5 {md5}")));
                }
                Some(md5)
            }
            Found::Pictures(folder) => Some(listing(folder)?),
        };
        let trusted = trust_times || !matches!(found, Found::Pictures(_));
        if let Some(content) = key.as_ref().filter(|_| trusted).and_then(|key| cache.load(key)) {
            let source = Source { path: found.path().to_owned(), ..content.source };
            return Ok(Self { training: content.training, test: content.test, source });
        }
        tracing::info!("decoding {}", found.path().display());
        let decoded = match &found {
            Found::Batches(folder) => official(folder, &batches(folder)?, sizes)?,
            Found::Archive { path, .. } => {
                let members = archive::read(path, |name| is_batch(name) || pictures::place(name).is_some())?;
                let source_md5 = key.clone().unwrap_or_default();
                let decoded = if members.iter().any(|member| is_batch(&member.name)) {
                    official(path, &members, sizes)?
                } else {
                    from_pictures(path, &members, sizes)?
                };
                Decoded { source_md5, ..decoded }
            }
            Found::Pictures(folder) => from_pictures(folder, &read_pictures(folder)?, sizes)?,
        };
        let source = Source {
            path: found.path().to_owned(),
            kind: decoded.kind,
            source_md5: decoded.source_md5,
            images_md5: images_md5(&decoded.training, decoded.test.as_ref()),
        };
        let content = Content { source, training: decoded.training, test: decoded.test };
        if let Some(key) = key {
            cache.store(&key, &content);
        }
        Ok(Self { training: content.training, test: content.test, source: content.source })
    }
}

/// Where the set was found.
#[derive(Debug)]
enum Found {
    Batches(PathBuf),
    Archive { path: PathBuf, official: bool },
    Pictures(PathBuf),
}

impl Found {
    fn path(&self) -> &Path {
        match self {
            Self::Batches(path) | Self::Archive { path, .. } | Self::Pictures(path) => path,
        }
    }
}

fn find(folder: &Path) -> Result<Found> {
    let missing =
        || Error::NoData { what: "CIFAR-10".to_owned(), folder: folder.to_owned(), advice: ADVICE.to_owned() };
    if !folder.is_dir() {
        return Err(missing());
    }
    for place in [folder.join(BATCHES), folder.to_owned()] {
        if TRAINING_FILES.iter().chain([&TEST_FILE]).any(|name| place.join(name).exists()) {
            return Ok(Found::Batches(place));
        }
    }
    let path = folder.join(ARCHIVE);
    if path.exists() {
        return Ok(Found::Archive { path, official: true });
    }
    if folder.join("train").is_dir() {
        return Ok(Found::Pictures(folder.to_owned()));
    }
    let path = archive::only(folder)?.ok_or_else(missing)?;
    Ok(Found::Archive { path, official: false })
}

fn is_batch(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file == TEST_FILE || TRAINING_FILES.contains(&file)
}

/// What was decoded.
#[derive(Debug)]
struct Decoded {
    kind: Kind,
    source_md5: String,
    training: Images,
    test: Option<Images>,
}

/// The six official files of a folder, those that are there.
fn batches(folder: &Path) -> Result<Vec<Member>> {
    let names = TRAINING_FILES.iter().chain([&TEST_FILE]);
    let there = names.filter(|name| folder.join(name).exists());
    there
        .map(|name| {
            let path = folder.join(name);
            let content = fs::read(&path).map_err(Error::io("read", &path))?;
            Ok(Member { name: (*name).to_owned(), content })
        })
        .collect()
}

/// The images of the six official files.
fn official(source: &Path, members: &[Member], sizes: Sizes) -> Result<Decoded> {
    let classes: Vec<String> = CLASSES.map(str::to_owned).to_vec();
    let mut checksum = Checksum::default();
    let mut read = |names: &[&str], of_class: usize| -> Result<Images> {
        let records = of_class * CLASSES.len() / names.len();
        let images = of_class * CLASSES.len();
        let (mut labels, mut pixels) = (Vec::with_capacity(images), Vec::with_capacity(images * PIXELS));
        for name in names {
            let file = format!("{}: {name}", source.display());
            let of_name = |member: &&Member| member.name.rsplit('/').next() == Some(*name);
            let Some(member) = members.iter().find(of_name) else {
                return Err(Error::wrong(source.display(), format!("a file {name}"), "none"));
            };
            if member.content.len() != records * RECORD {
                let (expected, found) = (records * RECORD, member.content.len());
                return Err(Error::wrong(file, format!("{expected} bytes"), format!("{found} bytes")));
            }
            checksum.add(&member.content);
            for (index, record) in member.content.chunks_exact(RECORD).enumerate() {
                if usize::from(record[0]) >= CLASSES.len() {
                    let found = format!("{} at image {index}", record[0]);
                    return Err(Error::wrong(file, "labels from 0 to 9", found));
                }
                labels.push(record[0]);
                pixels.extend_from_slice(&record[1..]);
            }
        }
        for (class, name) in CLASSES.iter().enumerate() {
            let found = labels.iter().filter(|label| usize::from(**label) == class).count();
            if found != of_class {
                let file = format!("{}: {}", source.display(), names.join(", "));
                return Err(Error::wrong(file, format!("{of_class} images of class {name}"), found));
            }
        }
        Ok(Images::new(pixels, labels, classes.clone())?)
    };
    let training = read(&TRAINING_FILES, sizes.training)?;
    let test = read(&[TEST_FILE], sizes.test)?;
    Ok(Decoded { kind: Kind::Official, source_md5: checksum.finish(), training, test: Some(test) })
}

/// The pictures of every class of a set, each with its file name.
type Classes<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a Member)>>;

/// The images of picture files, in any order.
fn from_pictures(source: &Path, members: &[Member], sizes: Sizes) -> Result<Decoded> {
    let mut sets: BTreeMap<&str, Classes> = BTreeMap::new();
    for member in members {
        if let Some((set, class, file)) = pictures::place(&member.name) {
            sets.entry(set).or_default().entry(class).or_default().push((file, member));
        }
    }
    let name = source.display().to_string();
    let Some(training) = sets.remove("train") else {
        let expected = format!("{BATCHES}/*.bin or train/<class>/*.jpg or *.png");
        return Err(Error::wrong(name, expected, "none of them"));
    };
    let classes: Vec<String> = training.keys().map(|class| (*class).to_owned()).collect();
    if classes.len() != CLASSES.len() {
        let found = format!("{} ({})", classes.len(), files::contents(&classes));
        return Err(Error::wrong(format!("{name}: train"), format!("{} classes", CLASSES.len()), found));
    }
    let mut checksum = Checksum::default();
    let mut read = |set: &str, members: Classes, of_class: usize| -> Result<Images> {
        if !members.keys().eq(&classes) {
            let found: Vec<&str> = members.keys().copied().collect();
            let expected = format!("the classes of train, {}", classes.join(", "));
            return Err(Error::wrong(format!("{name}: {set}"), expected, found.join(", ")));
        }
        let (mut labels, mut pictures) = (Vec::new(), Vec::new());
        for (label, (class, mut members)) in (0u8..).zip(members) {
            if members.len() != of_class {
                let found = members.len().to_string();
                return Err(Error::wrong(format!("{name}: {set}/{class}"), format!("{of_class} images"), found));
            }
            members.sort_unstable_by_key(|(file, _)| *file);
            if let Some(pair) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(Error::wrong(format!("{name}: {set}/{class}/{}", pair[0].0), "one such file", "several"));
            }
            labels.resize(labels.len() + members.len(), label);
            pictures.extend(members.into_iter().map(|(_, member)| member));
        }
        for picture in &pictures {
            checksum.add(picture.name.as_bytes());
            checksum.add(&[0]);
            checksum.add(&picture.content);
        }
        Ok(Images::new(pictures::decode(&name, &pictures)?, labels, classes.clone())?)
    };
    let training = read("train", training, sizes.training)?;
    let test = sets.remove("test").map(|test| read("test", test, sizes.test)).transpose()?;
    Ok(Decoded { kind: Kind::Pictures, source_md5: checksum.finish(), training, test })
}

/// The files of an image folder, as paths from it, sorted.
fn picture_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for set in ["train", "test"] {
        let set_folder = folder.join(set);
        if !set_folder.is_dir() {
            continue;
        }
        for class in files::names(&set_folder)? {
            let class_folder = set_folder.join(&class);
            if class.starts_with('.') || !class_folder.is_dir() {
                continue;
            }
            let of_class = files::names(&class_folder)?.into_iter().map(|file| format!("{set}/{class}/{file}"));
            names.extend(of_class.filter(|name| pictures::place(name).is_some()));
        }
    }
    Ok(names)
}

fn read_pictures(folder: &Path) -> Result<Vec<Member>> {
    let names = picture_names(folder)?;
    let read = |name: String| {
        let path = folder.join(&name);
        let content = fs::read(&path).map_err(Error::io("read", &path))?;
        Ok(Member { name, content })
    };
    let members: Vec<Result<Member>> = names.into_par_iter().map(read).collect();
    members.into_iter().collect()
}

/// What tells one state of an image folder from another without reading the images.
fn listing(folder: &Path) -> Result<String> {
    let mut checksum = Checksum::default();
    for name in picture_names(folder)? {
        let path = folder.join(&name);
        let metadata = fs::metadata(&path).map_err(Error::io("read", &path))?;
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed = changed.unwrap_or_default().as_nanos();
        checksum.add(format!("{name}\0{}\0{changed}\n", metadata.len()).as_bytes());
    }
    Ok(checksum.finish())
}

fn images_md5(training: &Images, test: Option<&Images>) -> String {
    let mut checksum = Checksum::default();
    for class in training.classes() {
        checksum.add(class.as_bytes());
        checksum.add(b"\n");
    }
    for images in [Some(training), test].into_iter().flatten() {
        checksum.add(images.labels());
        checksum.add(images.pixels());
    }
    checksum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::archive::tests::{pack, tar};
    use crate::data::pictures::tests::png;

    /// One image of a class in every official file, one in the test file.
    const TINY: Sizes = Sizes { training: 5, test: 1 };

    fn pixel(set: usize, class: usize, number: usize, at: usize) -> u8 {
        ((set * 97 + class * 31 + number * 7 + at * 13) % 256) as u8
    }

    /// The same images as official files and as picture files.
    fn official_files() -> Vec<(String, Vec<u8>)> {
        let record = |set: usize, class: usize, number: usize| {
            let mut record = vec![class as u8];
            record.extend((0..PIXELS).map(|at| pixel(set, class, number, at)));
            record
        };
        let mut files: Vec<(String, Vec<u8>)> = (0..5)
            .map(|number| {
                let content = (0..10).rev().flat_map(|class| record(0, class, number)).collect();
                (format!("{BATCHES}/{}", TRAINING_FILES[number]), content)
            })
            .collect();
        files.push((format!("{BATCHES}/{TEST_FILE}"), (0..10).flat_map(|class| record(1, class, 0)).collect()));
        files.push((format!("{BATCHES}/readme.html"), b"about".to_vec()));
        files
    }

    fn picture_files() -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for (set, folder, count) in [(0, "train", 5), (1, "test", 1)] {
            // Not in the order of the names: the reader sorts.
            for number in (0..count).rev() {
                for (class, name) in CLASSES.iter().enumerate() {
                    let mut interleaved = vec![0; PIXELS];
                    for at in 0..PIXELS {
                        interleaved[at % 1024 * 3 + at / 1024] = pixel(set, class, number, at);
                    }
                    let content = png(32, 32, &interleaved, ::png::ColorType::Rgb);
                    files.push((format!("{folder}/{name}/{number:04}.png"), content));
                }
            }
        }
        files
    }

    fn put(folder: &Path, files: &[(String, Vec<u8>)]) {
        for (name, content) in files {
            let path = folder.join(NAME).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        tar(&files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect::<Vec<_>>())
    }

    fn load(data: &Path) -> Result<Cifar10> {
        Cifar10::load_sized(data, &Cache::none(), TINY, true)
    }

    #[track_caller]
    fn refused(data: &Path, parts: &[&str]) {
        let message = load(data).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing in {message:?}");
        }
        assert_eq!(message.lines().count(), 1, "{message}");
    }

    #[test]
    fn official_files_and_archives_of_them() {
        let files = official_files();
        let check = |data: &Path| {
            let cifar = load(data).unwrap();
            assert_eq!(cifar.source.kind, Kind::Official);
            assert_eq!(cifar.training.classes(), CLASSES);
            // The files' order: class 9 to 0 in each.
            let labels: Vec<u8> = (0..50).map(|image| 9 - image % 10).collect();
            assert_eq!(cifar.training.labels(), labels);
            for (image, class, number) in [(0, 9, 0), (23, 6, 2), (49, 0, 4)] {
                let expected: Vec<u8> = (0..PIXELS).map(|at| pixel(0, class, number, at)).collect();
                assert_eq!(cifar.training.image(image), expected);
            }
            assert_eq!(cifar.test.as_ref().unwrap().labels(), (0..10).collect::<Vec<u8>>());
            (cifar.source.source_md5, cifar.source.images_md5)
        };
        let plain = tempfile::tempdir().unwrap();
        put(plain.path(), &files);
        let (_, images) = check(plain.path());
        // Without the folder around them.
        let bare = tempfile::tempdir().unwrap();
        let strip =
            |(name, content): &(String, Vec<u8>)| (name.rsplit('/').next().unwrap().to_owned(), content.clone());
        put(bare.path(), &files.iter().map(strip).collect::<Vec<_>>());
        assert_eq!(check(bare.path()).1, images);
        for name in ["any.tar", "any.tar.gz", "any.tar.zst"] {
            let data = tempfile::tempdir().unwrap();
            let packed = pack(name, &archive(&files));
            let md5 = checksum::of_bytes(&packed);
            put(data.path(), &[(name.to_owned(), packed)]);
            assert_eq!(check(data.path()), (md5, images.clone()));
        }
    }

    #[test]
    fn picture_folders_and_archives_of_them() {
        let files = picture_files();
        let check = |data: &Path| {
            let cifar = load(data).unwrap();
            assert_eq!(cifar.source.kind, Kind::Pictures);
            assert_eq!(cifar.training.classes(), CLASSES);
            let labels: Vec<u8> = (0..50).map(|image| image / 5).collect();
            assert_eq!(cifar.training.labels(), labels);
            for image in [0, 7, 49] {
                let expected: Vec<u8> = (0..PIXELS).map(|at| pixel(0, image / 5, image % 5, at)).collect();
                assert_eq!(cifar.training.image(image), expected);
            }
            assert_eq!(cifar.test.as_ref().map(Images::len), Some(10));
            cifar.source.images_md5
        };
        let plain = tempfile::tempdir().unwrap();
        put(plain.path(), &files);
        put(plain.path(), &[("train/cat/.DS_Store".to_owned(), vec![1]), ("train/notes.txt".to_owned(), vec![2])]);
        let images = check(plain.path());
        for (name, prefix) in [("a.tar", ""), ("b.tgz", "cifar10/"), ("c.tar.zst", "./")] {
            let data = tempfile::tempdir().unwrap();
            let moved: Vec<_> =
                files.iter().map(|(name, content)| (format!("{prefix}{name}"), content.clone())).collect();
            put(data.path(), &[(name.to_owned(), pack(name, &archive(&moved)))]);
            assert_eq!(check(data.path()), images);
        }
        // The search needs no test set.
        fs::remove_dir_all(plain.path().join(NAME).join("test")).unwrap();
        let cifar = load(plain.path()).unwrap();
        assert_eq!(cifar.test, None);
        assert_ne!(cifar.source.images_md5, images);
    }

    #[test]
    fn official_files_go_first() {
        let data = tempfile::tempdir().unwrap();
        put(data.path(), &picture_files());
        put(data.path(), &[("other.tar".to_owned(), archive(&picture_files()))]);
        assert_eq!(load(data.path()).unwrap().source.path, data.path().join(NAME));
        put(data.path(), &official_files());
        assert_eq!(load(data.path()).unwrap().source.path, data.path().join(NAME).join(BATCHES));
    }

    #[test]
    fn sources_are_decoded_once() {
        let data = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(folder.path().to_owned()));
        let load = || Cifar10::load_sized(data.path(), &cache, TINY, true).unwrap();
        let cached = || fs::read_dir(folder.path()).unwrap().count();
        put(data.path(), &picture_files());
        let first = load();
        assert_eq!(cached(), 1);
        // A file that can no longer be decoded, with the same length and time, is not looked at again.
        let picture = data.path().join(NAME).join("train/cat/0001.png");
        let time = fs::metadata(&picture).unwrap().modified().unwrap();
        let good = fs::read(&picture).unwrap();
        let write = |content: &[u8]| {
            fs::write(&picture, content).unwrap();
            fs::File::options().write(true).open(&picture).unwrap().set_modified(time).unwrap();
        };
        write(&vec![0; good.len()]);
        assert_eq!(load().training, first.training);
        assert!(Cifar10::load_sized(data.path(), &Cache::none(), TINY, true).is_err());
        assert!(Cifar10::load_sized(data.path(), &cache, TINY, false).is_err());
        // One with another length is.
        write(&good[1..]);
        assert!(Cifar10::load_sized(data.path(), &cache, TINY, true).is_err());
        write(&good);
        assert_eq!((load().source, cached()), (first.source.clone(), 1));
        // A damaged cache is made again.
        let entry = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let content = fs::read(&entry).unwrap();
        fs::write(&entry, &content[..100]).unwrap();
        assert_eq!(load().training, first.training);
        assert_eq!(fs::read(&entry).unwrap(), content);

        // An archive is known by its content: under another name it is the same.
        fs::remove_dir_all(data.path().join(NAME)).unwrap();
        put(data.path(), &[("a.tar".to_owned(), archive(&picture_files()))]);
        assert_eq!(load().source.images_md5, first.source.images_md5);
        assert_eq!(cached(), 2);
        fs::rename(data.path().join(NAME).join("a.tar"), data.path().join(NAME).join("b.tar")).unwrap();
        assert_eq!(load().source.path, data.path().join(NAME).join("b.tar"));
        assert_eq!(cached(), 2);
    }

    #[test]
    fn whatever_is_missing_or_wrong_is_named() {
        let data = tempfile::tempdir().unwrap();
        refused(data.path(), &["CIFAR-10 not found in ", "cifar10; `advnas data fetch cifar10`"]);
        fs::create_dir(data.path().join(NAME)).unwrap();
        refused(data.path(), &["CIFAR-10 not found in "]);

        let put_one = |name: &str, content: &[u8]| put(data.path(), &[(name.to_owned(), content.to_vec())]);
        let reset = || fs::remove_dir_all(data.path().join(NAME)).unwrap();
        put_one(ARCHIVE, b"short");
        refused(
            data.path(),
            &[
                "cifar-10-binary.tar.gz: expected 170052171 bytes with md5 c32a1d4ab5d03f1284b67883e8d87530, ",
                "found 5 bytes with md5 ",
            ],
        );
        reset();
        put_one("a.tar", &archive(&picture_files()));
        put_one("b.tar.gz", b"");
        refused(data.path(), &["cifar10: expected one archive, found a.tar, b.tar.gz"]);
        reset();
        put_one("a.tar", &archive(&[("cifar-10-batches-py/data_batch_1".to_owned(), vec![1])]));
        refused(data.path(), &["a.tar: expected cifar-10-batches-bin/*.bin or train/<class>", "found none of them"]);

        // The official files, one of them missing, truncated, with a wrong label, with wrong counts.
        let files = official_files();
        for (at, change, parts) in [
            (2, "remove", &["cifar-10-batches-bin: expected a file data_batch_3.bin, found none"][..]),
            (5, "remove", &["expected a file test_batch.bin, found none"]),
            (1, "cut", &["data_batch_2.bin: expected 30730 bytes, found 30729 bytes"]),
            (3, "label", &["data_batch_4.bin: expected labels from 0 to 9, found 77 at image 1"]),
            (5, "count", &["test_batch.bin: expected 1 images of class airplane, found 2"]),
        ] {
            reset();
            let mut files = files.clone();
            match change {
                "remove" => drop(files.remove(at)),
                "cut" => drop(files[at].1.pop()),
                "label" => files[at].1[RECORD] = 77,
                _ => files[at].1[RECORD] = 0,
            }
            put(data.path(), &files);
            refused(data.path(), parts);
            reset();
            put_one("a.tar.gz", &pack("a.tar.gz", &archive(&files)));
            refused(data.path(), &["a.tar.gz"]);
        }

        // Pictures: one missing, one too many, a class missing, corrupt.
        let files = picture_files();
        let without = |part: &str| files.iter().filter(|(name, _)| !name.contains(part)).cloned().collect::<Vec<_>>();
        let with = |name: &str, content: &[u8]| {
            let mut files = without(name);
            files.push((name.to_owned(), content.to_vec()));
            files
        };
        let name = "train/cat/0001.png";
        for (files, parts) in [
            (without(name), &["cifar10: train/cat: expected 5 images, found 4"][..]),
            (without("test/ship"), &["cifar10: test: expected the classes of train, airplane, ", "found airplane, "]),
            (without("/ship"), &["cifar10: train: expected 10 classes, found 9 (airplane and 8 more)"]),
            (with("train/cat/0009.png", &files[0].1), &["train/cat: expected 5 images, found 6"]),
            (with(name, b""), &["cifar10: train/cat/0001.png: expected a JPEG or PNG image", "found an empty file"]),
            (with(name, &files[0].1[..40]), &["train/cat/0001.png: ", "truncated or corrupt"]),
        ] {
            reset();
            put(data.path(), &files);
            refused(data.path(), parts);
        }
    }
}
