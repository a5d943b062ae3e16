//! Launches: where, with how many threads, and with which arguments.
//!
//! The driver takes an array of addresses, without a length and without types, and reads from it as many arguments, of
//! such sizes, as the kernel has parameters. So both are compared before every launch, wherever the driver tells what
//! the parameters are; what a pointer points to is known to neither side.

use cudarc::driver::{LaunchArgs, LaunchConfig, PushKernelArg};

use super::buffer::Number;
use super::{Buffer, Device, Kernel, problem};
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
    /// [`Error::TooLarge`] for more blocks than a grid may have.
    pub fn new(grid: [usize; 3], threads: u32) -> Result<Self> {
        const MOST: [u64; 3] = [i32::MAX as u64, 65_535, 65_535];
        let mut blocks = [0; 3];
        for ((block, got), most) in blocks.iter_mut().zip(grid).zip(MOST) {
            let got = got as u64;
            if got > most {
                return Err(Error::TooLarge { what: "blocks in one dimension of a launch", got, most });
            }
            *block = got as u32;
        }
        Ok(Self { grid: blocks, block: [threads, 1, 1], shared: 0 })
    }

    /// The same with so many bytes of dynamic shared memory.
    #[must_use]
    pub fn with_shared(self, shared: u32) -> Self {
        Self { shared, ..self }
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
    /// A pointer to what the kernel only reads.
    pub(crate) fn reads<T: Number>(&mut self, buffer: &'a Buffer<T>) -> &mut Self {
        self.arguments.arg(buffer.slice());
        self.sizes.push(POINTER);
        self
    }

    /// A pointer to what the kernel writes.
    pub(crate) fn writes<T: Number>(&mut self, buffer: &'a mut Buffer<T>) -> &mut Self {
        self.arguments.arg(buffer.slice_mut());
        self.sizes.push(POINTER);
        self
    }

    /// A number.
    pub(crate) fn value<T: Number>(&mut self, value: &'a T) -> &mut Self {
        self.arguments.arg(value);
        self.sizes.push(size_of::<T>());
        self
    }

    /// Submits the launch.
    ///
    /// # Errors
    /// [`Error::Launch`] for another number of arguments than the kernel has parameters, or one of another size; what
    /// the driver says.
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
        // SAFETY: what the driver can't know is the caller's promise.
        unsafe { self.arguments.launch(geometry.config()) }.map_err(|error| failed(problem(error)))?;
        Ok(())
    }
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
