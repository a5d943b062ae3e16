//! What kernels should take on an H100, from their shapes: predictions, made before anything was measured, to hold measurements against.
//!
//! Here belong the device's numbers, each with its source, and the formula; what a network's kernels have to do stands in a file per
//! network, named as the network. Nothing here needs a device.
//!
//! # Formula
//! `t = t₀ + j/w + max(FP32 / (rate · efficiency), TF32 / (rate · efficiency), integers / rate, FP64 / rate, L2 bytes / bandwidth, memory bytes / bandwidth)`,
//! where rates count only the multiprocessors that have a block, and `t₀` is that of a dependent launch or of a programmatic one. `j`
//! is the time of the [joins](Joins), with which every block begins: while the first of `w` waves of blocks joins, there is nothing else to do; the
//! joins of the others are among the FP64 and the bytes of the maximum.

pub mod nas_bench_201;
pub mod toy;

use serde::Serialize;

/// An assumed number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Assumption {
    /// What it is.
    pub what: &'static str,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Where it is from.
    pub source: &'static str,
}

/// The numbers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Its name.
    pub name: &'static str,
    /// Multiprocessors.
    pub multiprocessors: Assumption,
    /// Clock under load.
    pub clock: Assumption,
    /// FP32 instructions of a multiprocessor per cycle, a fused multiply-add being one.
    pub fp32: Assumption,
    /// Integer instructions of a multiprocessor per cycle: sums, logic, shifts.
    pub integers: Assumption,
    /// FP64 instructions of a multiprocessor per cycle.
    pub fp64: Assumption,
    /// Multiply-adds of TF32 numbers of a multiprocessor per cycle, by `mma.sync`.
    pub tf32: Assumption,
    /// Bandwidth of the second-level cache.
    pub l2: Assumption,
    /// Size of the second-level cache.
    pub l2_size: Assumption,
    /// Bandwidth of the memory.
    pub memory: Assumption,
    /// What a kernel of a graph takes that waits for the one before, beside its work.
    pub dependent_launch: Assumption,
    /// The same with programmatic dependent launch.
    pub programmatic_launch: Assumption,
    /// A copy to the device, the launch of a graph, a copy back, and the host's waiting for it.
    pub round_trip: Assumption,
}

const GUIDE: &str = "NVIDIA, CUDA C++ Programming Guide, table of arithmetic throughput, compute capability 9.0";

/// The H100 with SXM5. What is measured on one may replace a number here, with its file under `paper/results/` as the source.
pub const H100: Machine = Machine {
    name: "H100 SXM",
    multiprocessors: Assumption { what: "multiprocessors", value: 132.0, unit: "", source: "NVIDIA, H100 datasheet" },
    clock: Assumption {
        what: "clock under FP32 load",
        value: 1.70e9,
        unit: "Hz",
        source: "assumed: the datasheet's 67 TFLOP/s are at 1.98 GHz, which load of FP32 pulls down",
    },
    fp32: Assumption { what: "FP32 instructions", value: 128.0, unit: "per multiprocessor and cycle", source: GUIDE },
    integers: Assumption {
        what: "integer instructions",
        value: 64.0,
        unit: "per multiprocessor and cycle",
        source: GUIDE,
    },
    fp64: Assumption { what: "FP64 instructions", value: 64.0, unit: "per multiprocessor and cycle", source: GUIDE },
    tf32: Assumption {
        what: "TF32 multiply-adds by mma.sync",
        value: 512.0,
        unit: "per multiprocessor and cycle",
        source: "assumed: half of what wgmma has by the datasheet",
    },
    l2: Assumption { what: "L2 bandwidth", value: 4.5e12, unit: "B/s", source: "assumed, sustained" },
    l2_size: Assumption { what: "L2 size", value: 50e6, unit: "B", source: "NVIDIA, H100 datasheet" },
    memory: Assumption {
        what: "memory bandwidth",
        value: 2.8e12,
        unit: "B/s",
        source: "assumed, sustained: 84 % of the datasheet's 3.35 TB/s",
    },
    dependent_launch: Assumption {
        what: "dependent kernel of a graph",
        value: 3.0e-6,
        unit: "s",
        source: "assumed: dependency 1.5 µs, prologue 1 µs, tail 0.5 µs",
    },
    programmatic_launch: Assumption {
        what: "the same with programmatic launch",
        value: 2.0e-6,
        unit: "s",
        source: "assumed: prologue hidden",
    },
    round_trip: Assumption { what: "copy, graph launch and copy back", value: 15.0e-6, unit: "s", source: "assumed" },
};

