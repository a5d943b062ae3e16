//! What all strategies with a product policy share: the policy and the optimiser that ascends the reward.

use crate::error::{Error, Result};
use crate::optim::{Adam, add_weight_decay, clip_norm, cosine};
use crate::policy::Policy;
use crate::space::{OpTable, Shape};
use crate::state::State;
use crate::strategy::Step;

/// How the learning rate of `θ` changes over the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateSchedule {
    /// Always the same.
    Constant,
    /// Times `(cos(π · schedule) + 1) / 2`.
    Cosine,
}

/// Hyperparameters of the update of `θ` (Adam).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThetaSettings {
    /// Learning rate.
    pub learning_rate: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's ε, added to the corrected root of the second moment.
    pub epsilon: f64,
    /// L2 weight decay, added to the gradient before it is clipped.
    pub weight_decay: f64,
    /// Largest norm of the gradient over all edges; no clipping if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Change of the learning rate over the search.
    pub rate_schedule: RateSchedule,
}

impl ThetaSettings {
    /// The toy regression's (section 5.1): Adam, 0.001, β = (0.9, 0.999), constant.
    #[must_use]
    pub fn toy() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: None,
            rate_schedule: RateSchedule::Constant,
        }
    }
}

/// The policy with its optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Theta {
    settings: ThetaSettings,
    policy: Policy,
    adam: Adam<f64>,
    descent: Vec<f64>,
}

impl Theta {
    /// The policy at the start of a search.
    ///
    /// # Errors
    /// [`Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, settings: ThetaSettings) -> Result<Self> {
        for (name, value) in [
            ("the learning rate of theta", settings.learning_rate),
            ("the weight decay of theta", settings.weight_decay),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::Setting { name, expected: "finite and at least 0", got: value.to_string() });
            }
        }
        if let Some(limit) = settings.clip_norm
            && !(limit > 0.0)
        {
            let name = "the limit of theta's gradient norm";
            return Err(Error::Setting { name, expected: "positive", got: limit.to_string() });
        }
        let adam = Adam::new(shape.len(), settings.beta1, settings.beta2, settings.epsilon)?;
        Ok(Self { settings, policy: Policy::initial(shape), adam, descent: vec![0.0; shape.len()] })
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The policy, to start a search elsewhere.
    pub fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    /// One step up the estimated gradient of the reward, `[edges, candidates]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a gradient of another space, [`Error::NotFinite`] if a logit leaves the finite numbers.
    pub fn ascend(&mut self, step: &Step, gradient: &OpTable<f64>) -> Result<()> {
        self.policy.shape().expect("gradient estimate", gradient.shape())?;
        for (descent, ascent) in self.descent.iter_mut().zip(gradient.values()) {
            *descent = -ascent;
        }
        if self.settings.weight_decay != 0.0 {
            add_weight_decay(&mut self.descent, self.policy.logits().values(), self.settings.weight_decay)?;
        }
        if let Some(limit) = self.settings.clip_norm {
            clip_norm(&mut self.descent, limit)?;
        }
        let factor = match self.settings.rate_schedule {
            RateSchedule::Constant => 1.0,
            RateSchedule::Cosine => cosine(step.schedule),
        };
        let rate = self.settings.learning_rate * factor;
        let (adam, descent) = (&mut self.adam, &self.descent);
        let mut outcome = Ok(());
        self.policy.update(|logits| outcome = adam.step(logits.values_mut(), descent, rate))?;
        outcome
    }

    /// The logits and the optimiser's moments.
    #[must_use]
    pub fn save(&self) -> State {
        let mut state = State::new();
        state.insert_f64("logits", self.policy.logits().values());
        state.nest("adam", self.adam.save());
        state
    }

    /// Goes on from saved logits and moments.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing, does not fit or is not finite; nothing is changed then.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let logits = state.f64("logits", self.policy.shape().len())?;
        expect_finite("logits", logits)?;
        self.adam.restore(&state.below("adam"))?;
        self.policy.update(|values| values.values_mut().copy_from_slice(logits))
    }
}

/// Checks saved numbers.
pub(super) fn expect_finite(name: &str, values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let problem = format!("value {index} is {}, expected a finite number", values[index]);
            Err(Error::State { name: name.to_owned(), problem })
        }
    }
}
