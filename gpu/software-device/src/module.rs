//! A compiled program in memory: its kernels, its shared memory, its variables.

use crate::fault::Fault;
use crate::launch::{Callbacks, Launch};
use crate::nvrtc::version;
use crate::settings::settings;
use crate::status;
use libloading::os::unix::Library;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Variables of the software device itself.
const OWN: [&str; 2] = ["soft_copies", "soft_products"];

/// In the name of what atomics become: `soft::update` of device.h.
const ATOMICS: &str = "4soft6update";

/// `soft::Kernel` of device.h.
#[repr(C)]
pub(crate) struct Kernel {
    name: *const c_char,
    pub run: unsafe extern "C" fn(*const *const c_void),
    sizes: *const usize,
    pointers: *const u8,
    parameters: usize,
    pub max_threads: usize,
}

impl Kernel {
    pub fn name(&self) -> &str {
        // SAFETY: a literal of the generated code; names are ASCII.
        unsafe { CStr::from_ptr(self.name) }.to_str().unwrap_or("?")
    }

    /// Size in bytes of each parameter, and whether it is a pointer.
    pub fn parameters(&self) -> impl Iterator<Item = (usize, bool)> {
        // SAFETY: both tables have `parameters` entries.
        (0..self.parameters).map(|i| unsafe { (*self.sizes.add(i), *self.pointers.add(i) != 0) })
    }
}

/// `soft::Module` of device.h.
#[repr(C)]
struct Exported {
    version: u64,
    arch: i32,
    callbacks: *mut Callbacks, // constant to kernels, not to us
    kernels: *const Kernel,
    kernel_count: usize,
    shared: [usize; 2],
    thread: *mut [u32; 3],
    block: *mut [u32; 3],
    block_dim: *mut [u32; 3],
    grid_dim: *mut [u32; 3],
    dynamic: *mut *mut u8,
}

/// A named range of addresses, and the function it is local to.
pub(crate) struct Variable {
    pub function: String,
    pub name: String,
    pub start: usize,
    pub size: usize,
}

pub(crate) struct Module {
    exported: *const Exported,
    /// Static shared memory: its variables, and for each of its bytes 1 + the variable it belongs to.
    pub shared: Vec<Variable>,
    pub shared_owner: Vec<u16>,
    /// `__device__` and `__constant__` variables, by address.
    pub globals: Vec<Variable>,
    /// Address of the object's first byte.
    pub base: usize,
    /// Whether blocks can't see what others do, unless by a race.
    apart: bool,
    /// The same object once more, with variables of its own, for other threads of the host.
    copies: OnceLock<Vec<Self>>,
    image: Vec<u8>,
    _library: Library,
}

