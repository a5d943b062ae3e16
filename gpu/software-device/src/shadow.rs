//! Who touched each word of memory, and when: finds two threads that touch the same bytes in no order.
//!
//! Shared memory keeps the last write and two reads of each word, global memory the last write. A word that holds
//! several small values of several threads keeps the last of them: nothing false is reported, a race may be missed.

/// How a kernel touches memory; `soft::Access` of device.h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
    Atomic,
    /// A write that may happen from now on, and is noted again when it does.
    WriteLater,
}

impl From<u32> for Access {
    fn from(kind: u32) -> Self {
        [Self::Read, Self::Write, Self::Atomic][..].get(kind as usize).copied().unwrap_or(Self::WriteLater)
    }
}

impl Access {
    pub fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write | Self::WriteLater => "write",
            Self::Atomic => "atomic update",
        }
    }
}

use crate::memory::{RANGE, reserve};
use std::ptr::null_mut;

/// A touch of a 4-byte word: interval (38 bits), step (11), thread (10), bytes (4), atomic (1), and the instruction.
///
/// Intervals begin at barriers and blocks and are counted over the whole life of the process; steps begin at
/// `__syncwarp` and are counted per warp.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mark {
    key: u64,
    /// Offset of the instruction in its module.
    pub caller: u32,
}

impl Mark {
    fn interval(self) -> u64 {
        self.key >> 26
    }

    fn step(self) -> u64 {
        self.key >> 15 & 0x7ff
    }

    pub fn thread(self) -> usize {
        (self.key >> 5 & 0x3ff) as usize
    }

    fn warp(self) -> usize {
        self.thread() / 32
    }

    pub fn atomic(self) -> bool {
        self.key & 1 == 1
    }

    /// Whether both touch a byte, not by atomics alone, in one interval, and no `__syncwarp` of a common warp between.
    #[inline]
    fn conflicts(self, new: Self) -> bool {
        self.interval() == new.interval()
            && self.thread() != new.thread()
            && (self.warp() != new.warp() || self.step() == new.step())
            && self.overlaps(new)
    }

    fn overlaps(self, new: Self) -> bool {
        self.key & new.key & 0x1e != 0 && self.key & new.key & 1 == 0
    }
}

#[derive(Clone, Copy, Default)]
struct Word {
    write: Mark,
    /// The last read, and an earlier one by another thread, of another warp if there was one. Enough: where two warps
    /// have read, a writer is in no order with one of them; where one warp has, its last reads have the latest step.
    reads: [Mark; 2],
}

/// An earlier touch that a new one conflicts with.
pub(crate) struct Conflict {
    pub mark: Mark,
    pub kind: Access,
    /// The block, where it is another one.
    pub block: Option<[u32; 3]>,
}

pub(crate) struct Shadow {
    /// Static shared memory, then dynamic.
    shared: Vec<Word>,
    /// The last write to each word of the range of device addresses.
    global: *mut Mark,
    interval: u64,
    steps: [u64; 32],
    /// First interval of each block of the launch so far.
    blocks: Vec<(u64, [u32; 3])>,
}

impl Shadow {
    /// `used`: whether it is asked about races; else it has no room for the range of device addresses.
    pub fn new(used: bool) -> Option<Self> {
        let global: *mut Mark = if used { reserve(RANGE / 4 * size_of::<Mark>()).cast() } else { null_mut() };
        let (shared, blocks) = (Vec::new(), Vec::new());
        (!used || !global.is_null()).then_some(Self { shared, global, interval: 1, steps: [0; 32], blocks })
    }

    /// A launch whose blocks have `shared` bytes of shared memory.
    pub fn next_launch(&mut self, shared: usize) {
        self.shared.resize(self.shared.len().max(shared.div_ceil(4) + 4), Word::default());
        self.blocks.clear();
    }

    pub fn next_block(&mut self, block: [u32; 3]) {
        self.interval += 1;
        self.blocks.push((self.interval, block));
    }

    /// A barrier of the block.
    pub fn next_interval(&mut self) {
        self.interval += 1;
    }

    pub fn next_step(&mut self, warp: usize) {
        self.steps[warp] = (self.steps[warp] + 1) & 0x7ff;
    }

    /// The mark of a touch, without its bytes, and for each word touched its index and its bytes.
    #[inline]
    fn words(
        &self,
        (offset, size): (usize, usize),
        (thread, caller): (usize, u32),
        kind: Access,
    ) -> impl Iterator<Item = (usize, Mark)> + use<> {
        let atomic = u64::from(kind == Access::Atomic);
        let key = self.interval << 26 | self.steps[thread / 32] << 15 | (thread as u64) << 5 | atomic;
        (offset / 4..(offset + size).div_ceil(4)).map(move |word| {
            let (first, last) = (offset.saturating_sub(word * 4), (offset + size - word * 4).min(4));
            (word, Mark { key: key | (0xf >> (4 - last) & 0xf << first) << 1, caller })
        })
    }

    /// Notes a touch of shared memory, `(offset, size)` by `(thread, instruction)`.
    #[inline]
    pub fn shared(&mut self, place: (usize, usize), who: (usize, u32), kind: Access) -> Result<(), Conflict> {
        let conflict = |mark, kind| Err(Conflict { mark, kind, block: None });
        for (i, new) in self.words(place, who, kind) {
            let word = &mut self.shared[i];
            if word.write.conflicts(new) {
                return conflict(word.write, if word.write.atomic() { Access::Atomic } else { Access::Write });
            }
            if kind != Access::Read {
                if let Some(read) = word.reads.into_iter().find(|read| read.conflicts(new)) {
                    return conflict(read, Access::Read);
                }
                word.write = new;
                continue;
            }
            let [last, earlier] = word.reads;
            if last.interval() == new.interval() && last.thread() != new.thread() {
                let keep =
                    earlier.interval() == new.interval() && earlier.warp() != new.warp() && last.warp() == new.warp();
                word.reads[1] = if keep { earlier } else { last };
            }
            word.reads[0] = new;
        }
        Ok(())
    }

    /// Notes a touch of global memory, `offset` bytes into the range.
    #[inline]
    pub fn global(&mut self, place: (usize, usize), who: (usize, u32), kind: Access) -> Result<(), Conflict> {
        let (launch, block) = (self.blocks[0].0, self.blocks[self.blocks.len() - 1].0);
        for (i, new) in self.words(place, who, kind) {
            // SAFETY: whoever asks about races has the table, with a word for each of the range.
            let mark = unsafe { &mut *self.global.add(i) };
            let interval = mark.interval();
            if interval >= launch && (mark.conflicts(new) || interval < block && mark.overlaps(new)) {
                let other = self.blocks.partition_point(|(first, _)| *first <= interval) - 1;
                let block = (interval < block).then(|| self.blocks[other].1);
                let kind = if mark.atomic() { Access::Atomic } else { Access::Write };
                return Err(Conflict { mark: *mark, kind, block });
            }
            if kind != Access::Read {
                *mark = new;
            }
        }
        Ok(())
    }
}
