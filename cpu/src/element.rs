//! The number types of the CPU supernets, and the vector operations that their inner loops are made of.

use std::fmt::Debug;

use pulp::Simd;

/// A floating-point type that the supernets compute in: `f32` to search, `f64` to check.
///
/// The vector operations take the instruction set as a parameter, so that one loop serves all of them. A result does not
/// depend on the number of lanes: no operation mixes lanes.
pub trait Element: num_traits::Float + num_traits::NumAssign + Debug + Default + Send + Sync + 'static {
    /// A vector of one instruction set.
    type Vector<S: Simd>: Copy;

    /// Rounds a double to this type.
    fn of(value: f64) -> Self;

    /// Widens a single to this type, exactly.
    fn of_f32(value: f32) -> Self;

    /// Widens to double, exactly.
    fn widen(self) -> f64;

    /// A slice as vectors; what does not fill a vector is left out.
    fn vectors<S: Simd>(slice: &[Self]) -> &[Self::Vector<S>];

    /// A slice as vectors; what does not fill a vector is left out.
    fn vectors_mut<S: Simd>(slice: &mut [Self]) -> &mut [Self::Vector<S>];

    /// The same value in all lanes.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;

    /// `a · b + c`, fused where the instruction set has it.
    fn fma<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;

    /// `a · b`.
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a − b`.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `value` where `x > 0`, zero elsewhere.
    fn where_positive<S: Simd>(simd: S, x: Self::Vector<S>, value: Self::Vector<S>) -> Self::Vector<S>;

    /// `max(x, 0)`; NaN goes through.
    fn relu<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;

    /// The larger one; `b` if one is NaN.
    fn larger<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// The hyperbolic tangent.
    fn vector_tanh<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;

    /// The exponential function; exactly zero where it is below the smallest normal number.
    fn vector_exp<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;

    /// The logistic function, `1/(1 + e^{−x})`.
    fn vector_sigmoid<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;
}

impl Element for f32 {
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn of_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn vectors<S: Simd>(slice: &[Self]) -> &[Self::Vector<S>] {
        S::as_simd_f32s(slice).0
    }

    #[inline(always)]
    fn vectors_mut<S: Simd>(slice: &mut [Self]) -> &mut [Self::Vector<S>] {
        S::as_mut_simd_f32s(slice).0
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S> {
        simd.splat_f32s(value)
    }

    #[inline(always)]
    fn fma<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S> {
        simd.mul_add_f32s(a, b, c)
    }

    #[inline(always)]
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.mul_f32s(a, b)
    }

    #[inline(always)]
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.sub_f32s(a, b)
    }

    #[inline(always)]
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.add_f32s(a, b)
    }

    #[inline(always)]
    fn where_positive<S: Simd>(simd: S, x: Self::Vector<S>, value: Self::Vector<S>) -> Self::Vector<S> {
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.less_than_f32s(zero, x), value, zero)
    }

    #[inline(always)]
    fn relu<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
    }

    /// `tanh x = sign(x) · m / (m + 2)` with `m = e^{2|x|} − 1`.
    ///
    /// `2|x| = k ln 2 + r` with whole `k` and `|r| ≤ ln 2 / 2`; `e^r − 1` by its Taylor polynomial of degree 7, whose remainder
    /// is below 5e-9 of `r`; `m = 2^k (e^r − 1) + (2^k − 1)`, so that small `x` keep their digits.
    #[inline(always)]
    fn vector_tanh<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        // Adding 1.5 · 2²³ rounds to a whole number, which then stands in the low bits.
        const ROUND: f32 = 12_582_912.0;
        // tanh rounds to one from 9.02 on.
        const LIMIT: f32 = 20.0;
        // ln 2 in two parts; the product of the first with k ≤ 29 is exact.
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        let constant = |value: f32| simd.splat_f32s(value);
        let sign = simd.and_f32s(x, constant(-0.0));
        let magnitude = simd.abs_f32s(x);
        let doubled = simd.add_f32s(magnitude, magnitude);
        // A comparison with NaN is false, so NaN goes through.
        let limited = simd.select_f32s(simd.less_than_f32s(constant(LIMIT), doubled), constant(LIMIT), doubled);
        let rounded = simd.mul_add_f32s(limited, constant(std::f32::consts::LOG2_E), constant(ROUND));
        let k = simd.sub_f32s(rounded, constant(ROUND));
        let r = simd.mul_add_f32s(k, constant(-LN2_HIGH), limited);
        let r = simd.mul_add_f32s(k, constant(-LN2_LOW), r);
        let mut series = constant(1.0 / 5040.0);
        for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
            series = simd.mul_add_f32s(series, r, constant(coefficient));
        }
        let small = simd.mul_add_f32s(simd.mul_f32s(series, r), r, r);
        let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
        let power = simd.transmute_f32s_u32s(simd.add_u32s(bits, simd.splat_u32s(1.0f32.to_bits())));
        let grown = simd.mul_add_f32s(power, small, simd.sub_f32s(power, constant(1.0)));
        let quotient = simd.div_f32s(grown, simd.add_f32s(grown, constant(2.0)));
        simd.or_f32s(quotient, sign)
    }

    #[inline(always)]
    fn larger<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.select_f32s(simd.less_than_f32s(b, a), a, b)
    }

    /// `x = k ln 2 + r` as in the hyperbolic tangent; `e^x = 2^k e^r`, with `e^r` by its Taylor polynomial of degree 7.
    #[inline(always)]
    fn vector_exp<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        const ROUND: f32 = 12_582_912.0;
        // From ln 2⁻¹²⁶ to just below ln 2¹²⁸, where k is at most 127.
        const LOWEST: f32 = -87.336_54;
        const HIGHEST: f32 = 88.376_26;
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        let constant = |value: f32| simd.splat_f32s(value);
        // A comparison with NaN is false, so NaN goes through.
        let limited = simd.select_f32s(simd.less_than_f32s(constant(HIGHEST), x), constant(HIGHEST), x);
        let rounded = simd.mul_add_f32s(limited, constant(std::f32::consts::LOG2_E), constant(ROUND));
        let k = simd.sub_f32s(rounded, constant(ROUND));
        let r = simd.mul_add_f32s(k, constant(-LN2_HIGH), limited);
        let r = simd.mul_add_f32s(k, constant(-LN2_LOW), r);
        let mut series = constant(1.0 / 5040.0);
        for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            series = simd.mul_add_f32s(series, r, constant(coefficient));
        }
        let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
        let power = simd.transmute_f32s_u32s(simd.add_u32s(bits, simd.splat_u32s(1.0f32.to_bits())));
        let value = simd.mul_f32s(power, series);
        simd.select_f32s(simd.less_than_f32s(x, constant(LOWEST)), constant(0.0), value)
    }

    #[inline(always)]
    fn vector_sigmoid<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        let one = simd.splat_f32s(1.0);
        let decayed = Self::vector_exp(simd, simd.neg_f32s(x));
        simd.div_f32s(one, simd.add_f32s(one, decayed))
    }
}

impl Element for f64 {
    type Vector<S: Simd> = S::f64s;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn of_f32(value: f32) -> Self {
        f64::from(value)
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }

    #[inline(always)]
    fn vectors<S: Simd>(slice: &[Self]) -> &[Self::Vector<S>] {
        S::as_simd_f64s(slice).0
    }

    #[inline(always)]
    fn vectors_mut<S: Simd>(slice: &mut [Self]) -> &mut [Self::Vector<S>] {
        S::as_mut_simd_f64s(slice).0
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S> {
        simd.splat_f64s(value)
    }

    #[inline(always)]
    fn fma<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S> {
        simd.mul_add_f64s(a, b, c)
    }

    #[inline(always)]
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.mul_f64s(a, b)
    }

    #[inline(always)]
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.sub_f64s(a, b)
    }

    #[inline(always)]
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.add_f64s(a, b)
    }

    #[inline(always)]
    fn where_positive<S: Simd>(simd: S, x: Self::Vector<S>, value: Self::Vector<S>) -> Self::Vector<S> {
        let zero = simd.splat_f64s(0.0);
        simd.select_f64s(simd.less_than_f64s(zero, x), value, zero)
    }

    #[inline(always)]
    fn relu<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        let zero = simd.splat_f64s(0.0);
        simd.select_f64s(simd.less_than_f64s(x, zero), zero, x)
    }

    /// The standard library's, lane by lane: `f64` is for checking, so it shares nothing with the fast one.
    #[inline(always)]
    fn vector_tanh<S: Simd>(_simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        let mut vector = [x];
        for lane in pulp::bytemuck::cast_slice_mut::<_, f64>(&mut vector) {
            *lane = lane.tanh();
        }
        vector[0]
    }

    #[inline(always)]
    fn larger<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.select_f64s(simd.less_than_f64s(b, a), a, b)
    }

    #[inline(always)]
    fn vector_exp<S: Simd>(_simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        let mut vector = [x];
        for lane in pulp::bytemuck::cast_slice_mut::<_, f64>(&mut vector) {
            let value = lane.exp();
            *lane = if value < f64::MIN_POSITIVE { 0.0 } else { value };
        }
        vector[0]
    }

    #[inline(always)]
    fn vector_sigmoid<S: Simd>(_simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        let mut vector = [x];
        for lane in pulp::bytemuck::cast_slice_mut::<_, f64>(&mut vector) {
            *lane = 1.0 / (1.0 + (-*lane).exp());
        }
        vector[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tanh<'a>(&'a mut [f32]);

    impl pulp::WithSimd for Tanh<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            for vector in f32::vectors_mut::<S>(self.0) {
                *vector = f32::vector_tanh(simd, *vector);
            }
        }
    }

    struct Exponentials<'a>(&'a mut [f32], &'a mut [f32]);

    impl pulp::WithSimd for Exponentials<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            for vector in f32::vectors_mut::<S>(self.0) {
                *vector = f32::vector_exp(simd, *vector);
            }
            for vector in f32::vectors_mut::<S>(self.1) {
                *vector = f32::vector_sigmoid(simd, *vector);
            }
        }
    }

    /// Against double precision: at most 2 units in the last place, 4 of the logistic function; zero below the normal numbers.
    #[test]
    fn vector_exp_and_sigmoid_are_accurate() {
        let mut inputs = vec![0.0f32, -0.0, f32::MIN_POSITIVE, -1e-40];
        inputs.extend((0..400_000).map(|step| -87.0 + step as f32 * (175.0 / 400_000.0)));
        while inputs.len() % 16 != 0 {
            inputs.push(1.0);
        }
        let (mut exponentials, mut sigmoids) = (inputs.clone(), inputs.clone());
        pulp::Arch::new().dispatch(Exponentials(&mut exponentials, &mut sigmoids));
        let unit = |exact: f64| f64::from((exact as f32).next_up()) - f64::from(exact as f32);
        for (index, x) in inputs.iter().enumerate() {
            let exact = f64::from(*x).exp();
            let apart = (f64::from(exponentials[index]) - exact).abs() / unit(exact);
            assert!(apart <= 2.0, "exp {x} = {}, {apart} units", exponentials[index]);
            let exact = 1.0 / (1.0 + (-f64::from(*x)).exp());
            let apart = (f64::from(sigmoids[index]) - exact).abs() / unit(exact);
            assert!(apart <= 4.0, "sigmoid {x} = {}, {apart} units", sigmoids[index]);
        }
        let special = [f32::NEG_INFINITY, -1e30, -88.0, f32::INFINITY, 1e30, f32::NAN];
        let mut exponentials: Vec<f32> = special.iter().copied().chain([0.0; 10]).collect();
        let mut sigmoids = exponentials.clone();
        pulp::Arch::new().dispatch(Exponentials(&mut exponentials, &mut sigmoids));
        assert_eq!(exponentials[..3], [0.0; 3]);
        assert!(exponentials[3] > 1e38 && exponentials[4] > 1e38 && exponentials[5].is_nan());
        assert!(sigmoids[..3].iter().all(|value| (0.0..1e-37).contains(value)));
        assert!(sigmoids[3] == 1.0 && sigmoids[4] == 1.0 && sigmoids[5].is_nan());
    }

    /// Against the double-precision tanh: at most 3 units in the last place anywhere, from subnormals to saturation.
    #[test]
    fn vector_tanh_is_accurate() {
        let mut inputs = vec![0.0f32, -0.0, f32::MIN_POSITIVE, 1e-40, f32::MAX, f32::INFINITY, f32::NEG_INFINITY];
        for step in 0..200_000 {
            let x = 10.0f32.powf(-8.0 + 9.1 * step as f32 / 200_000.0);
            inputs.extend([x, -x]);
        }
        while inputs.len() % 16 != 0 {
            inputs.push(1.0);
        }
        let mut outputs = inputs.clone();
        pulp::Arch::new().dispatch(Tanh(&mut outputs));
        let mut worst = 0.0f64;
        for (x, y) in inputs.iter().zip(&outputs) {
            let exact = f64::from(*x).tanh();
            let unit = f64::from((exact.abs() as f32).next_up()) - f64::from(exact.abs() as f32);
            worst = worst.max((f64::from(*y) - exact).abs() / unit);
            assert_eq!(y.is_sign_negative(), x.is_sign_negative(), "sign at {x}");
            assert!(y.abs() <= 1.0, "tanh {x} = {y}");
        }
        assert!(worst <= 3.0, "{worst} units in the last place");
        // The infinities are exact.
        assert_eq!(outputs[5..7], [1.0, -1.0]);
        let mut nan = [f32::NAN; 16];
        pulp::Arch::new().dispatch(Tanh(&mut nan));
        assert!(nan.iter().all(|value| value.is_nan()));
    }
}
