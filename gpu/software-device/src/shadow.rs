//! Who touched each byte of shared memory since the last barrier.

/// How a kernel touches memory; `soft::Access` of device.h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
    Atomic,
}

impl From<u32> for Access {
    fn from(kind: u32) -> Self {
        [Self::Read, Self::Write][..].get(kind as usize).copied().unwrap_or(Self::Atomic)
    }
}

impl Access {
    pub fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Atomic => "atomic update",
        }
    }
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Who {
    pub thread: u16,
    /// Offset of the instruction in its module.
    pub caller: u32,
}

/// A touch, and when: intervals end at barriers of the block, steps at `__syncwarp`.
#[derive(Clone, Copy, Default)]
struct Mark {
    interval: u32,
    step: u32,
    who: Who,
    atomic: bool,
}

#[derive(Clone, Copy, Default)]
struct Byte {
    write: Mark,
    /// The last read, and an earlier one by another thread, of another warp if there was one. Enough: where two warps
    /// have read, a writer is in no order with one of them; where one warp has, its last reads have the latest step.
    reads: [Mark; 2],
}

/// Static shared memory, then dynamic.
#[derive(Default)]
pub(crate) struct Shadow {
    bytes: Vec<Byte>,
    interval: u32,
    /// Per warp, counted on over the whole life of the process.
    steps: [u32; 32],
}

impl Shadow {
    pub fn resize(&mut self, fixed: usize, dynamic: usize) {
        if self.bytes.len() < fixed + dynamic {
            self.bytes.resize(fixed + dynamic, Byte::default());
        }
    }

    /// A barrier of the block, or a new block.
    pub fn next_interval(&mut self) {
        self.interval = self.interval.checked_add(1).unwrap_or_else(|| {
            self.bytes.fill(Byte::default());
            1
        });
    }

    pub fn next_step(&mut self, warp: usize) {
        self.steps[warp] = self.steps[warp].wrapping_add(1);
    }

    /// Notes the touch; returns the earlier one it conflicts with.
    #[inline]
    pub fn touch(&mut self, offset: usize, size: usize, kind: Access, who: Who) -> Option<(Who, Access)> {
        let (interval, warp) = (self.interval, who.thread / 32);
        let step = self.steps[warp as usize];
        let unordered = |mark: &Mark| {
            mark.interval == interval
                && mark.who.thread != who.thread
                && (mark.who.thread / 32 != warp || mark.step == step)
        };
        let mark = Mark { interval, step, who, atomic: kind == Access::Atomic };
        for byte in &mut self.bytes[offset..offset + size] {
            if unordered(&byte.write) && !(byte.write.atomic && mark.atomic) {
                let was = if byte.write.atomic { Access::Atomic } else { Access::Write };
                return Some((byte.write.who, was));
            }
            if kind == Access::Read {
                let [last, earlier] = byte.reads.map(|read| (read.who.thread, read.interval == interval));
                let keep = earlier.1 && earlier.0 / 32 != warp && last.0 / 32 == warp;
                if last.1 && last.0 != who.thread && !keep {
                    byte.reads[1] = byte.reads[0];
                }
                byte.reads[0] = mark;
            } else {
                if let Some(read) = byte.reads.iter().find(|read| unordered(read)) {
                    return Some((read.who, Access::Read));
                }
                byte.write = mark;
            }
        }
        None
    }
}
