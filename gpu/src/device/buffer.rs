//! Typed device memory of a fixed length. It is accounted for before it is allocated, and has a name for messages.

use std::fmt;

use cudarc::driver::{CudaSlice, PinnedHostSlice, ValidAsZeroBits};

use super::{Device, DeviceType, failed};
use crate::error::{Error, Result};

/// A number that lies in device memory.
pub trait Number: DeviceType + ValidAsZeroBits + Default + Unpin + 'static {}

impl<T: DeviceType + ValidAsZeroBits + Default + Unpin + 'static> Number for T {}

/// Device memory.
#[derive(Debug)]
pub struct Buffer<T> {
    name: &'static str,
    device: Device,
    slice: CudaSlice<T>,
}

impl Device {
    /// So many zeros. `name` says what for.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or what the driver says.
    pub fn zeros<T: Number>(&self, name: &'static str, length: usize) -> Result<Buffer<T>> {
        let size = size_of::<T>() as u64;
        let most = isize::MAX as u64 / size;
        let bytes = (length as u64).checked_mul(size).filter(|bytes| *bytes <= isize::MAX as u64);
        let bytes = bytes.ok_or(Error::TooLarge { what: "values of a buffer", got: length as u64, most })?;
        self.expect_room(name, bytes)?;
        // Empty buffers have no address.
        let slice = self.stream.alloc_zeros(length.max(1));
        let slice = slice.map_err(failed(|| format!("allocate {bytes} bytes for {name}")))?;
        Ok(Buffer { name, device: self.clone(), slice })
    }

    /// The same values as on the host.
    ///
    /// # Errors
    /// As [`Device::zeros`].
    pub fn upload<T: Number>(&self, name: &'static str, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = self.zeros(name, values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }
}

/// Copies of [`Staged`] that may be under way: so many steps the host is ahead of the device at most.
const UNDER_WAY: usize = 4;

/// Device memory that the host writes anew for every step, without waiting for the steps before.
///
/// The values go through memory of the host that the driver can copy from by itself, in turn through several pieces of it; the host waits only for the
/// copy that used a piece before.
pub struct Staged<T> {
    buffer: Buffer<T>,
    pieces: Vec<PinnedHostSlice<T>>,
    next: usize,
}

impl<T> fmt::Debug for Staged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("name", &self.buffer.name).field("length", &self.buffer.slice.len()).finish()
    }
}

impl Device {
    /// So many zeros that are written anew over and over. `name` says what for.
    ///
    /// # Errors
    /// As [`Device::zeros`].
    pub fn staged<T: Number>(&self, name: &'static str, length: usize) -> Result<Staged<T>> {
        let buffer = self.zeros(name, length)?;
        let pieces = (0..UNDER_WAY).map(|_| {
            // SAFETY: nothing is read of it before it was written.
            let piece = unsafe { self.context.alloc_pinned(buffer.len()) };
            piece.map_err(failed(|| format!("allocate memory of the host for {name}")))
        });
        let pieces = pieces.collect::<Result<_>>()?;
        Ok(Staged { buffer, pieces, next: 0 })
    }
}

impl<T: Number> Staged<T> {
    /// Copies values to all places, in order with what was submitted. They may be changed at once.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for another number of values than there are places, or what the driver says.
    pub fn write(&mut self, values: &[T]) -> Result<()> {
        let (name, count) = (self.buffer.name, values.len());
        if count != self.buffer.len() {
            return Err(Error::TooLarge { what: name, got: count as u64, most: self.buffer.len() as u64 });
        }
        let piece = &mut self.pieces[self.next];
        self.next = (self.next + 1) % UNDER_WAY;
        let wait = failed(|| format!("wait for a copy to {name}"));
        piece.as_mut_slice().map_err(wait)?.copy_from_slice(values);
        let copied = self.buffer.device.stream.memcpy_htod(piece, &mut self.buffer.slice);
        copied.map_err(failed(|| format!("copy {count} values to {name}")))
    }

    /// On the device.
    #[must_use]
    pub fn buffer(&self) -> &Buffer<T> {
        &self.buffer
    }
}

impl<T: Number> Buffer<T> {
    /// What it is for.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Number of values.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is always at least one value")]
    pub fn len(&self) -> usize {
        self.slice.len()
    }

    /// Copies values from the host to the first places, in order with what was submitted.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more values than there are places, or what the driver says.
    pub fn write(&mut self, values: &[T]) -> Result<()> {
        self.write_at(0, values)
    }

    /// Copies the first values to the host, after everything that was submitted.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more values than there are, what the driver says, or a failure of something that was
    /// submitted.
    pub fn read(&self, values: &mut [T]) -> Result<()> {
        self.read_at(0, values)
    }

    /// Copies values from the host to places from `begin` on, in order with what was submitted.
    ///
    /// # Errors
    /// As [`Buffer::write`].
    pub fn write_at(&mut self, begin: usize, values: &[T]) -> Result<()> {
        self.expect(begin.saturating_add(values.len()))?;
        if values.is_empty() {
            return Ok(());
        }
        let name = self.name;
        let mut places = self.slice.slice_mut(begin..begin + values.len());
        let copied = self.device.stream.memcpy_htod(values, &mut places);
        copied.map_err(failed(|| format!("copy {} values to {name}", values.len())))
    }

    /// Copies so many values from `begin` on to the host, after everything that was submitted.
    ///
    /// # Errors
    /// As [`Buffer::read`].
    pub fn read_at(&self, begin: usize, values: &mut [T]) -> Result<()> {
        self.expect(begin.saturating_add(values.len()))?;
        if values.is_empty() {
            return Ok(());
        }
        let (name, count) = (self.name, values.len());
        let copied = self.device.stream.memcpy_dtoh(&self.slice.slice(begin..begin + count), values);
        copied.map_err(failed(|| format!("copy {count} values from {name}")))?;
        self.device.synchronize()
    }

    /// All values.
    ///
    /// # Errors
    /// As [`Buffer::read`].
    pub fn to_vec(&self) -> Result<Vec<T>> {
        let mut values = vec![T::default(); self.len()];
        self.read(&mut values)?;
        Ok(values)
    }

    fn expect(&self, count: usize) -> Result<()> {
        let most = self.len() as u64;
        if count as u64 > most {
            return Err(Error::TooLarge { what: self.name, got: count as u64, most });
        }
        Ok(())
    }

    /// For arguments of a launch.
    pub(crate) fn slice(&self) -> &CudaSlice<T> {
        &self.slice
    }

    /// For arguments of a launch.
    pub(crate) fn slice_mut(&mut self) -> &mut CudaSlice<T> {
        &mut self.slice
    }
}
