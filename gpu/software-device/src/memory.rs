//! Device memory: one reserved range of addresses that are never used twice, so that a stale pointer stays stale.

use std::ptr::{null_mut, write_bytes};

/// Allocations start at multiples of this many bytes, as CUDA's do.
const GRAIN: usize = 256;
/// Bytes after each allocation that belong to nobody.
const GUARD: usize = 256;
const GUARD_BYTE: u8 = 0xa5;
/// Addresses reserved, bytes. Pages are only there once touched.
pub(crate) const RANGE: usize = 1 << 40;
/// Fresh memory: NaN as a float of any width, -1 as an integer.
pub(crate) const POISON: u8 = 0xff;

#[derive(Clone, Copy)]
struct Allocation {
    start: usize,
    size: usize,
    live: bool,
}

pub(crate) struct Memory {
    base: usize,
    next: usize,
    /// For each grain of the range, 1 + the allocation that holds it or guards it.
    owner: *mut u32,
    list: Vec<Allocation>,
    live: Vec<u32>,
    used: usize,
}

/// SAFETY: what is shared is only read, also through the pointer.
unsafe impl Sync for Memory {}

/// Zeroed memory that costs nothing until it is touched; null if the system refuses.
pub(crate) fn reserve(bytes: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    match unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) } {
        libc::MAP_FAILED => null_mut(),
        pointer => pointer.cast(),
    }
}

impl Memory {
    pub fn new() -> Option<Self> {
        let (base, owner): (_, *mut u32) = (reserve(RANGE) as usize, reserve(RANGE / GRAIN * 4).cast());
        (base != 0 && !owner.is_null()).then(|| Self {
            base,
            next: base + GRAIN,
            owner,
            list: Vec::new(),
            live: Vec::new(),
            used: 0,
        })
    }

    pub fn used(&self) -> usize {
        self.used
    }

    /// Poisoned memory with a guard behind it; `None` when the range of addresses is used up.
    pub fn allocate(&mut self, size: usize) -> Option<usize> {
        let (start, span) = (self.next, size.next_multiple_of(GRAIN) + GUARD);
        if start + span > self.base + RANGE {
            return None;
        }
        let id = self.list.len() as u32;
        self.list.push(Allocation { start, size, live: true });
        self.live.push(id);
        self.next += span;
        self.used += size;
        // SAFETY: inside the reserved range and its table.
        unsafe {
            write_bytes(start as *mut u8, POISON, size);
            write_bytes((start + size) as *mut u8, GUARD_BYTE, span - size);
            for grain in (start - self.base) / GRAIN..(start + span - self.base) / GRAIN {
                *self.owner.add(grain) = id + 1;
            }
        }
        Some(start)
    }

    /// Frees what `allocate` returned; the addresses stay dead for ever. `Err` says why not.
    pub fn free(&mut self, address: usize) -> Result<(), String> {
        let Some(id) = self.id(address).filter(|id| self.list[*id as usize].start == address) else {
            return Err(format!("free of {address:#x}, which no allocation returned"));
        };
        let found = &mut self.list[id as usize];
        if !found.live {
            return Err(format!("allocation #{id} of {} bytes at {address:#x} freed twice", found.size));
        }
        found.live = false;
        let size = found.size;
        self.used -= size;
        self.live.retain(|other| *other != id);
        // SAFETY: inside the reserved range; whole pages go back to the system, the rest is poisoned.
        unsafe {
            let (first, last) = (address.next_multiple_of(4096), (address + size) & !4095);
            if last > first {
                libc::madvise(first as *mut _, last - first, libc::MADV_DONTNEED);
                write_bytes(address as *mut u8, POISON, first - address);
                write_bytes(last as *mut u8, POISON, address + size - last);
            } else {
                write_bytes(address as *mut u8, POISON, size);
            }
        }
        Ok(())
    }

    /// Bytes from the start of the range.
    pub fn offset(&self, address: usize) -> usize {
        address - self.base
    }

    pub fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.base) < RANGE
    }

    fn id(&self, address: usize) -> Option<u32> {
        // SAFETY: the index is inside the table.
        self.contains(address)
            .then(|| unsafe { *self.owner.add((address - self.base) / GRAIN) })
            .and_then(|id| id.checked_sub(1))
    }

    /// Whether `size` bytes at `address` are live.
    #[inline]
    pub fn holds(&self, address: usize, size: usize) -> bool {
        self.id(address).is_some_and(|id| {
            let a = &self.list[id as usize];
            a.live && address >= a.start && size <= a.size && address - a.start <= a.size - size
        })
    }

    /// Where `address` lies, in words.
    pub fn place(&self, address: usize) -> String {
        let Some(id) = self.id(address) else {
            let kind = if self.contains(address) { "device address of no allocation" } else { "not a device address" };
            return format!("{address:#x}: {kind}");
        };
        let Allocation { start, size, live } = self.list[id as usize];
        let freed = if live { "" } else { "freed " };
        match address.checked_sub(start + size) {
            Some(past) => format!("{past} bytes past the end of {freed}allocation #{id} ({size} bytes)"),
            None => format!("byte {} of {freed}allocation #{id} ({size} bytes)", address - start),
        }
    }

    /// The first allocation whose guard was overwritten, in words.
    pub fn broken_guard(&self) -> Option<String> {
        self.live.iter().find_map(|id| {
            let Allocation { start, size, .. } = self.list[*id as usize];
            let end = start + size;
            // SAFETY: the guard belongs to the allocation.
            let guard = unsafe {
                std::slice::from_raw_parts(end as *const u8, start + size.next_multiple_of(GRAIN) + GUARD - end)
            };
            let at = guard.iter().position(|byte| *byte != GUARD_BYTE)?;
            Some(format!("write {at} bytes past the end of allocation #{id} ({size} bytes)"))
        })
    }
}