impl Machine {
    /// All its numbers.
    #[must_use]
    pub fn assumptions(&self) -> [Assumption; 12] {
        let Self { multiprocessors, clock, fp32, integers, fp64, tf32, l2, l2_size, memory, .. } = *self;
        let [dependent, programmatic, trip] = [self.dependent_launch, self.programmatic_launch, self.round_trip];
        [multiprocessors, clock, fp32, integers, fp64, tf32, l2, l2_size, memory, dependent, programmatic, trip]
    }

    /// What a kernel should take.
    #[must_use]
    pub fn predict(&self, work: &Work) -> Prediction {
        // A multiprocessor without a block does nothing.
        let busy = self.multiprocessors.value.min(work.blocks as f64);
        let cycles = |amount: f64, rate: Assumption| amount / (rate.value * busy * self.clock.value);
        let Joins { fp64, l2_bytes } = work.joins;
        let first = cycles(fp64, self.fp64).max(l2_bytes / self.l2.value) / work.waves;
        let later = 1.0 - 1.0 / work.waves;
        let times = [
            (Bound::Fp32, cycles(work.fp32 / work.efficiency, self.fp32)),
            (Bound::Tf32, cycles(work.tf32 / work.efficiency, self.tf32)),
            (Bound::Integers, cycles(work.integers, self.integers)),
            (Bound::Fp64, cycles(work.fp64 + later * fp64, self.fp64)),
            (Bound::L2, (work.l2_bytes + later * l2_bytes) / self.l2.value),
            (Bound::Memory, work.memory_bytes / self.memory.value),
        ];
        let (bound, rest) = times.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("six of them");
        let launch = if work.programmatic { self.programmatic_launch } else { self.dependent_launch }.value;
        let bound = if rest.max(first) < launch {
            Bound::Launch
        } else if first > rest {
            Bound::Joins
        } else {
            bound
        };
        let seconds = first + rest;
        Prediction {
            microseconds: 1e6 * (launch + seconds),
            busy_microseconds: 1e6 * seconds,
            joins_microseconds: 1e6 * first,
            bound,
        }
    }
}

/// What every block of a launch computes anew before it can begin, from what the blocks of earlier launches left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Joins {
    /// FP64 instructions of all blocks.
    pub fp64: f64,
    /// Bytes from the second-level cache for all blocks.
    pub l2_bytes: f64,
}

/// What a kernel has to do in one launch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Work {
    /// The kernel, and for what: as in the list of times.
    pub what: String,
    /// Its blocks.
    pub blocks: usize,
    /// Whether it is launched programmatically: its beginning overlaps the end of the kernel before.
    pub programmatic: bool,
    /// FP32 instructions.
    pub fp32: f64,
    /// Multiply-adds of TF32 numbers by tensor cores.
    pub tf32: f64,
    /// The share of the rate of FP32 or TF32 that is reached.
    pub efficiency: f64,
    /// Integer instructions.
    pub integers: f64,
    /// FP64 instructions.
    pub fp64: f64,
    /// Bytes from and to the second-level cache.
    pub l2_bytes: f64,
    /// Bytes from and to memory.
    pub memory_bytes: f64,
    /// With what all its blocks begin.
    pub joins: Joins,
    /// Waves of blocks: how many times as many there are as multiprocessors have room for, at least 1.
    pub waves: f64,
}

impl Work {
    /// A kernel that has nothing to do: what it does have is added by `Work { fp32, ..Work::new(what, blocks) }`.
    #[must_use]
    pub fn new(what: String, blocks: usize) -> Self {
        Self {
            what,
            blocks,
            programmatic: false,
            fp32: 0.0,
            tf32: 0.0,
            efficiency: 1.0,
            integers: 0.0,
            fp64: 0.0,
            l2_bytes: 0.0,
            memory_bytes: 0.0,
            joins: Joins::default(),
            waves: 1.0,
        }
    }
}

/// What bounds a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Everything else is shorter than a dependent launch.
    Launch,
    /// FP32 arithmetic.
    Fp32,
    /// TF32 arithmetic by tensor cores.
    Tf32,
    /// Integer arithmetic.
    Integers,
    /// FP64 arithmetic.
    Fp64,
    /// The second-level cache.
    L2,
    /// Memory.
    Memory,
    /// The [`Joins`] of the first wave take longer than all the rest.
    Joins,
}

impl Bound {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Fp32 => "FP32",
            Self::Tf32 => "TF32",
            Self::Integers => "integers",
            Self::Fp64 => "FP64",
            Self::L2 => "L2",
            Self::Memory => "memory",
            Self::Joins => "joins",
        }
    }
}

