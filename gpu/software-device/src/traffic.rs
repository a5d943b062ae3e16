//! What a profiler would count of memory, exactly: how long a warp's request keeps shared memory busy, how many sectors of global memory
//! it touches.
//!
//! A request is what the lanes of a warp load or store by one instruction of the source: all their `n`-th uses of it in a block. Where
//! lanes take different branches, a device may need more requests than are counted here, never fewer.
//!
//! # Shared memory
//! 32 banks of 4 bytes. Lanes are served together, of 8 bytes by halves of the warp, of 16 by quarters; equal words count once. A *wave* is a
//! cycle; a request takes as many as the busiest bank has words. Ideal is as many as would do if the words were spread over all banks.
//!
//! # Global memory
//! Sectors of 32 bytes that the lanes touch. Ideal is as many as would do if their bytes were neighbours.
//!
//! Source: NVIDIA's CUDA C++ Best Practices Guide, "Coalesced Access to Global Memory" and "Shared Memory and Memory Banks".

use crate::shadow::Access;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

const WARP: usize = 32;
const BANKS: usize = 32;
const SECTOR: usize = 32;

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Shared memory of a block.
    Shared,
    /// Device memory.
    Global,
}

/// Loads or stores of one line of a kernel, all launches and warps together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The kernel.
    pub kernel: String,
    /// File and line, such as `toy.cu:12`.
    pub line: String,
    /// Which memory.
    pub space: Space,
    /// Loads; otherwise stores.
    pub loads: bool,
    /// Bytes of a lane.
    pub bytes: usize,
    /// Instructions that the line became, in the software device's code.
    pub instructions: usize,
    /// Requests of warps.
    pub requests: u64,
    /// Waves of shared memory, sectors of global memory.
    pub cost: u64,
    /// As many as would do.
    pub ideal: u64,
}

impl Traffic {
    /// Reads what a child wrote into the file given to [`SoftwareDevice::traffic`](crate::SoftwareDevice::traffic). Lines of several launches
    /// are added up.
    ///
    /// # Errors
    /// The file can't be read, or has other lines.
    pub fn read(path: &Path) -> io::Result<Vec<Self>> {
        let text = std::fs::read_to_string(path)?;
        let mut sums: BTreeMap<_, [u64; 4]> = BTreeMap::new();
        for line in text.lines() {
            let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("{}: {line:?}", path.display()));
            let [kernel, place, space, access, numbers @ ..] = &line.split('\t').collect::<Vec<_>>()[..] else {
                return Err(bad());
            };
            let space = match *space {
                "shared" => Space::Shared,
                "global" => Space::Global,
                _ => return Err(bad()),
            };
            let numbers: Vec<u64> = numbers.iter().map_while(|number| number.parse().ok()).collect();
            let &[bytes, instructions, requests, cost, ideal] = &numbers[..] else { return Err(bad()) };
            let key = ((*kernel).to_owned(), (*place).to_owned(), space, *access == "load", bytes as usize);
            let sum = sums.entry(key).or_default();
            sum[0] = sum[0].max(instructions);
            sum.iter_mut().skip(1).zip([requests, cost, ideal]).for_each(|(sum, more)| *sum += more);
        }
        let whole = |(key, sum): ((String, String, Space, bool, usize), [u64; 4])| {
            let ((kernel, line, space, loads, bytes), [instructions, requests, cost, ideal]) = (key, sum);
            Self { kernel, line, space, loads, bytes, instructions: instructions as usize, requests, cost, ideal }
        };
        Ok(sums.into_iter().map(whole).collect())
    }

    /// Cost over the ideal one, at least 1.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.cost as f64 / self.ideal as f64
    }
}

/// What all uses of an instruction cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    requests: u64,
    cost: u64,
    ideal: u64,
}

/// An instruction: its offset in the module, what it does to which memory, bytes of a lane.
type Instruction = (u32, Space, bool, usize);

/// Counts the requests of a launch.
#[derive(Default)]
pub(crate) struct Counter {
    /// How often a thread of the block has come to an instruction.
    uses: HashMap<(u32, u32), u32>,
    /// Requests of the block, by warp and use: where its lanes go.
    requests: HashMap<(Instruction, u32, u32), Vec<(u8, usize)>>,
    sums: BTreeMap<Instruction, Sum>,
}

impl Counter {
    /// Notes an access of `size` bytes at `place`, an offset into its memory.
    pub fn note(&mut self, space: Space, place: usize, size: usize, (thread, caller): (usize, u32), kind: Access) {
        // Atomics are no plain requests, and a copy is noted when it arrives.
        if [Access::Atomic, Access::WriteLater].contains(&kind) {
            return;
        }
        let uses = self.uses.entry((thread as u32, caller)).or_insert(0);
        let request = ((caller, space, kind == Access::Read, size), (thread / WARP) as u32, *uses);
        *uses += 1;
        self.requests.entry(request).or_default().push(((thread % WARP) as u8, place));
    }

