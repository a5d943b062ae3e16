//! The benchmark table of NAS-Bench-201: mean test accuracies of all 15 625 cells after 200 epochs of training.
//!
//! In `nas-bench-201/` of the data folder lies one CSV file, or one archive with one, with the columns `index`, `architecture`,
//! `cifar10_test_accuracy`, `cifar100_test_accuracy`, `imagenet16_120_test_accuracy` (percent); others are ignored.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use advantage_nas::Architecture;
use advantage_nas::network::nas_bench_201::{Candidates, Cell, Operation};

use super::{archive, checksum};
use crate::error::{Error, Result};
use crate::run::files;

/// Name of the set, and of its folder.
pub const NAME: &str = "nas-bench-201";
/// Number of cells.
pub const CELLS: usize = 15_625;

const ADVICE: &str = "put a CSV file with the columns index, architecture, cifar10_test_accuracy, cifar100_test_accuracy, \
     imagenet16_120_test_accuracy there, exported from NATS-Bench (topology space, 200 epochs)";

/// A data set that the cells were trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// CIFAR-10.
    Cifar10,
    /// CIFAR-100.
    Cifar100,
    /// ImageNet16-120.
    ImageNet,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cifar10, Self::Cifar100, Self::ImageNet];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["CIFAR-10", "CIFAR-100", "ImageNet16-120"][self as usize]
    }

    /// Its name in files.
    #[must_use]
    pub fn key(self) -> &'static str {
        ["cifar10", "cifar100", "imagenet16-120"][self as usize]
    }

    fn column(self) -> &'static str {
        ["cifar10_test_accuracy", "cifar100_test_accuracy", "imagenet16_120_test_accuracy"][self as usize]
    }
}

/// A cell of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Its index in NAS-Bench-201.
    pub index: usize,
    /// The cell.
    pub cell: Cell,
    accuracies: [f64; 3],
}

impl Entry {
    /// Mean test accuracy in percent.
    #[must_use]
    pub fn accuracy(&self, task: Task) -> f64 {
        self.accuracies[task as usize]
    }
}

/// The place of a cell among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rank {
    /// One more than the number of cells with a larger accuracy.
    pub rank: usize,
    /// Number of other cells with the same accuracy.
    pub ties: usize,
    /// Number of cells.
    pub of: usize,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Benchmark {
    entries: Vec<Entry>,
    by_cell: HashMap<Cell, usize>,
    source: PathBuf,
    md5: String,
}

impl Benchmark {
    /// Reads the table from the data folder.
    ///
    /// # Errors
    /// [`Error::NoData`] if there is none, [`Error::WrongData`] for a table that is incomplete or has something else in it, and what
    /// reading reports.
    pub fn load(data: &Path) -> Result<Self> {
        let folder = data.join(NAME);
        let missing =
            || Error::NoData { what: "NAS-Bench-201".to_owned(), folder: folder.clone(), advice: ADVICE.to_owned() };
        if !folder.is_dir() {
            return Err(missing());
        }
        let is_csv = |name: &str| {
            let file = name.rsplit('/').next().unwrap_or(name);
            !file.starts_with('.') && file.to_lowercase().ends_with(".csv")
        };
        let tables: Vec<String> = files::names(&folder)?.into_iter().filter(|name| is_csv(name)).collect();
        let (source, content) = match &tables[..] {
            [] => {
                let path = archive::only(&folder)?.ok_or_else(missing)?;
                let mut members = archive::read(&path, is_csv)?;
                match (members.pop(), members.len()) {
                    (Some(table), 0) => (path.join(table.name), table.content),
                    (_, more) => {
                        let found = if more == 0 { 0 } else { more + 1 };
                        return Err(Error::wrong(path.display(), "one CSV file", found));
                    }
                }
            }
            [name] => {
                let path = folder.join(name);
                let content = fs::read(&path).map_err(Error::io("read", &path))?;
                (path, content)
            }
            several => return Err(Error::wrong(folder.display(), "one CSV file", several.join(", "))),
        };
        let entries = parse(&source, &content)?;
        let by_cell = entries.iter().map(|entry| (entry.cell, entry.index)).collect();
        Ok(Self { entries, by_cell, source, md5: checksum::of_bytes(&content) })
    }

