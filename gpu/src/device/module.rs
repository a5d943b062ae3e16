//! Compiled kernels: taken from the cache, or compiled and put there; then loaded.
//!
//! A cached module is a file whose name is the hash of everything that it depends on: source, flags, architecture,
//! compiler. It appears as a whole or not at all, and begins with the hash of the rest: a driver is told where machine
//! code begins but not where it ends, and must never see a damaged one. One that is damaged or that the driver refuses
//! is compiled anew.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::sys::{CUdevice_attribute as Attribute, CUfunction_attribute_enum as FunctionAttribute};
use cudarc::driver::{CudaFunction, CudaModule};
use cudarc::nvrtc::Ptx;
use sha2::{Digest, Sha256};

use super::compile::{self, compile};
use super::library::{self, compiler_version, driver_version};
use super::{Device, Source, failed};
use crate::error::{Error, Result};

/// Bytes of a hash.
const HASH: usize = 32;

/// Kernels that are loaded on a device.
#[derive(Clone, Debug)]
pub struct Module {
    source: Source,
    flags: Arc<str>,
    module: Arc<CudaModule>,
    /// Bytes of shared memory that a block of this device may have.
    most_shared: u32,
}

/// One kernel, ready to be launched.
#[derive(Clone, Debug)]
pub struct Kernel {
    name: &'static str,
    module: &'static str,
    flags: Arc<str>,
    function: CudaFunction,
    /// Bytes of each parameter, where the driver tells.
    parameters: Option<Arc<[usize]>>,
    /// Bytes of dynamic shared memory that a block may have.
    most_shared: u32,
}

impl Device {
    /// Makes sure of a compiler for this device.
    ///
    /// # Errors
    /// [`Error::NoLibrary`] without NVRTC, [`Error::OldDriver`] for one of a newer series than the driver.
    pub fn expect_compiler(&self) -> Result<()> {
        let (compiler, driver) = (compiler_version()?, driver_version()?);
        if compiler.major > driver.major {
            let (new, old) = (compiler, driver.major);
            let found =
                format!("it supports CUDA {driver}, the compiler is that of {new} (NVRTC of CUDA {old} would do)");
            return Err(Error::OldDriver { found, needed: format!("{}.0", compiler.major) });
        }
        Ok(())
    }

    /// The kernels of a module, compiled for this device at first use.
    ///
    /// # Errors
    /// As [`Device::expect_compiler`], [`Error::Compile`], or what the driver says.
    pub fn module(&self, source: &Source) -> Result<Module> {
        self.expect_compiler()?;
        let architecture = self.info.architecture();
        let flags: Arc<str> = self.flags().into();
        let path = self.cache.join("kernels").join(format!("{}-{}.cubin", source.name, self.key(source, &flags)?));
        let load = |cubin: Vec<u8>| self.context.load_module(Ptx::from_binary(cubin));
        let cached = fetch(&path).and_then(|cubin| load(cubin).ok());
        let module = match cached {
            Some(module) => module,
            None => {
                let folder = self.cache.join("kernels");
                tracing::info!(
                    "compiling the kernels of {} for {architecture}, once: they are kept in {}",
                    source.name,
                    folder.display()
                );
                let cubin = compile(source, &architecture, &[])?.cubin;
                // A cache that can't be written costs time, nothing else.
                let _ = store(&path, &cubin);
                load(cubin).map_err(failed(|| format!("load module {} with flags {flags}", source.name)))?
            }
        };
        let most = self.context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
        let most_shared = most.map_err(failed(|| "ask for shared memory of a block".to_owned()))?.unsigned_abs();
        Ok(Module { source: *source, flags, module, most_shared })
    }

    /// The hash of everything that machine code depends on.
    fn key(&self, source: &Source, flags: &str) -> Result<String> {
        let version = compiler_version()?.to_string();
        let emulated = if self.info.emulated { "emulated" } else { "" };
        let mut hash = Sha256::new();
        for part in [&*source.text(), flags, &version, emulated] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The flags that kernels are compiled with for this device.
    #[must_use]
    pub fn flags(&self) -> String {
        compile::flags(&self.info.architecture(), &[]).join(" ")
    }
}

/// The machine code in a file, if it is there and whole.
fn fetch(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let hash: [u8; HASH] = bytes.get(..HASH)?.try_into().ok()?;
    bytes.drain(..HASH);
    (*Sha256::digest(&bytes) == hash).then_some(bytes)
}

/// Writes a file as a whole: under a name of its own, then renamed.
fn store(path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{}-{number}.tmp", std::process::id()));
    let written =
        fs::write(&temporary, [&Sha256::digest(cubin)[..], cubin].concat()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

impl Module {
    /// One of its kernels.
    ///
    /// # Errors
    /// What the driver says.
    pub fn kernel(&self, name: &'static str) -> Result<Kernel> {
        let module = self.source.name;
        let function = self.module.load_function(name);
        let function = function.map_err(failed(|| format!("find kernel {name} in module {module}")))?;
        let parameters = library::parameters(&function).map(Arc::from);
        // Beyond 48 KiB, a kernel has to ask for it: once, not at every launch.
        let allow = || {
            let most = self.most_shared.saturating_sub(function.shared_size_bytes()?.unsigned_abs());
            let what = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(what, most as i32).map(|()| most)
        };
        let most_shared = allow().map_err(failed(|| format!("ask for shared memory for kernel {name}")))?;
        Ok(Kernel { name, module, flags: self.flags.clone(), function, parameters, most_shared })
    }
}

impl Kernel {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its module.
    pub(super) fn module(&self) -> &'static str {
        self.module
    }

    /// The flags that it was compiled with.
    pub(super) fn flags(&self) -> &str {
        &self.flags
    }

    /// Bytes of dynamic shared memory that a block may have.
    pub(super) fn most_shared(&self) -> u32 {
        self.most_shared
    }

    pub(super) fn function(&self) -> &CudaFunction {
        &self.function
    }

    /// Bytes of each parameter; nothing where the driver does not tell, which those before CUDA 12.4 don't.
    #[must_use]
    pub fn parameters(&self) -> Option<&[usize]> {
        self.parameters.as_deref()
    }
}
