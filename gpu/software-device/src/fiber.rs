//! One stack per waiting CUDA thread, and the switch between them.

use crate::memory::reserve;
use std::arch::naked_asm;

/// Bytes of stack per CUDA thread, the lowest page of which may not be touched.
const STACK: usize = 128 << 10;

/// Saves the registers a callee must keep on the present stack, its pointer in `*save`, and goes on with stack `load`.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn switch(save: *mut *mut u8, load: *mut u8) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Stacks for as many CUDA threads as a block may have, mapped once and touched on demand.
pub(crate) struct Stacks {
    base: *mut u8,
    pub free: Vec<usize>,
}

impl Stacks {
    pub fn new(count: usize) -> Option<Self> {
        let base = reserve(count * STACK);
        for i in 0..if base.is_null() { 0 } else { count } {
            // SAFETY: inside the mapping.
            unsafe { libc::mprotect(base.add(i * STACK).cast(), 4096, libc::PROT_NONE) };
        }
        (!base.is_null()).then(|| Self { base, free: (0..count).rev().collect() })
    }

    /// Addresses of stack `index`.
    pub fn range(&self, index: usize) -> (usize, usize) {
        (self.base as usize + index * STACK, STACK)
    }

    /// A stack pointer that `switch` can load and that starts `entry`, which may not return.
    pub fn start(&self, index: usize, entry: unsafe extern "C" fn() -> !) -> *mut u8 {
        // SAFETY: inside the mapping. Tops are staggered so that they do not share cache sets.
        unsafe {
            let top = self.base.add((index + 1) * STACK - 64 - index % 61 * 64);
            let frame: *mut usize = top.cast::<usize>().sub(8);
            frame.write_bytes(0, 8);
            *frame.add(6) = entry as *const () as usize; // six registers, then the address `ret` goes to
            frame.cast()
        }
    }
}
