//! Launches: where, with how many threads, and with which arguments.
//!
//! The driver takes an array of addresses, without a length and without types, and reads from it as many arguments, of
//! such sizes, as the kernel has parameters. So both are compared before every launch, wherever the driver tells what
//! the parameters are; what a pointer points to is known to the compiler alone, which is asked in [`super::source`].

use cudarc::driver::{LaunchArgs, LaunchConfig, PushKernelArg};

use super::buffer::Number;
use super::{Buffer, Device, DeviceType, Kernel, problem};
use crate::error::{Error, Result};

/// Bytes of a pointer to device memory.
const POINTER: usize = 8;

/// Blocks and threads of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
}

impl Geometry {
    /// Blocks of `threads` threads in one dimension.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more blocks than a grid may have, or more threads than a block.
    pub fn new(grid: [usize; 3], threads: usize) -> Result<Self> {
        const MOST: [u64; 3] = [i32::MAX as u64, 65_535, 65_535];
        const MOST_THREADS: usize = 1024;
        if threads > MOST_THREADS {
            let (got, most) = (threads as u64, MOST_THREADS as u64);
            return Err(Error::TooLarge { what: "threads of a block", got, most });
        }
        let mut blocks = [0; 3];
        for ((block, got), most) in blocks.iter_mut().zip(grid).zip(MOST) {
            let got = got as u64;
            if got > most {
                return Err(Error::TooLarge { what: "blocks in one dimension of a launch", got, most });
            }
            *block = got as u32;
        }
        Ok(Self { grid: blocks, block: [threads as u32, 1, 1], shared: 0 })
    }

    /// The same with so many bytes of dynamic shared memory.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than a number of the driver can say; what a device has, the driver knows.
    pub fn with_shared(self, bytes: usize) -> Result<Self> {
        let (got, most) = (bytes as u64, u64::from(u32::MAX));
        let too_large = |_| Error::TooLarge { what: "bytes of shared memory of a block", got, most };
        Ok(Self { shared: u32::try_from(bytes).map_err(too_large)?, ..self })
    }

    fn config(self) -> LaunchConfig {
        LaunchConfig { grid_dim: self.grid.into(), block_dim: self.block.into(), shared_mem_bytes: self.shared }
    }
}

/// A launch on the device's stream that is given its arguments, in the order of the kernel's parameters.
pub(crate) struct Launch<'a> {
    kernel: &'a Kernel,
    arguments: LaunchArgs<'a>,
    /// Bytes of each argument.
    sizes: Vec<usize>,
}

impl Kernel {
    /// A launch without arguments yet.
    pub(crate) fn on<'a>(&'a self, device: &'a Device) -> Launch<'a> {
        Launch { kernel: self, arguments: device.stream.launch_builder(self.function()), sizes: Vec::new() }
    }
}

impl<'a> Launch<'a> {
    /// A pointer to what the kernel only reads, which must be so many values.
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub(crate) fn reads<T: Number>(&mut self, name: &str, buffer: &'a Buffer<T>, needed: usize) {
        expect(name, buffer.len(), needed);
        self.arguments.arg(buffer.slice());
        self.sizes.push(POINTER);
    }

    /// A pointer to what the kernel writes, which must be so many values.
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub(crate) fn writes<T: Number>(&mut self, name: &str, buffer: &'a mut Buffer<T>, needed: usize) {
        expect(name, buffer.len(), needed);
        self.arguments.arg(buffer.slice_mut());
        self.sizes.push(POINTER);
    }

    /// A number or a description.
    pub(crate) fn value<T: DeviceType>(&mut self, value: &'a T) {
        self.arguments.arg(value);
        self.sizes.push(size_of::<T>());
    }

    /// Submits the launch.
    ///
    /// # Errors
    /// [`Error::Launch`] for another number of arguments than the kernel has parameters, or one of another size;
    /// [`Error::TooLarge`] for more shared memory than a block can have; what the driver says.
    ///
    /// # Safety
    /// The arguments must be of the parameters' types, in their order; the kernel must write only to buffers of
    /// [`Launch::writes`], and access none outside of its length.
    pub(crate) unsafe fn submit(&mut self, geometry: Geometry) -> Result<()> {
        let kernel = self.kernel;
        let failed = |problem| Error::Launch {
            kernel: kernel.name(),
            module: kernel.module(),
            flags: kernel.flags().to_owned(),
            grid: geometry.grid,
            block: geometry.block,
            problem,
        };
        if let Some(unlike) = kernel.parameters().and_then(|parameters| unlike(&self.sizes, parameters)) {
            return Err(failed(unlike));
        }
        let (got, most) = (u64::from(geometry.shared), u64::from(kernel.most_shared()));
        if got > most {
            return Err(Error::TooLarge { what: "bytes of shared memory of a block", got, most });
        }
        // SAFETY: what the driver can't know is the caller's promise.
        unsafe { self.arguments.launch(geometry.config()) }.map_err(|error| failed(problem(error)))?;
        Ok(())
    }
}

fn expect(name: &str, length: usize, needed: usize) {
    assert!(length >= needed, "{name}: {length} values, needed are {needed}");
}

/// What is wrong with arguments of these sizes for parameters of those, if anything is.
fn unlike(arguments: &[usize], parameters: &[usize]) -> Option<String> {
    let (got, expected) = (arguments.len(), parameters.len());
    if got != expected {
        return Some(format!("it is given {got} arguments and has {expected} parameters"));
    }
    let (index, (got, expected)) =
        arguments.iter().zip(parameters).enumerate().find(|(_, (argument, parameter))| argument != parameter)?;
    Some(format!("argument {index}, counted from 0, has {got} bytes and its parameter {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_compared_with_parameters() {
        assert_eq!(unlike(&[8, 4], &[8, 4]), None);
        assert_eq!(unlike(&[8], &[8, 4]).unwrap(), "it is given 1 arguments and has 2 parameters");
        assert_eq!(unlike(&[8, 4, 4], &[8, 4]).unwrap(), "it is given 3 arguments and has 2 parameters");
        let size = unlike(&[8, 4, 8], &[8, 4, 4]).unwrap();
        assert_eq!(size, "argument 2, counted from 0, has 8 bytes and its parameter 4");
    }
}
