//! What the checks have in common: numbers out of nowhere, and buffers that remember what they were filled with.

use advantage_nas::comparison::Comparison;
use advantage_nas::tolerance::Tolerance;

use crate::device::buffer::Number;
use crate::device::source::Signature;
use crate::device::{Buffer, Device};
use crate::error::Result;
use crate::kernels::Version;

/// How far sums of products may be, norm-wise, from those of factors that were not rounded to TF32. A factor is off by at most 2⁻¹¹ of itself, by 2.0e-4 in
/// the root mean square of what is spread over all numbers, a product of two by 2.8e-4, and so are sums of products of random signs; factors that are cut
/// off instead would make it 5.7e-4.
pub(super) const TF32: Tolerance = Tolerance::OfNorm(4.5e-4);

/// The versions of these that a kernel has.
pub(super) fn own<'a>(versions: &'a [Version], signature: &'a Signature) -> impl Iterator<Item = Version> + 'a {
    versions.iter().copied().filter(|version| version.of(signature) == *version)
}

/// A small deterministic generator.
#[derive(Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next 32 bits, as SplitMix64 mixes them.
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }

    /// Below a number.
    pub(super) fn below(&mut self, count: usize) -> usize {
        self.next() as usize % count
    }

    /// Between −1 and 1.
    pub(super) fn number(&mut self) -> f32 {
        (f64::from(self.next()) / f64::from(1u32 << 31) - 1.0) as f32
    }

    /// So many between −1 and 1.
    pub(super) fn vec(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.number()).collect()
    }
}

/// Values of a part of a buffer that a launch is expected to write.
pub(super) struct Part {
    /// What they are.
    pub(super) name: String,
    /// Where they begin.
    pub(super) begin: usize,
    pub(super) expected: Vec<f64>,
    pub(super) tolerance: Tolerance,
}

/// A buffer, and what was in it before the launch: NaN where nothing is to be read.
pub(super) struct Held<T> {
    pub(super) buffer: Buffer<T>,
    before: Vec<T>,
}

impl<T: Number + Into<f64>> Held<T> {
    pub(super) fn new(device: &Device, name: &'static str, before: Vec<T>) -> Result<Self> {
        Ok(Self { buffer: device.upload(name, &before)?, before })
    }

    /// Whether the parts are as expected, and nothing else was written.
    pub(super) fn check(&self, label: &str, parts: &[Part], checks: &mut Vec<Comparison>) -> Result<()> {
        let got = self.buffer.to_vec()?;
        let mut written = vec![false; got.len()];
        for Part { name, begin, expected, tolerance } in parts {
            let range = *begin..*begin + expected.len();
            written[range.clone()].fill(true);
            checks.push(Comparison::new(format!("{name}, {label}"), &got[range], expected, *tolerance));
        }
        let rest = |values: &[T]| -> Vec<u64> {
            let rest = values.iter().zip(&written).filter(|(_, written)| !**written);
            rest.map(|(value, _)| Into::<f64>::into(*value).to_bits()).collect()
        };
        let (after, before) = (rest(&got), rest(&self.before));
        if !before.is_empty() {
            checks.push(Comparison::equal(
                format!("what stays as it is in {}, {label}", self.buffer.name()),
                &after,
                &before,
            ));
        }
        Ok(())
    }
}
