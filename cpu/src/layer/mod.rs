//! Layers of convolutional networks, each with its forward and backward pass.
//!
//! A tensor is cut into images, and an image into blocks of [`LANES`] channels: `[blocks, height, width, LANES]`. A [`Pixel`]
//! is what one block has at one place, so every layer works on whole vectors whatever the number of channels, and neighbours
//! are one pixel apart in memory in every tensor. Channels beyond the last one are zero everywhere and stay zero.
//!
//! A layer works on one image at a time and allocates nothing. What joins the images of a minibatch (statistics, gradients of
//! weights) is written as partial results that the network adds up in a fixed order. No layer knows of networks, candidates or
//! threads.

pub mod batch_norm;
pub mod convolution;
pub mod global;
pub mod linear;
pub mod map;
pub mod pooling;
pub mod winograd;

#[cfg(test)]
mod tests;

use pulp::Simd;

use crate::Element;

/// Channels of a block.
pub const LANES: usize = 16;

/// The channels of one block at one place of an image. Aligned to cache lines, so that no vector lies across two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Pixel<T>(pub(crate) [T; LANES]);

/// Number of blocks for so many channels.
pub fn blocks(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// Vectors of a pixel.
#[inline(always)]
pub fn vectors_per_pixel<S: Simd, T: Element>() -> usize {
    T::vectors::<S>(&[T::zero(); LANES]).len()
}

impl<T: Element> Pixel<T> {
    /// The `index`-th vector.
    #[inline(always)]
    pub fn vector<S: Simd>(&self, index: usize) -> T::Vector<S> {
        T::vectors::<S>(&self.0)[index]
    }

    /// The `index`-th vector, to be written.
    #[inline(always)]
    pub fn vector_mut<S: Simd>(&mut self, index: usize) -> &mut T::Vector<S> {
        &mut T::vectors_mut::<S>(&mut self.0)[index]
    }
}

/// Height and width of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub height: usize,
    pub width: usize,
}

impl Size {
    pub fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }

    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// With `border` more pixels on every side.
    pub fn bordered(self, border: usize) -> Self {
        Self { height: self.height + 2 * border, width: self.width + 2 * border }
    }
}
