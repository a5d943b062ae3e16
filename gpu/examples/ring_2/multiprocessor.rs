//! What a multiprocessor has, and how many blocks of a kernel fit into it.
//!
//! From NVIDIA's CUDA C++ Programming Guide, "Compute Capabilities": registers, shared memory, threads and blocks per multiprocessor;
//! registers are given out to warps by 256, from one of four files, shared memory to blocks by 128 bytes, after 1 KiB that the system
//! takes for each.

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiprocessor {
    /// As the compiler calls it.
    pub architecture: &'static str,
    /// Bytes of shared memory.
    shared: u32,
    /// Cycles in which a sub-core issues one FFMA of a warp.
    pub ffma: u32,
    /// Cycles of one `m16n8k8` product of TF32 numbers; for sm_90 as if it had half the rate of `wgmma`, which nobody has measured here.
    pub hmma: u32,
}

/// A100 and H100. An A100 has 16 lanes for 32-bit arithmetic in a sub-core, an H100 has 32.
pub const ALL: [Multiprocessor; 2] = [
    Multiprocessor { architecture: "sm_80", shared: 164 << 10, ffma: 2, hmma: 8 },
    Multiprocessor { architecture: "sm_90", shared: 228 << 10, ffma: 1, hmma: 8 },
];

const WARP: u32 = 32;
const SUB_CORES: u32 = 4;
const REGISTERS_OF_A_SUB_CORE: u32 = 16_384;
const WARPS: u32 = 64;
const BLOCKS: u32 = 32;

impl Multiprocessor {
    /// Blocks that are resident together; `registers` of a thread, `shared` bytes of a block.
    pub fn blocks(&self, threads: u32, registers: u32, shared: u32) -> u32 {
        let warps = threads.div_ceil(WARP);
        let by_registers = REGISTERS_OF_A_SUB_CORE / (registers.max(1).next_multiple_of(8) * WARP) * SUB_CORES / warps;
        let by_shared = self.shared / (shared.next_multiple_of(128) + 1024);
        by_registers.min(by_shared).min(WARPS / warps).min(BLOCKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_by_what_is_scarce() {
        let [ampere, hopper] = ALL;
        assert_eq!(hopper.blocks(128, 16, 0), 16, "threads");
        assert_eq!(hopper.blocks(32, 16, 0), 32, "blocks");
        assert_eq!(hopper.blocks(256, 128, 0), 2, "registers");
        // 65 registers are 72: 7 warps of 16 384 / (72 · 32) fit into a sub-core, 28 in all, 3 blocks of 8.
        assert_eq!(hopper.blocks(256, 65, 0), 3, "registers");
        assert_eq!((hopper.blocks(128, 32, 100 << 10), ampere.blocks(128, 32, 100 << 10)), (2, 1), "shared memory");
        // 48 KiB four times is 192 KiB, and 4 KiB for the system.
        assert_eq!(hopper.blocks(128, 32, 48 << 10), 4, "shared memory");
    }
}
