//! What one trial learns: its weights and the running statistics of batch norms.

use advantage_nas::Result;
use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::{Parameter, initial_values};
use advantage_nas::random::Streams;
use advantage_nas::state::State;

use crate::Element;
use crate::layer::{LANES, blocks};
use crate::weights::{Packing, Update, Weights};

/// Pixels whose squares are added up at once, see [`Update`].
const NORM_STRIP: usize = 128;

/// How the layers read a parameter: channels in blocks of [`LANES`].
pub(super) fn packing(parameter: &Parameter) -> Packing {
    match *parameter.shape {
        [outputs, inputs, height, width] => Packing::Filters { outputs, inputs, height, width },
        [rows, columns] => Packing::Rows { rows, columns },
        _ => Packing::Vector { length: parameter.len() },
    }
}

/// Running mean and variance of a batch norm.
#[derive(Clone, Debug)]
pub(super) struct RunningStatistics {
    channels: usize,
    pub(super) mean: Vec<f64>,
    pub(super) variance: Vec<f64>,
}

/// Everything that a trial learns.
#[derive(Clone, Debug)]
pub struct Learned<T> {
    pub(super) weights: Weights<T>,
    pub(super) running: Vec<RunningStatistics>,
}

impl<T: Element> Learned<T> {
    pub(super) fn new(parent: &Parent, streams: &Streams, trial: u32) -> Self {
        let packings = parent.parameters().iter().map(packing).collect();
        let mut weights = Weights::new(packings, Update { momentum: true, strip: NORM_STRIP });
        weights.initialize(initial_values(parent.parameters(), streams, trial));
        let running = parent.running().iter().map(|running| {
            let length = blocks(running.channels) * LANES;
            // Lanes beyond the channels keep variance 1 and mean 0.
            RunningStatistics { channels: running.channels, mean: vec![0.0; length], variance: vec![1.0; length] }
        });
        Self { weights, running: running.collect() }
    }

    /// Saves the running statistics.
    pub(super) fn save_running(&self, state: &mut State) {
        for (index, running) in self.running.iter().enumerate() {
            state.insert_f64(format!("running.{index}.mean"), &running.mean[..running.channels]);
            state.insert_f64(format!("running.{index}.variance"), &running.variance[..running.channels]);
        }
    }

    /// Restores the running statistics.
    ///
    /// # Errors
    /// [`Error::State`](advantage_nas::Error::State) if something is missing or does not fit; nothing is changed then.
    pub(super) fn restore_running(&mut self, state: &State) -> Result<()> {
        let mut restored = self.running.clone();
        for (index, running) in restored.iter_mut().enumerate() {
            let channels = running.channels;
            let mean = state.f64(&format!("running.{index}.mean"), channels)?;
            running.mean[..channels].copy_from_slice(mean);
            let variance = state.f64(&format!("running.{index}.variance"), channels)?;
            running.variance[..channels].copy_from_slice(variance);
        }
        self.running = restored;
        Ok(())
    }
}