    /// All cells, in the order of their indices.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The file.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// MD5 of the file.
    #[must_use]
    pub fn md5(&self) -> &str {
        &self.md5
    }

    /// The cell of an index.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is none.
    pub fn index(&self, index: usize) -> Result<&Entry> {
        self.entries
            .get(index)
            .ok_or_else(|| Error::Usage(format!("NAS-Bench-201 has the indices 0 to {}, got {index}", CELLS - 1)))
    }

    /// A cell.
    ///
    /// # Errors
    /// [`Error::Usage`] for a cell with an operation that NAS-Bench-201 does not have.
    pub fn cell(&self, cell: &Cell) -> Result<&Entry> {
        let index = self.by_cell.get(cell).ok_or_else(|| Error::Usage(format!("NAS-Bench-201 has no cell {cell}")))?;
        Ok(&self.entries[*index])
    }

    /// The cell of an architecture of a search space.
    ///
    /// # Errors
    /// [`Error::Search`] if the architecture is not of that space, [`Error::Usage`] as [`Benchmark::cell`].
    pub fn architecture(&self, candidates: &Candidates, architecture: &Architecture) -> Result<&Entry> {
        self.cell(&candidates.cell(architecture)?)
    }

    /// The place of an entry among all cells.
    #[must_use]
    pub fn rank(&self, entry: &Entry, task: Task) -> Rank {
        rank(self.entries.iter(), entry, task)
    }

    /// The place of an entry among the 4 096 cells without the zero operation, if it is one of them.
    #[must_use]
    pub fn rank_without_zero(&self, entry: &Entry, task: Task) -> Option<Rank> {
        let without = |entry: &&Entry| !has_zero(&entry.cell);
        without(&entry).then(|| rank(self.entries.iter().filter(without), entry, task))
    }
}

fn has_zero(cell: &Cell) -> bool {
    cell.operations().contains(&Operation::Zero)
}

fn rank<'a>(entries: impl Iterator<Item = &'a Entry>, entry: &Entry, task: Task) -> Rank {
    let accuracy = entry.accuracy(task);
    let (mut larger, mut equal, mut of) = (0, 0, 0);
    for other in entries {
        of += 1;
        larger += usize::from(other.accuracy(task) > accuracy);
        equal += usize::from(other.accuracy(task) == accuracy);
    }
    Rank { rank: larger + 1, ties: equal - 1, of }
}

