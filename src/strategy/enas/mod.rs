//! ENAS (Pham et al., 2018): an LSTM controller chooses edge after edge and is trained by REINFORCE.
//!
//! `controller` is the LSTM with its forward and backward pass; here is how it proposes and learns.

mod controller;

use rand::{Rng, RngCore};

use self::controller::{Controller, Slopes, Trace};
use super::feedback::only;
use super::product::one_hot;
use super::theta::expect_finite;
use super::{Answer, Proposal, Rewards, Step, Strategy, Want};
use crate::error::{Error, Result};
use crate::estimator::MovingAverage;
use crate::optim::Adam;
use crate::policy::{draw, first_maximum};
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;

/// Largest LSTM layer: its weights take 1 GiB.
const MOST_UNITS: usize = 4096;

/// Hyperparameters of ENAS.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnasSettings {
    /// Units of the LSTM layer; the embeddings of the choices have as many.
    pub units: usize,
    /// Initial parameters are uniform on ± this.
    pub initial_range: f64,
    /// Logits are divided by this before the tanh.
    pub temperature: f64,
    /// Logits are the tanh times this.
    pub tanh_constant: f64,
    /// Weight of the entropy bonus.
    pub entropy_weight: f64,
    /// Learning rate of Adam, constant.
    pub learning_rate: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's ε.
    pub epsilon: f64,
    /// Decay of the moving average of the reward that serves as baseline.
    pub baseline_decay: f64,
}

impl Default for EnasSettings {
    fn default() -> Self {
        Self {
            units: 64,
            initial_range: 0.1,
            temperature: 5.0,
            tanh_constant: 2.5,
            entropy_weight: 1e-4,
            learning_rate: 3.5e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            baseline_decay: 0.95,
        }
    }
}

/// ENAS.
///
/// # Formula
/// `p(a) = Π_i p(a_i | a_1 … a_{i−1})`, every factor a softmax of `c · tanh(z_i / T)` with `z_i` from the LSTM's state. Ascends
/// `(r(a) − b) ∇ ln p(a) + β ∇ Σ_i H_i`, where `H_i` are the entropies of the factors along `a`, and `b` is the moving average of
/// earlier rewards. The first evaluation only starts the average: its weight is zero. Edges are chosen in the order of the search
/// space; the final architecture is decoded greedily.
#[derive(Clone, Debug)]
pub struct Enas {
    settings: EnasSettings,
    controller: Controller,
    adam: Adam<f64>,
    baseline: MovingAverage<f64>,
    trace: Trace,
    /// Whether `trace` is what the parameters give now.
    current: bool,
    /// The conditionals along the greedily decoded architecture, as the parameters give them now.
    greedy: Trace,
    slopes: Slopes,
    drawn: Architecture,
    rewards: Rewards,
    gradient: Vec<f64>,
}

impl Enas {
    /// ENAS over a search space, with initial parameters drawn from `rng`.
    ///
    /// # Errors
    /// [`Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, settings: EnasSettings, rng: &mut dyn RngCore) -> Result<Self> {
        if !(1..=MOST_UNITS).contains(&settings.units) {
            let name = "the number of LSTM units";
            return Err(Error::Setting { name, expected: "from 1 to 4096", got: settings.units.to_string() });
        }
        for (name, value, positive) in [
            ("the initial range of the controller", settings.initial_range, false),
            ("the temperature of the controller", settings.temperature, true),
            ("the tanh constant of the controller", settings.tanh_constant, true),
            ("the entropy weight of the controller", settings.entropy_weight, false),
            ("the learning rate of the controller", settings.learning_rate, false),
        ] {
            if !(value.is_finite() && (value > 0.0 || value == 0.0 && !positive)) {
                let expected = if positive { "finite and positive" } else { "finite and at least 0" };
                return Err(Error::Setting { name, expected, got: value.to_string() });
            }
        }
        let mut controller = Controller::new(shape, settings.units, settings.tanh_constant, settings.temperature);
        for parameter in controller.parameters_mut() {
            *parameter = settings.initial_range * (2.0 * rng.random::<f64>() - 1.0);
        }
        let length = controller.parameters().len();
        let mut enas = Self {
            adam: Adam::new(length, settings.beta1, settings.beta2, settings.epsilon)?,
            baseline: MovingAverage::new(settings.baseline_decay)?,
            trace: Trace::new(&controller),
            current: false,
            greedy: Trace::new(&controller),
            slopes: Slopes::new(&controller),
            drawn: Architecture::first(shape),
            rewards: Rewards::new(shape),
            gradient: vec![0.0; length],
            settings,
            controller,
        };
        enas.decode();
        Ok(enas)
    }

    /// Decodes greedily, after every change of the parameters.
    fn decode(&mut self) {
        self.controller.forward(&mut self.greedy, |_, probabilities| first_maximum(probabilities));
    }
}

impl Strategy for Enas {
    fn shape(&self) -> &Shape {
        self.controller.shape()
    }

    fn propose(&mut self, _step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.controller.forward(&mut self.trace, |_, probabilities| draw(rng, probabilities));
        self.current = true;
        self.drawn.choices_mut().copy_from_slice(self.trace.choices());
        proposal.set_one_hot(&self.drawn, Want::Loss)
    }

    fn learn(&mut self, _step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let Answer { proposal, feedback } = only(answers)?;
        const NAME: &str = "ENAS";
        feedback.rewards_into(NAME, proposal, &mut self.rewards)?;
        let architecture = one_hot(NAME, proposal)?;
        architecture.expect_in(self.controller.shape())?;
        // The activations of the last proposal, unless it came from elsewhere.
        if !self.current || architecture.choices() != self.trace.choices() {
            self.controller.forward(&mut self.trace, |edge, _| architecture.choice(edge));
        }
        self.current = false;
        let reward = self.rewards.reward;
        let baseline = self.baseline.value().copied().unwrap_or(reward);
        self.baseline.update(&reward);
        self.gradient.fill(0.0);
        let (weight, entropy_weight) = (reward - baseline, self.settings.entropy_weight);
        self.controller.backward(&self.trace, weight, entropy_weight, &mut self.slopes, &mut self.gradient);
        self.adam.step(self.controller.parameters_mut(), &self.gradient, self.settings.learning_rate)?;
        if let Some(&value) = self.controller.parameters().iter().find(|value| !value.is_finite()) {
            return Err(Error::NotFinite { what: "controller parameters", edge: 0, candidate: 0, value });
        }
        self.decode();
        Ok(())
    }

    fn probabilities_into(&self, out: &mut OpTable<f64>) {
        out.values_mut().copy_from_slice(self.greedy.probabilities().values());
    }

    fn mode_into(&self, out: &mut Architecture) {
        out.choices_mut().copy_from_slice(self.greedy.choices());
    }

    fn entropy(&self) -> f64 {
        self.greedy.entropy()
    }

    fn save(&self) -> State {
        let mut state = State::new();
        state.insert_f64("controller", self.controller.parameters());
        state.nest("adam", self.adam.save());
        state.insert_optional("baseline", &[self.baseline.value().copied()]);
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let length = self.controller.parameters().len();
        let parameters = state.f64("controller", length)?;
        expect_finite("controller", parameters)?;
        let baseline = state.optional("baseline", 1)?[0];
        self.adam.restore(&state.below("adam"))?;
        self.controller.parameters_mut().copy_from_slice(parameters);
        self.baseline.set(baseline);
        // What was computed with other parameters must not be taken for the next proposal's.
        self.current = false;
        self.decode();
        Ok(())
    }
}