/// A predicted time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// With the launch.
    pub microseconds: f64,
    /// Without.
    pub busy_microseconds: f64,
    /// Of those, what goes by before the first blocks can begin.
    pub joins_microseconds: f64,
    /// What bounds it.
    pub bound: Bound,
}

/// A step: kernels one after the other, in graphs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What is asked: as in the list of times.
    pub what: String,
    /// Trials that are answered together.
    pub trials: usize,
    /// Its kernels.
    pub kernels: Vec<Work>,
    /// What it takes beside them.
    pub around: Around,
}

/// What a step takes beside its kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Around {
    /// The host waits for its answer: a round trip.
    RoundTrip,
    /// Nobody waits, but so many copies to the device go before its kernels, each like a dependent kernel.
    Copies(usize),
}

impl Step {
    /// What it should take, in microseconds: all kernels, and what is around them.
    #[must_use]
    pub fn microseconds(&self, machine: &Machine) -> f64 {
        let kernels: f64 = self.kernels.iter().map(|work| machine.predict(work).microseconds).sum();
        kernels + self.around.microseconds(machine)
    }
}

impl Around {
    /// How long it should take.
    #[must_use]
    pub fn microseconds(self, machine: &Machine) -> f64 {
        match self {
            Self::RoundTrip => 1e6 * machine.round_trip.value,
            Self::Copies(count) => 1e6 * count as f64 * machine.dependent_launch.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_part_bounds() {
        let predict = |work: Work| H100.predict(&work);
        let nothing = || Work::new("nothing".to_owned(), 132);
        assert_eq!(predict(nothing()).bound, Bound::Launch);
        assert_eq!(predict(nothing()).microseconds, 3.0);
        assert_eq!(predict(Work { programmatic: true, ..nothing() }).microseconds, 2.0);
        // 132 · 128 · 1.7 GHz is 28.7 tera-instructions a second.
        let arithmetic = predict(Work { fp32: 28.7232e8, ..nothing() });
        assert_eq!(arithmetic.bound, Bound::Fp32);
        assert!((arithmetic.microseconds - 103.0).abs() < 1e-9);
        let half = predict(Work { fp32: 28.7232e8, efficiency: 0.5, memory_bytes: 2.8e7, ..nothing() });
        assert!((half.busy_microseconds - 200.0).abs() < 1e-9);
        let tensors = predict(Work { tf32: 4.0 * 28.7232e8, efficiency: 0.5, ..nothing() });
        assert_eq!(tensors.bound, Bound::Tf32);
        assert!((tensors.busy_microseconds - 200.0).abs() < 1e-9, "four times the rate of FP32");
        let few = predict(Work { fp32: 28.7232e8, blocks: 33, ..nothing() });
        assert!((few.busy_microseconds - 400.0).abs() < 1e-9, "a quarter of the multiprocessors");
        assert_eq!(predict(Work { memory_bytes: 2.8e7, l2_bytes: 4.4e7, ..nothing() }).bound, Bound::Memory);
        assert_eq!(predict(Work { memory_bytes: 2.8e7, l2_bytes: 4.6e7, ..nothing() }).bound, Bound::L2);
        assert_eq!(predict(Work { integers: 1e9, fp64: 0.9e9, ..nothing() }).bound, Bound::Integers);
        assert_eq!(predict(Work { integers: 0.9e9, fp64: 1e9, ..nothing() }).bound, Bound::Fp64);
    }

    #[test]
    fn the_first_wave_joins_before_anything_else() {
        // 132 · 64 · 1.7 GHz is 14.3616 tera-instructions a second.
        let joins = Joins { fp64: 14.3616e7, l2_bytes: 4.5e6 };
        let work = |waves: f64, fp32: f64| Work { joins, waves, fp32, ..Work::new("joins".to_owned(), 132) };
        let one = H100.predict(&work(1.0, 28.7232e7));
        assert_eq!(one.bound, Bound::Fp32);
        assert!((one.microseconds - 23.0).abs() < 1e-9, "{one:?}");
        assert_eq!(H100.predict(&work(1.0, 0.0)).bound, Bound::Joins);
        let many = H100.predict(&work(10.0, 28.7232e7));
        assert!((many.joins_microseconds - 1.0).abs() < 1e-9 && (many.microseconds - 14.0).abs() < 1e-9, "{many:?}");
        assert_eq!(many.bound, Bound::Fp32);
    }

    #[test]
    fn every_number_has_a_source() {
        for assumption in H100.assumptions() {
            assert!(assumption.value > 0.0 && !assumption.source.is_empty(), "{assumption:?}");
        }
    }
}
