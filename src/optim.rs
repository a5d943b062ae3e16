//! Optimisers that descend a gradient: Adam, SGD with Nesterov momentum; weight decay, norm clipping, the cosine schedule.

use num_traits::Float;

use crate::error::{Error, Result};
use crate::state::State;

/// Adam as in Kingma & Ba (2015), Algorithm 1: `ε` is added to the bias-corrected `√v̂`.
///
/// # Formula
/// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `x ← x − rate · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)`
#[derive(Clone, Debug, PartialEq)]
pub struct Adam<T> {
    beta1: T,
    beta2: T,
    epsilon: T,
    steps: u64,
    first_moment: Vec<T>,
    second_moment: Vec<T>,
}

impl<T: Float> Adam<T> {
    /// Adam for a vector of `length` parameters.
    ///
    /// # Errors
    /// [`Error::Setting`] unless both betas are in `[0, 1)` and epsilon is at least 0.
    pub fn new(length: usize, beta1: T, beta2: T, epsilon: T) -> Result<Self> {
        for (name, beta) in [("Adam's first beta", beta1), ("Adam's second beta", beta2)] {
            if !(beta >= T::zero() && beta < T::one()) {
                return Err(setting(name, "at least 0 and below 1", beta));
            }
        }
        if !(epsilon >= T::zero() && epsilon.is_finite()) {
            return Err(setting("Adam's epsilon", "finite and at least 0", epsilon));
        }
        let zeros = vec![T::zero(); length];
        Ok(Self { beta1, beta2, epsilon, steps: 0, first_moment: zeros.clone(), second_moment: zeros })
    }

    /// Number of steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Descends along `gradient` with the given learning rate.
    ///
    /// # Errors
    /// [`Error::Length`] if parameters or gradient are not of the optimiser's length.
    pub fn step(&mut self, parameters: &mut [T], gradient: &[T], rate: T) -> Result<()> {
        check_lengths(self.first_moment.len(), parameters, gradient)?;
        self.steps += 1;
        let exponent = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let first_correction = T::one() - self.beta1.powi(exponent);
        let second_correction = T::one() - self.beta2.powi(exponent);
        let moments = self.first_moment.iter_mut().zip(&mut self.second_moment);
        for ((parameter, &slope), (first, second)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *first = self.beta1 * *first + (T::one() - self.beta1) * slope;
            *second = self.beta2 * *second + (T::one() - self.beta2) * slope * slope;
            let direction = *first / first_correction / ((*second / second_correction).sqrt() + self.epsilon);
            *parameter = *parameter - rate * direction;
        }
        Ok(())
    }
}

impl Adam<f64> {
    /// The moments and the step count.
    #[must_use]
    pub fn save(&self) -> State {
        let mut state = State::new();
        state.insert_u64("steps", &[self.steps]);
        state.insert_f64("first_moment", &self.first_moment);
        state.insert_f64("second_moment", &self.second_moment);
        state
    }

    /// Goes on from saved moments.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing, of another length, or no moments that a search can have.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let length = self.first_moment.len();
        let steps = state.u64("steps", 1)?[0];
        let moments = |name: &str, fits: fn(&f64) -> bool, expected: &str| {
            let values = state.f64(name, length)?;
            match values.iter().find(|value| !fits(value)) {
                None => Ok(values.to_vec()),
                Some(wrong) => {
                    let problem = format!("holds {wrong}, expected {expected}");
                    Err(Error::State { name: name.to_owned(), problem })
                }
            }
        };
        let first_moment = moments("first_moment", |value| value.is_finite(), "finite numbers")?;
        let second_moment =
            moments("second_moment", |&value| value.is_finite() && value >= 0.0, "finite numbers of at least 0")?;
        (self.steps, self.first_moment, self.second_moment) = (steps, first_moment, second_moment);
        Ok(())
    }
}

/// Stochastic gradient descent with Nesterov momentum in its usual form.
///
/// # Formula
/// `v ← m v + g`, `x ← x − rate · (g + m v)`; plain gradient descent for momentum `m = 0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Nesterov<T> {
    momentum: T,
    velocity: Vec<T>,
}

