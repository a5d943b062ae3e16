//! The number types of the CPU supernets.

use std::fmt::Debug;

/// A floating-point type that the supernets compute in: `f32` to search, `f64` to check.
pub trait Element: num_traits::Float + num_traits::NumAssign + Debug + Default + Send + Sync + 'static {
    /// Rounds a double to this type.
    fn of(value: f64) -> Self;

    /// Widens a single to this type, exactly.
    fn of_f32(value: f32) -> Self;

    /// Widens to double, exactly.
    fn to_f64(self) -> f64;
}

impl Element for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn of_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Element for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn of_f32(value: f32) -> Self {
        f64::from(value)
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}