    /// The block is done: all its requests are whole.
    pub fn end_block(&mut self) {
        self.uses.clear();
        for ((instruction, ..), lanes) in self.requests.drain() {
            let (_, space, _, size) = instruction;
            let (cost, ideal) = match space {
                Space::Shared => waves(size, &lanes),
                Space::Global => sectors(size, &lanes),
            };
            let sum = self.sums.entry(instruction).or_default();
            sum.requests += 1;
            sum.cost += cost;
            sum.ideal += ideal;
        }
    }

    /// Takes what another counter has of the same launch.
    pub fn add(&mut self, other: &mut Self) {
        for (instruction, Sum { requests, cost, ideal }) in std::mem::take(&mut other.sums) {
            let sum = self.sums.entry(instruction).or_default();
            sum.requests += requests;
            sum.cost += cost;
            sum.ideal += ideal;
        }
    }

    /// The launch is done: one line of text for every line of the kernel. `places`: files and lines of instructions.
    pub fn end_launch(&mut self, kernel: &str, places: impl FnOnce(&[u32]) -> Vec<String>) -> String {
        let sums = std::mem::take(&mut self.sums);
        let callers: Vec<u32> = sums.keys().map(|(caller, ..)| *caller).collect();
        let mut lines: BTreeMap<_, (usize, Sum)> = BTreeMap::new();
        for (place, ((_, space, loads, size), sum)) in places(&callers).into_iter().zip(sums) {
            let (instructions, whole) = lines.entry((place, space, loads, size)).or_default();
            *instructions += 1;
            whole.requests += sum.requests;
            whole.cost += sum.cost;
            whole.ideal += sum.ideal;
        }
        let mut text = String::new();
        for ((place, space, loads, size), (instructions, Sum { requests, cost, ideal })) in lines {
            let space = if space == Space::Shared { "shared" } else { "global" };
            let access = if loads { "load" } else { "store" };
            writeln!(text, "{kernel}\t{place}\t{space}\t{access}\t{size}\t{instructions}\t{requests}\t{cost}\t{ideal}")
                .expect("writing to a string does not fail");
        }
        text
    }
}

/// Waves of one request to shared memory, and as many as would do.
fn waves(size: usize, lanes: &[(u8, usize)]) -> (u64, u64) {
    let together = match size {
        16 => WARP / 4,
        8 => WARP / 2,
        _ => WARP,
    };
    let (mut cost, mut ideal) = (0, 0);
    for group in 0..WARP / together {
        let served = lanes.iter().filter(|(lane, _)| usize::from(*lane) / together == group);
        let words: HashSet<usize> = served.flat_map(|(_, place)| place / 4..(place + size).div_ceil(4)).collect();
        let mut busy = [0; BANKS];
        words.iter().for_each(|word| busy[word % BANKS] += 1);
        cost += busy.into_iter().max().unwrap_or(0);
        ideal += words.len().div_ceil(BANKS) as u64;
    }
    (cost, ideal)
}

/// Sectors of one request to global memory, and as many as would do.
fn sectors(size: usize, lanes: &[(u8, usize)]) -> (u64, u64) {
    let touched = lanes.iter().flat_map(|(_, place)| place / SECTOR..(place + size).div_ceil(SECTOR));
    let places: HashSet<usize> = lanes.iter().map(|(_, place)| *place).collect();
    (touched.collect::<HashSet<_>>().len() as u64, (places.len() * size).div_ceil(SECTOR) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: impl Fn(usize) -> usize) -> Vec<(u8, usize)> {
        (0..WARP).map(|lane| (lane as u8, 4 * place(lane))).collect()
    }

    #[test]
    fn waves_of_known_patterns() {
        assert_eq!(waves(4, &at(|lane| lane)), (1, 1), "neighbours");
        assert_eq!(waves(4, &at(|_| 7)), (1, 1), "one word for all");
        assert_eq!(waves(4, &at(|lane| 2 * lane)), (2, 1), "every second word");
        assert_eq!(waves(4, &at(|lane| 32 * lane)), (32, 1), "a column of 32 words");
        assert_eq!(waves(4, &at(|lane| 33 * lane)), (1, 1), "a padded column");
        assert_eq!(waves(8, &at(|lane| 2 * lane)), (2, 2), "pairs of neighbours");
        assert_eq!(waves(16, &at(|lane| 4 * lane)), (4, 4), "fours of neighbours");
        assert_eq!(waves(16, &at(|lane| 32 * lane)), (32, 4), "fours in the same banks");
        assert_eq!(waves(4, &at(|lane| lane)[..5]), (1, 1), "few lanes");
    }

    #[test]
    fn sectors_of_known_patterns() {
        assert_eq!(sectors(4, &at(|lane| lane)), (4, 4), "neighbours");
        assert_eq!(sectors(4, &at(|_| 3)), (1, 1), "one word for all");
        assert_eq!(sectors(4, &at(|lane| 8 * lane)), (32, 4), "every eighth word");
        assert_eq!(sectors(4, &at(|lane| lane + 1)), (5, 4), "neighbours that begin within a sector");
        assert_eq!(sectors(16, &at(|lane| 4 * lane)), (16, 16), "fours of neighbours");
    }
}