fn parse(source: &Path, content: &[u8]) -> Result<Vec<Entry>> {
    let file = source.display();
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(content);
    let unreadable = |error: csv::Error| Error::wrong(source.display(), "a CSV table", error);
    let header = reader.headers().map_err(unreadable)?.clone();
    let column = |name: &str| {
        header.iter().position(|column| column == name).ok_or_else(|| {
            let found: String = header.iter().collect::<Vec<_>>().join(", ").chars().take(120).collect();
            Error::wrong(&file, format!("a column {name}"), format!("the columns {found}"))
        })
    };
    let (index_column, cell_column) = (column("index")?, column("architecture")?);
    let [first, second, third] = Task::ALL.map(Task::column);
    let accuracy_columns = [column(first)?, column(second)?, column(third)?];
    let mut entries: Vec<Option<Entry>> = vec![None; CELLS];
    let mut cells = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, csv::Position::line);
        let place = format!("{file}, line {line}");
        let value = |column: usize| record.get(column).unwrap_or_default();
        let text = value(index_column);
        let index = text.parse::<usize>().ok().filter(|index| *index < CELLS);
        let index =
            index.ok_or_else(|| Error::wrong(&place, format!("an index below {CELLS}"), format!("{text:?}")))?;
        let cell: Cell = value(cell_column).parse().map_err(|error| Error::wrong(&place, "a cell", error))?;
        if cell.operations().iter().any(|operation| !Operation::ALL.contains(operation)) {
            return Err(Error::wrong(&place, "a cell of NAS-Bench-201", cell));
        }
        let mut accuracies = [0.0; 3];
        for (accuracy, column) in accuracies.iter_mut().zip(accuracy_columns) {
            let text = value(column);
            let number = text.parse().ok().filter(|number| (0.0..=100.0).contains(number));
            *accuracy = number.ok_or_else(|| Error::wrong(&place, "an accuracy from 0 to 100", format!("{text:?}")))?;
        }
        if let Some(other) = cells.insert(cell, line) {
            return Err(Error::wrong(&place, "every cell once", format!("{cell} in line {other} as well")));
        }
        if entries[index].replace(Entry { index, cell, accuracies }).is_some() {
            return Err(Error::wrong(&place, "every index once", format!("index {index} again")));
        }
    }
    let found = entries.iter().flatten().count();
    let entries: Option<Vec<Entry>> = entries.into_iter().collect();
    let entries = entries.ok_or_else(|| Error::wrong(&file, format!("{CELLS} cells"), found))?;
    for task in Task::ALL {
        // The best cell of a search space is right more often than once in a hundred: these are fractions of one.
        let largest = entries.iter().map(|entry| entry.accuracy(task)).fold(0.0, f64::max);
        if largest <= 1.0 {
            return Err(Error::wrong(&file, format!("{} in percent", task.column()), format!("at most {largest}")));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::archive::tests::{pack, tar};

    const HEADER: &str =
        "index,architecture,cifar10_test_accuracy,cifar100_test_accuracy,imagenet16_120_test_accuracy\n";

    /// All cells, their indices from the last to the first, accuracies from their operations: with many ties.
    fn lines() -> Vec<String> {
        let candidates = Candidates::with_zero();
        let cells = candidates.space().shape().enumerate().collect::<Vec<_>>();
        let line = |(number, architecture): (usize, &Architecture)| {
            let cell = candidates.cell(architecture).unwrap();
            let sum: usize = architecture.choices().iter().sum();
            format!("{},{cell},{}.5,{},{}\n", CELLS - 1 - number, sum, 2 * sum, 50 - sum)
        };
        cells.iter().enumerate().map(line).collect()
    }

    fn put(data: &Path, name: &str, content: &[u8]) {
        let folder = data.join(NAME);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), content).unwrap();
    }

    #[test]
    fn lookups_agree() {
        let data = tempfile::tempdir().unwrap();
        put(data.path(), "table.csv", (HEADER.to_owned() + &lines().concat()).as_bytes());
        let table = Benchmark::load(data.path()).unwrap();
        assert_eq!(table.entries().len(), CELLS);
        let candidates = Candidates::with_zero();
        for (number, architecture) in candidates.space().shape().enumerate().enumerate().step_by(97) {
            let entry = table.architecture(&candidates, &architecture).unwrap();
            assert_eq!(entry.index, CELLS - 1 - number);
            assert_eq!(table.index(entry.index).unwrap(), entry);
            assert_eq!(table.cell(&entry.cell.to_string().parse().unwrap()).unwrap(), entry);
            let sum: usize = architecture.choices().iter().sum();
            assert_eq!(entry.accuracy(Task::Cifar10), sum as f64 + 0.5);
            assert_eq!(entry.accuracy(Task::ImageNet), 50.0 - sum as f64);
        }
        assert!(table.index(CELLS).unwrap_err().is_usage());
        let five = "|nor_conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|".parse().unwrap();
        assert!(table.cell(&five).unwrap_err().is_usage());
    }

    #[test]
    fn ranks_count_ties() {
        let data = tempfile::tempdir().unwrap();
        put(data.path(), "table.csv", (HEADER.to_owned() + &lines().concat()).as_bytes());
        let table = Benchmark::load(data.path()).unwrap();
        // Zero is candidate 4 and counts most: the best on CIFAR-10 has it on all edges, six cells share the second place.
        let entry = |text: &str| table.cell(&text.parse().unwrap()).unwrap();
        let best = entry("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|");
        assert_eq!(table.rank(best, Task::Cifar10), Rank { rank: 1, ties: 0, of: 15_625 });
        assert_eq!(table.rank(best, Task::ImageNet), Rank { rank: 15_625, ties: 0, of: 15_625 });
        assert_eq!(table.rank_without_zero(best, Task::Cifar10), None);
        let second = entry("|none~0|+|none~0|avg_pool_3x3~1|+|none~0|none~1|none~2|");
        assert_eq!(table.rank(second, Task::Cifar100), Rank { rank: 2, ties: 5, of: 15_625 });
        // Without zero, average pooling counts most.
        let pooling = "|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|";
        let expected = Some(Rank { rank: 1, ties: 0, of: 4_096 });
        assert_eq!(table.rank_without_zero(entry(pooling), Task::Cifar10), expected);
    }

    #[test]
    fn archives_and_wrong_tables() {
        let data = tempfile::tempdir().unwrap();
        let refused = |parts: &[&str]| {
            let message = Benchmark::load(data.path()).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "{part:?} is missing in {message:?}");
            }
            assert_eq!(message.lines().count(), 1);
        };
        refused(&["NAS-Bench-201 not found in ", "nas-bench-201; put a CSV file"]);
        let table = HEADER.to_owned() + &lines().concat();
        put(data.path(), "a.tar.zst", &pack("a.tar.zst", &tar(&[("x/t.csv", table.as_bytes())])));
        let loaded = Benchmark::load(data.path()).unwrap();
        assert!(loaded.source().ends_with("nas-bench-201/a.tar.zst/x/t.csv"));
        assert_eq!(loaded.md5(), checksum::of_bytes(table.as_bytes()));
        put(data.path(), "a.tar.zst", &pack("a.tar.zst", &tar(&[("t.txt", b"")])));
        refused(&["a.tar.zst: expected one CSV file, found 0"]);

        let put = |table: &str| put(data.path(), "t.csv", table.as_bytes());
        let with_line = |line: &str| HEADER.to_owned() + &lines()[..10].concat() + line;
        let cell = lines()[10].split(',').nth(1).unwrap().to_owned();
        let other = lines()[3].split(',').nth(1).unwrap().to_owned();
        put("");
        refused(&["t.csv: expected a column index, found the columns "]);
        put(&table.replace("cifar100_test", "other"));
        refused(&["expected a column cifar100_test_accuracy, found the columns index, architecture, cifar10"]);
        put(&table[..table.len() / 2]);
        refused(&["t.csv"]);
        put(&(HEADER.to_owned() + &lines()[1..].concat()));
        refused(&["t.csv: expected 15625 cells, found 15624"]);
        let fractions = |line: &String| {
            let parts: Vec<&str> = line.split(',').collect();
            format!("{},{},0.5,{},{}", parts[0], parts[1], parts[3], parts[4])
        };
        put(&(HEADER.to_owned() + &lines().iter().map(fractions).collect::<String>()));
        refused(&["t.csv: expected cifar10_test_accuracy in percent, found at most 0.5"]);
        for (line, parts) in [
            (format!("15625,{cell},1,1,1\n"), &["t.csv, line 12: expected an index below 15625, found \"15625\""][..]),
            (format!("-1,{cell},1,1,1\n"), &["an index below 15625"]),
            ("5,|none~0|+|,1,1,1\n".to_owned(), &["line 12: expected a cell, found architecture, character 11: "]),
            (format!("5,{},1,1,1\n", cell.replacen("skip_connect", "nor_conv_5x5", 1)), &["a cell of NAS-Bench-201"]),
            (format!("5,{cell},101,1,1\n"), &["an accuracy from 0 to 100, found \"101\""]),
            (format!("5,{cell},1,nan,1\n"), &["an accuracy from 0 to 100, found \"nan\""]),
            (format!("5,{other},1,1,1\n"), &["line 12: expected every cell once", "in line 5 as well"]),
            (format!("15624,{cell},1,1,1\n"), &["line 12: expected every index once, found index 15624 again"]),
            (format!("5,{cell},1,1\n"), &["t.csv: expected a CSV table, found "]),
        ] {
            put(&with_line(&line));
            refused(parts);
        }
        fs::write(data.path().join(NAME).join("u.csv"), "").unwrap();
        refused(&["nas-bench-201: expected one CSV file, found t.csv, u.csv"]);
    }
}