/// SAFETY: read-only but for what launches write, and they run under the device's lock, each of their threads with a copy of its own.
unsafe impl Send for Module {}
/// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads the shared object `image`; `arch` as in `sm_90`.
    pub fn load(image: &[u8], callbacks: Callbacks) -> Result<Self, Fault> {
        let invalid = |what: &dyn std::fmt::Display| Fault(status::INVALID_IMAGE, format!("module: {what}"));
        let elf = object::File::parse(image).map_err(|error| invalid(&error))?;
        // The loader tells objects apart by file: each module gets its own, so that variables are not shared.
        // SAFETY: an object that our NVRTC made; it has no initialisers but the compiler's.
        let library = with_file(image, |path| unsafe { Library::new(path) });
        let library = library.map_err(|error| invalid(&error))?.map_err(|error| invalid(&error))?;
        // SAFETY: the symbol's type is that of device.h, whose version is checked below.
        let exported: *const Exported =
            *unsafe { library.get::<*const Exported>(c"soft_module") }.map_err(|error| invalid(&error))?;
        let address = elf.symbols().find(|s| s.name() == Ok("soft_module")).map_or(0, |s| s.address());
        let base = exported as usize - address as usize;
        // SAFETY: points into the library just loaded.
        let table = unsafe { &*exported };
        if table.version != version(settings().checks) {
            return Err(invalid(&"made by another version of the software device, or for other checks"));
        }
        // SAFETY: the table of callbacks is the module's own variable; nothing runs yet.
        unsafe { *table.callbacks = callbacks };
        let [begin, end] = table.shared;
        let (mut shared, mut globals, mut shared_owner) = (Vec::new(), Vec::new(), vec![0; end - begin]);
        for symbol in elf.symbols().filter(|s| s.kind() == SymbolKind::Data && s.size() > 0) {
            let (start, size) = (base + symbol.address() as usize, symbol.size() as usize);
            let (function, name) = plain_names(symbol.name().unwrap_or("?"));
            let variable = Variable { function, name, start, size };
            if OWN.iter().any(|own| variable.name.contains(own)) {
                continue;
            }
            if !(begin..end).contains(&start) {
                globals.push(variable);
            } else if !variable.name.contains("soft_pad_") {
                shared.push(variable);
                shared_owner[start - begin..start - begin + size].fill(shared.len() as u16);
            }
        }
        globals.sort_by_key(|variable| variable.start);
        // Variables of the device that can be written are one for all blocks; what atomics return depends on who came first. Other variables that can be
        // written are ours and the C runtime's.
        let written = [".data", ".bss"]
            .map(|name| elf.section_by_name(name).map(|section| section.address()..section.address() + section.size()));
        let apart = elf.symbols().all(|symbol| {
            let name = symbol.name().unwrap_or("?");
            let others = OWN.iter().chain(&["completed."]).any(|other| name.contains(other));
            let variable = symbol.kind() == SymbolKind::Data && symbol.size() > 0 && !others;
            !(name.contains(ATOMICS)
                || variable && written.iter().flatten().any(|range| range.contains(&symbol.address())))
        });
        let copies = OnceLock::new();
        Ok(Self {
            exported,
            shared,
            shared_owner,
            globals,
            base,
            apart,
            copies,
            image: image.into(),
            _library: library,
        })
    }

    /// Whether blocks may run at the same time with the results that they have one after another: none can see what another one does, unless by
    /// a race.
    pub fn blocks_are_apart(&self) -> bool {
        self.apart
    }

    /// At least `count` copies, made when they are wanted for the first time.
    pub fn copies(&self, count: usize) -> Result<&[Self], Fault> {
        if count == 0 {
            return Ok(&[]);
        }
        if self.copies.get().is_none() {
            // SAFETY: our own table of callbacks, read.
            let callbacks = unsafe { *self.table().callbacks };
            let copies =
                (1..settings().threads).map(|_| Self::load(&self.image, callbacks)).collect::<Result<_, _>>()?;
            // Under the device's lock: nobody else has set it.
            let _ = self.copies.set(copies);
        }
        let copies = self.copies.get().map_or(&[][..], Vec::as_slice);
        Ok(&copies[..count])
    }

    /// `line N: ` for the call that returns to `caller`, as far as the compiler's tools can tell.
    pub fn line(&self, caller: usize) -> String {
        let places = self.places(&[(caller - self.base) as u32]);
        let line = places[0].rsplit_once(':').map_or("?", |(_, line)| line);
        if line == "?" { String::new() } else { format!("line {line}: ") }
    }

    /// `file:line` for calls that return to these offsets, with `?` for what the compiler's tools can't tell.
    pub fn places(&self, callers: &[u32]) -> Vec<String> {
        let offsets = callers.iter().map(|caller| format!("{:#x}", caller - 1));
        let run = |path: &Path| Command::new("addr2line").arg("-e").arg(path).args(offsets).output();
        let output = with_file(&self.image, run).and_then(|output| output);
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let mut lines = text.lines();
        let place = |line: &str| {
            let (file, line) = line.rsplit_once(':')?;
            Some(format!("{}:{}", file.rsplit('/').next()?, line.split(' ').next()?))
        };
        callers.iter().map(|_| lines.next().and_then(place).unwrap_or_else(|| "?:?".to_owned())).collect()
    }

    fn table(&self) -> &Exported {
        // SAFETY: lives as long as the library, which this module holds.
        unsafe { &*self.exported }
    }

    pub fn arch(&self) -> i32 {
        self.table().arch
    }

    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        // SAFETY: `kernel_count` entries.
        let kernels = unsafe { std::slice::from_raw_parts(self.table().kernels, self.table().kernel_count) };
        kernels.iter().find(|kernel| kernel.name() == name)
    }

    /// Whether `size` bytes at `address` lie in one of `globals`.
    pub fn holds(&self, address: usize, size: usize) -> bool {
        let after = self.globals.partition_point(|variable| variable.start <= address);
        self.globals[..after].last().is_some_and(|variable| address + size <= variable.start + variable.size)
    }

    /// The shared variables that `kernel` may use: its own and those of no kernel.
    pub fn shared_of(&self, kernel: &Kernel) -> impl Iterator<Item = &Variable> {
        let name = kernel.name();
        self.shared.iter().filter(move |v| v.function == name || self.kernel(&v.function).is_none())
    }

    /// First address and length of the static shared memory.
    pub fn shared_range(&self) -> (usize, usize) {
        let [begin, end] = self.table().shared;
        (begin, end - begin)
    }

    /// `(threadIdx, blockIdx)` of the running thread.
    pub fn indices(&self) -> (*mut [u32; 3], *mut [u32; 3]) {
        (self.table().thread, self.table().block)
    }

    /// Sets what is the same for a whole launch.
    pub fn set_launch(&self, launch: *mut Launch<'static>, grid: [u32; 3], block: [u32; 3], dynamic: *mut u8) {
        // SAFETY: the module's own variables, and no kernel of it runs.
        unsafe {
            (*self.table().callbacks).launch = launch;
            *self.table().grid_dim = grid;
            *self.table().block_dim = block;
            *self.table().dynamic = dynamic;
        }
    }
}

/// What `function` makes of a file with `bytes`, which is gone afterwards.
fn with_file<T>(bytes: &[u8], function: impl FnOnce(&Path) -> T) -> std::io::Result<T> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("software-cuda-{}-{}.so", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes)?;
    let result = function(&path);
    std::fs::remove_file(&path)?;
    Ok(result)
}

/// `("kernel", "sm")` for `_ZZ6kernelE2sm` and `_ZZL6kernelPfE2sm_0`, `("", "name")` for `name` and `_ZL4name`.
fn plain_names(mangled: &str) -> (String, String) {
    let counted = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let length = text[..digits].parse::<usize>().unwrap_or(0);
        text.get(digits..digits + length).unwrap_or(text).to_owned()
    };
    let local = mangled.strip_prefix("_ZZ").and_then(|rest| rest.rsplit_once('E'));
    match local {
        Some((function, name)) => (counted(function.trim_start_matches('L')), counted(name)),
        None => (String::new(), mangled.strip_prefix("_ZL").map_or(mangled.to_owned(), counted)),
    }
}