impl<T: Float> Nesterov<T> {
    /// The optimiser for a vector of `length` parameters.
    ///
    /// # Errors
    /// [`Error::Setting`] unless the momentum is in `[0, 1)`.
    pub fn new(length: usize, momentum: T) -> Result<Self> {
        if !(momentum >= T::zero() && momentum < T::one()) {
            return Err(setting("momentum", "at least 0 and below 1", momentum));
        }
        Ok(Self { momentum, velocity: vec![T::zero(); length] })
    }

    /// The velocity `v`.
    #[must_use]
    pub fn velocity(&self) -> &[T] {
        &self.velocity
    }

    /// The velocity `v`, to restore a saved one.
    pub fn velocity_mut(&mut self) -> &mut [T] {
        &mut self.velocity
    }

    /// Descends along `gradient` with the given learning rate.
    ///
    /// # Errors
    /// [`Error::Length`] if parameters or gradient are not of the optimiser's length.
    pub fn step(&mut self, parameters: &mut [T], gradient: &[T], rate: T) -> Result<()> {
        check_lengths(self.velocity.len(), parameters, gradient)?;
        for ((parameter, &slope), velocity) in parameters.iter_mut().zip(gradient).zip(&mut self.velocity) {
            *velocity = self.momentum * *velocity + slope;
            *parameter = *parameter - rate * (slope + self.momentum * *velocity);
        }
        Ok(())
    }
}

fn check_lengths<T>(expected: usize, parameters: &[T], gradient: &[T]) -> Result<()> {
    for (what, got) in [("parameters", parameters.len()), ("gradient", gradient.len())] {
        if got != expected {
            return Err(Error::Length { what, expected, got });
        }
    }
    Ok(())
}

fn setting<T: Float>(name: &'static str, expected: &'static str, got: T) -> Error {
    Error::Setting { name, expected, got: got.to_f64().map_or_else(|| "NaN".into(), |value| value.to_string()) }
}

/// Adds weight decay to a gradient, `g ← g + decay · x`: the L2 penalty `decay/2 · ‖x‖²`.
///
/// # Errors
/// [`Error::Length`] if the lengths differ.
pub fn add_weight_decay<T: Float>(gradient: &mut [T], parameters: &[T], decay: T) -> Result<()> {
    check_lengths(parameters.len(), parameters, gradient)?;
    for (slope, &parameter) in gradient.iter_mut().zip(parameters) {
        *slope = *slope + decay * parameter;
    }
    Ok(())
}

/// Scales a gradient down to a global norm of at most `limit`; returns the norm before. It keeps its direction even where the
/// squares of finite numbers overflow.
///
/// # Errors
/// [`Error::Setting`] unless the limit is positive.
pub fn clip_norm<T: Float>(gradient: &mut [T], limit: T) -> Result<T> {
    if !(limit > T::zero()) {
        return Err(setting("limit of the gradient norm", "positive", limit));
    }
    let norm = euclidean_norm(gradient);
    if norm.is_infinite() && gradient.iter().all(|slope| slope.is_finite()) {
        let largest = gradient.iter().fold(T::zero(), |largest, slope| largest.max(slope.abs()));
        for slope in &mut *gradient {
            *slope = *slope / largest;
        }
        let scaled_norm = euclidean_norm(gradient);
        // An infinite limit takes nothing away.
        let factor = (limit / scaled_norm).min(largest);
        for slope in gradient {
            *slope = *slope * factor;
        }
        return Ok(largest * scaled_norm);
    }
    if norm > limit {
        let factor = limit / norm;
        for slope in gradient {
            *slope = *slope * factor;
        }
    }
    Ok(norm)
}

fn euclidean_norm<T: Float>(vector: &[T]) -> T {
    vector.iter().fold(T::zero(), |sum, &value| sum + value * value).sqrt()
}

/// The factor of the cosine schedule, `(cos(π t) + 1) / 2`: one at `t = 0`, zero at `t = 1`.
#[must_use]
pub fn cosine(schedule: f64) -> f64 {
    ((std::f64::consts::PI * schedule).cos() + 1.0) / 2.0
}
