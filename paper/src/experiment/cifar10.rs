//! Architecture search on CIFAR-10, section 5.2: a cell of NAS-Bench-201 is searched, and looked up in its table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use advantage_nas::network::Sgd;
use advantage_nas::network::nas_bench_201::{Candidates, Data, Images, PIXELS, Parent, Skeleton};
use advantage_nas::random::{Purpose, Streams};
use advantage_nas::search::{Plan, ProcessBest, Snapshot};
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Search, Shape, Supernet};
use advantage_nas_cpu::Compiled;
use advantage_nas_cpu::nas_bench_201::{self, Memory, NasBench201Network, NasBench201Supernet};
use advantage_nas_gpu::{Device, nas_bench_201 as on_device};
use rand::Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Conclusion, Estimate, Experiment, Pace, short};
use crate::build::Provenance;
use crate::data::Cache;
use crate::data::cifar10::Cifar10;
use crate::data::nas_bench_201::{Benchmark, Rank, Task};
use crate::device::{Backend, Build, Supernets};
use crate::error::{Error, Result};
use crate::run::log::float;
use crate::run::{Record, SearchRecord};
use crate::settings::Settings;
use crate::statistics::{kendall, mean, spearman};

/// The supernet on the CPU.
pub type Cifar10Network = NasBench201Supernet<f32>;
/// The supernet on a CUDA device.
pub type Cifar10OnDevice = on_device::NasBench201Supernet;
use on_device::NasBench201Network as NasBench201OnDevice;

/// The settings of the network, its data, and how long they are used: the table `[cifar10]` of a preset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cifar10Settings {
    /// Cells of each of the three stages.
    pub cells: usize,
    /// Channels of the first stage.
    pub channels: usize,
    /// Whether the zero operation is a candidate.
    pub zero: bool,
    /// Images of a minibatch.
    pub batch: usize,
    /// Training images used, the first of every class; one half is for `w`, the other for `θ`.
    pub images: usize,
    /// Test images used to evaluate the argmax cell with the shared weights, the first of every class.
    pub test_images: usize,
    /// Passes of the weights over their half.
    pub epochs: f64,
    /// Those of them before the first update of `θ`.
    pub warmup_epochs: f64,
    /// Random cells whose evaluation with the final weights is compared with the table.
    pub compared_cells: usize,
}

impl Cifar10Settings {
    /// The candidates of every edge.
    #[must_use]
    pub fn candidates(&self) -> Candidates {
        if self.zero { Candidates::with_zero() } else { Candidates::without_zero() }
    }

    /// The parent network.
    ///
    /// # Errors
    /// [`Error::Settings`] for sizes outside their range.
    pub fn parent(&self) -> Result<Parent> {
        let skeleton = Skeleton { cells: self.cells, channels: self.channels, ..Skeleton::paper() };
        Parent::new(skeleton, &self.candidates()).map_err(Error::Settings)
    }

    /// Updates of `w` in an epoch: not whole, minibatches run across the ends of epochs.
    #[must_use]
    pub fn steps_per_epoch(&self) -> f64 {
        (self.images / 2) as f64 / self.batch as f64
    }

    /// The steps of a search that looks at its argmax cell at every `interval`-th update of `θ`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a schedule or a minibatch that these images don't allow, and for an interval of 0.
    pub fn plan(&self, interval: u64) -> Result<Plan> {
        let Self { batch, images, epochs, warmup_epochs, .. } = *self;
        if interval == 0 {
            return Err(Error::Usage("interval must be at least 1, got 0".to_owned()));
        }
        let half = images / 2;
        if batch == 0 || batch > half {
            let problem =
                format!("cifar10.batch must be from 1 to {half}, half of cifar10.images = {images}, got {batch}");
            return Err(Error::Usage(problem));
        }
        // The steps are counted in whole numbers.
        let limit = 1e9;
        if !((0.0..=limit).contains(&warmup_epochs) && epochs > warmup_epochs && epochs <= limit) {
            return Err(Error::Usage(format!(
                "cifar10.warmup_epochs must be at least 0 and below cifar10.epochs, and those at most {limit}, got {warmup_epochs} \
                 and {epochs}"
            )));
        }
        let per_epoch = self.steps_per_epoch();
        let steps = |epochs: f64| (epochs * per_epoch).floor() as u64;
        let (warmup, iterations) = (steps(warmup_epochs), steps(epochs - warmup_epochs));
        if iterations == 0 {
            return Err(Error::Usage(format!(
                "cifar10.epochs = {epochs} with cifar10.warmup_epochs = {warmup_epochs} leaves no update of theta: an epoch has \
                 {per_epoch} of them"
            )));
        }
        Ok(Plan {
            warmup,
            iterations,
            interval,
            weight_steps_per_epoch: per_epoch,
            theta_steps_per_epoch: per_epoch,
            process_best: ProcessBest::ThetaSteps,
        })
    }
}

/// The steps of a search with these settings, if they make one; nothing is read or built for it.
///
/// # Errors
/// [`Error::Usage`] and [`Error::Settings`] for a schedule, a network, a minibatch or an optimiser that is none.
pub fn plan(settings: &Settings) -> Result<Plan> {
    let own: Cifar10Settings = settings.own()?;
    for (name, count, most) in
        [("cifar10.images", own.images, MOST_IMAGES), ("cifar10.test_images", own.test_images, MOST_TEST_IMAGES)]
    {
        check_count(name, count, 2 * CLASSES, most)?;
    }
    let plan = own.plan(settings.interval)?;
    settings.get::<Sgd>("weights")?.check().map_err(Error::Settings)?;
    let parent = own.parent()?;
    let streams = Streams::new(settings.seed);
    settings
        .method
        .build(parent.space(), &settings.method_settings, &streams, settings.trial)
        .map_err(Error::Settings)?;
    Ok(plan)
}

const CLASSES: usize = 10;
const MOST_IMAGES: usize = 50_000;
const MOST_TEST_IMAGES: usize = 10_000;

/// Checks a number of images; `unit` is that of the smallest set with equal halves of every class.
fn check_count(name: &str, count: usize, unit: usize, most: usize) -> Result<()> {
    if count == 0 || !count.is_multiple_of(unit) || count > most {
        let problem = format!("{name} must be a multiple of {unit} from {unit} to {most}, got {count}");
        return Err(Error::Usage(problem));
    }
    Ok(())
}

/// The images and the table, loaded once for all runs.
#[derive(Clone, Debug)]
pub struct CellSearch {
    /// The images.
    pub images: Cifar10,
    /// The table that cells are looked up in, where there is one.
    pub table: Option<Arc<Benchmark>>,
    /// Threads of every search; they change no number.
    pub threads: usize,
    /// Where the network runs.
    pub backend: Backend,
}

impl CellSearch {
    /// Loads the images, and the table if there is one.
    ///
    /// # Errors
    /// As [`Cifar10::load`]; as [`Benchmark::load`] for a table that is there and can't be used.
    pub fn load(data: &Path, cache: &Cache, threads: usize, backend: Backend) -> Result<Self> {
        let images = Cifar10::load(data, cache)?;
        let table = match Benchmark::load(data) {
            Ok(table) => Some(Arc::new(table)),
            Err(error @ Error::NoData { .. }) => {
                tracing::warn!("cells are not looked up in a table: {error}");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { images, table, threads, backend })
    }

    /// The images of a search.
    fn data(&self, settings: &Settings) -> Result<Data> {
        let own: Cifar10Settings = settings.own()?;
        let streams = Streams::new(settings.seed);
        let images = first_of_every_class(&self.images.training, own.images, "cifar10.images")?;
        let test = match &self.images.test {
            None => return Err(Error::Usage("the data set has no test images to evaluate cells with".to_owned())),
            Some(test) => first_of_every_class(test, own.test_images, "cifar10.test_images")?,
        };
        Data::new(images, Some(test), &streams).map_err(Error::Settings)
    }

    /// The supernet on the CPU before its first step. Searches are in single precision.
    ///
    /// # Errors
    /// [`Error::Settings`] and [`Error::Usage`] for settings that make none.
    pub fn supernet<T: Compiled>(&self, settings: &Settings) -> Result<NasBench201Supernet<T>> {
        let own: Cifar10Settings = settings.own()?;
        plan(settings)?;
        let (data, streams) = (self.data(settings)?, Streams::new(settings.seed));
        let parent = own.parent()?;
        nas_bench_201::supernet(parent, self.network_settings(settings)?, data, &streams, &[settings.trial])
            .map_err(Error::Settings)
    }

    /// The supernet of so many trials on a CUDA device, to be built where it lives.
    fn on_device(&self, settings: &Settings, trials: Vec<u32>) -> Result<Build> {
        let build = self.device_supernet(settings, trials)?;
        Ok(Box::new(move |device| Ok(Box::new(build(device)?))))
    }

    /// The same, for those who want to look into it.
    ///
    /// # Errors
    /// As [`CellSearch::supernet`].
    pub fn device_supernet(
        &self,
        settings: &Settings,
        trials: Vec<u32>,
    ) -> Result<impl FnOnce(&Device) -> advantage_nas::Result<Cifar10OnDevice> + Send + use<>> {
        let own: Cifar10Settings = settings.own()?;
        plan(settings)?;
        let (data, streams) = (self.data(settings)?, Streams::new(settings.seed));
        let (parent, weights) = (own.parent()?, settings.get("weights")?);
        let (activity, tf32) = (settings.method.activity(), self.backend.tf32());
        let settings = on_device::Settings { batch: own.batch, weights, activity, tf32 };
        Ok(move |device: &Device| on_device::supernet(device, parent, settings, data, &streams, &trials))
    }

    /// Makes sure that a device has room for the networks of searches, `at_once` of these at the same time.
    fn expect_room(&self, device: &Device, runs: &[&Settings], at_once: usize) -> Result<()> {
        let mut networks: BTreeMap<String, (&Settings, BTreeSet<u32>)> = BTreeMap::new();
        for settings in runs {
            let (_, trials) = networks.entry(Self::key(settings)?).or_insert((settings, BTreeSet::new()));
            trials.insert(settings.trial);
        }
        let needed = networks.values().map(|(settings, trials)| {
            let (own, weights) = (settings.own::<Cifar10Settings>()?, settings.get("weights")?);
            let images = own.images + own.test_images;
            let (activity, tf32) = (settings.method.activity(), self.backend.tf32());
            let network = on_device::Settings { batch: own.batch, weights, activity, tf32 };
            let memory = NasBench201OnDevice::memory_of(&own.parent()?, &network, trials.len())?;
            let images = NasBench201OnDevice::memory_of_images(images, own.batch, trials.len());
            Ok((memory.total() + images) as u64)
        });
        let mut needed = needed.collect::<Result<Vec<u64>>>()?;
        // The largest may meet.
        needed.sort_unstable_by(|one, other| other.cmp(one));
        needed.truncate(at_once);
        let what = match needed.len() {
            0 => return Ok(()),
            1 => "the network with its images".to_owned(),
            networks => format!("the {networks} networks at the same time with their images"),
        };
        device.expect_room(&what, needed.iter().sum()).map_err(Error::Device)
    }

    /// What searches have in common that may share a network.
    fn key(settings: &Settings) -> Result<String> {
        let own: Cifar10Settings = settings.own()?;
        let weights: Sgd = settings.get("weights")?;
        Ok(format!("{own:?}, {weights:?}, {}, seed {}", settings.method, settings.seed))
    }

    /// The memory that a search takes, beside the images.
    ///
    /// # Errors
    /// As [`CellSearch::supernet`].
    pub fn planned(&self, settings: &Settings) -> Result<Memory> {
        let own: Cifar10Settings = settings.own()?;
        Ok(NasBench201Network::<f32>::memory_of(&own.parent()?, &self.network_settings(settings)?, 1))
    }

    fn network_settings(&self, settings: &Settings) -> Result<nas_bench_201::Settings> {
        let own: Cifar10Settings = settings.own()?;
        let weights: Sgd = settings.get("weights")?;
        let activity = settings.method.activity();
        Ok(nas_bench_201::Settings { batch: own.batch, weights, activity, threads: self.threads })
    }

    /// The search of a supernet before its first step.
    ///
    /// # Errors
    /// As [`CellSearch::supernet`].
    pub fn search<S: Supernet>(settings: &Settings, supernet: S) -> Result<Search<S>> {
        super::search(settings, plan(settings)?, supernet)
    }

    /// What a run in a folder has found by its last checkpoint, finished or not, and how good that and so many random cells are with the
    /// weights of then. The run is locked meanwhile, and not changed.
    ///
    /// # Errors
    /// If there is no checkpoint, or it does not fit; [`Error::OtherData`] for other data than the run's.
    pub fn evaluate(&self, folder: &Path, settings: &Settings, compared_cells: usize) -> Result<Measured> {
        let (mut search, _) = super::at_checkpoint(folder, self, settings, Search::restore)?;
        let found = self.found(settings, &mut search, compared_cells)?;
        let (steps_done, steps) = (search.position(), search.steps());
        Ok(Measured { method: settings.method.to_string(), steps_done, steps, found })
    }

    fn found(&self, settings: &Settings, search: &mut Process, compared_cells: usize) -> Result<Found> {
        let candidates = settings.own::<Cifar10Settings>()?.candidates();
        let shape = search.supernet().space().shape().clone();
        let conclusion = Conclusion::of(search);
        let batch = Batch { trial: settings.trial, set: Set::Test, step: search.plan().iterations };
        let found = |architecture: &Architecture| -> Result<FoundCell> {
            let proposal = Proposal::one_hot(&shape, architecture, Want::Loss).map_err(Error::Search)?;
            let evaluation = search.supernet_mut().evaluate(&Request { batch, proposal })?;
            Ok(FoundCell {
                cell: self.cell(&candidates, architecture)?,
                supernet_test_loss: evaluation.loss,
                supernet_test_accuracy: evaluation.accuracy.unwrap_or(f64::NAN),
            })
        };
        let (argmax, best) = conclusion.each(found)?;
        let process_best = best.map(|(found, best)| BestCell { found, loss: best.loss, iteration: best.theta_steps });
        Ok(Found { argmax, process_best, comparison: self.comparison(settings, search, compared_cells)? })
    }

    /// Draws cells, the same for all methods of a seed and trial, and looks how the supernet's opinion of them goes with the table.
    fn comparison(&self, settings: &Settings, search: &mut Process, cells: usize) -> Result<Option<Comparison>> {
        let own: Cifar10Settings = settings.own()?;
        let Some(table) = self.table.as_ref().filter(|_| cells > 0) else { return Ok(None) };
        let (candidates, streams, trial) = (own.candidates(), Streams::new(settings.seed), settings.trial);
        let first_batch = search.plan().iterations;
        let minibatches = own.test_images.div_ceil(own.batch) as u64;
        let supernet = search.supernet_mut();
        let shape = supernet.space().shape().clone();
        let (mut known, mut accuracies, mut losses) = (Vec::new(), Vec::new(), Vec::new());
        for cell in 0..cells {
            let mut random = streams.at(Purpose::RandomArchitectures, trial, cell as u64);
            let architecture = random_architecture(&shape, &mut random)?;
            known.push(table.architecture(&candidates, &architecture)?.accuracy(Task::Cifar10));
            let proposal = Proposal::one_hot(&shape, &architecture, Want::Loss)?;
            let mut request = Request { batch: Batch { trial, set: Set::Test, step: 0 }, proposal };
            accuracies.push(supernet.evaluate(&request)?.accuracy.unwrap_or(f64::NAN));
            let mut sum = 0.0;
            for minibatch in 0..minibatches {
                // The same for every cell, with crops and flips that the search has not seen.
                request.batch = Batch { trial, set: Set::Validation, step: first_batch + minibatch };
                let mut feedback = Feedback::new(&shape);
                supernet.probe(std::slice::from_ref(&request), std::slice::from_mut(&mut feedback))?;
                sum += feedback.loss;
            }
            losses.push(sum / minibatches as f64);
        }
        let rewards: Vec<f64> = losses.iter().map(|loss| -loss).collect();
        Ok(Some(Comparison {
            cells,
            accuracy: Agreement::of(&accuracies, &accuracies, &known),
            loss: Agreement::of(&losses, &rewards, &known),
        }))
    }

    fn cell(&self, candidates: &Candidates, architecture: &Architecture) -> Result<Cell> {
        let cell = candidates.cell(architecture).map_err(Error::Settings)?;
        let cost = Skeleton::paper().cost(&cell).map_err(Error::Settings)?;
        let table = match &self.table {
            None => None,
            Some(table) => {
                let entry = table.cell(&cell)?;
                let tasks = Task::ALL.map(|task| Looked {
                    task: task.key().to_owned(),
                    test_accuracy: entry.accuracy(task),
                    rank: table.rank(entry, task),
                    rank_without_zero: table.rank_without_zero(entry, task),
                });
                Some(InTable { index: entry.index, tasks: tasks.to_vec() })
            }
        };
        Ok(Cell {
            cell: cell.to_string(),
            architecture: architecture.choices().to_vec(),
            table,
            parameters: cost.parameters,
            flops: cost.flops,
        })
    }
}

/// So many images, the same number of every class.
fn first_of_every_class(images: &Images, count: usize, name: &str) -> Result<Images> {
    let classes = images.classes().len();
    // Halves are drawn in every class.
    check_count(name, count, 2 * classes, images.len())?;
    if count == images.len() {
        return Ok(images.clone());
    }
    let mut left = vec![count / classes; classes];
    let mut labels = Vec::with_capacity(count);
    let mut pixels = Vec::with_capacity(count * PIXELS);
    for (index, &label) in images.labels().iter().enumerate() {
        let left = &mut left[usize::from(label)];
        if *left > 0 {
            *left -= 1;
            labels.push(label);
            pixels.extend_from_slice(images.image(index));
        }
    }
    if labels.len() < count {
        let problem = format!("{name} = {count}: some class has fewer than {} images", count / classes);
        return Err(Error::Usage(problem));
    }
    Images::new(pixels, labels, images.classes().to_vec()).map_err(Error::Settings)
}

/// What `result.json` says of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cifar10Result {
    /// `cifar10`.
    pub experiment: String,
    /// The preset.
    pub preset: String,
    /// The method.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// The trial.
    pub trial: u32,
    /// Updates of `w`.
    pub weight_steps: u64,
    /// Updates of `θ`.
    pub theta_steps: u64,
    /// The argmax cell at the end.
    pub argmax: FoundCell,
    /// The cell with the smallest minibatch loss of the updates of `θ`; absent for methods that never evaluate one.
    pub process_best: Option<BestCell>,
    /// How the supernet's opinion of random cells goes with the table; absent without a table, and if none were to be compared.
    pub comparison: Option<Comparison>,
    /// Entropy of the policy at the end, in nats.
    pub entropy: f64,
    /// Entropy of the uniform policy, in nats.
    pub largest_entropy: f64,
    /// Steps of the search.
    pub steps: u64,
    /// Time spent, in seconds.
    pub wall_seconds: f64,
    /// Steps per second of that time.
    pub steps_per_second: f64,
    /// What the run was finished with.
    pub provenance: Provenance,
}

/// A cell, and what the table has of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The cell as NAS-Bench-201 writes it.
    pub cell: String,
    /// Index of the candidate of every edge.
    pub architecture: Vec<usize>,
    /// What the table has; absent without a table.
    pub table: Option<InTable>,
    /// Parameters of the stand-alone network.
    pub parameters: u64,
    /// FLOPs of the stand-alone network for one image.
    pub flops: u64,
}

/// What the table has of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InTable {
    /// Its index.
    pub index: usize,
    /// On every data set.
    pub tasks: Vec<Looked>,
}

/// What the table has of a cell on one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// The data set.
    pub task: String,
    /// Mean test accuracy in percent.
    pub test_accuracy: f64,
    /// Its place among all cells.
    pub rank: Rank,
    /// Its place among those without the zero operation, if it is one of them.
    pub rank_without_zero: Option<Rank>,
}

impl Cell {
    /// Mean test accuracy on CIFAR-10 in the table, in percent.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        let tasks = &self.table.as_ref()?.tasks;
        tasks.iter().find(|looked| looked.task == Task::Cifar10.key()).map(|looked| looked.test_accuracy)
    }
}

/// A cell, and how good it is with the shared weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundCell {
    /// The cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// Its mean loss on the test images, with the shared weights.
    pub supernet_test_loss: f64,
    /// Fraction of the test images that it classifies correctly, with the shared weights.
    pub supernet_test_accuracy: f64,
}

/// The process best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestCell {
    /// The cell.
    #[serde(flatten)]
    pub found: FoundCell,
    /// Its minibatch loss when it was seen.
    pub loss: f64,
    /// Updates of `θ` before it was seen.
    pub iteration: u64,
}

/// What a search has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The argmax cell.
    pub argmax: FoundCell,
    /// The process best; absent for methods that never evaluate a single cell.
    pub process_best: Option<BestCell>,
    /// How the supernet's opinion of random cells goes with the table; absent without a table, and if none were to be compared.
    pub comparison: Option<Comparison>,
}

/// What a run has found by its last checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The method.
    pub method: String,
    /// Steps that the run has done.
    pub steps_done: u64,
    /// Steps of the run.
    pub steps: u64,
    /// The cells, with the weights of then.
    #[serde(flatten)]
    pub found: Found,
}

/// The supernet's opinion of cells that were drawn uniformly, beside their test accuracy on CIFAR-10 in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Number of cells.
    pub cells: usize,
    /// By the fraction of the test images that they classify correctly.
    pub accuracy: Agreement,
    /// By the mean loss on minibatches of the half for `θ`, of as many images: what the updates of `θ` see. Correlations are those of
    /// minus the loss.
    pub loss: Agreement,
}

/// How two orders of cells agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Spearman's rank correlation; absent if all cells are equal.
    pub spearman: Option<f64>,
    /// Kendall's rank correlation `τ_b`; absent if all cells are equal.
    pub kendall: Option<f64>,
    /// Mean of the supernet's numbers.
    pub mean: f64,
    /// The smallest of them.
    pub least: f64,
    /// The largest of them.
    pub most: f64,
}

impl Agreement {
    /// Of numbers, the order that they stand for, and the table.
    fn of(numbers: &[f64], order: &[f64], table: &[f64]) -> Self {
        Self {
            spearman: spearman(order, table),
            kendall: kendall(order, table),
            mean: mean(numbers),
            least: numbers.iter().copied().fold(f64::INFINITY, f64::min),
            most: numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// An architecture, uniform over those of a space.
pub(crate) fn random_architecture(shape: &Shape, random: &mut impl Rng) -> Result<Architecture> {
    let choices: Vec<usize> = (0..shape.edges()).map(|edge| random.random_range(0..shape.candidates(edge))).collect();
    Ok(Architecture::new(shape, choices)?)
}

/// A search, wherever its network is.
type Process = Search<Box<dyn Supernet>>;

impl Experiment for CellSearch {
    type Process = Process;
    type Shared = Supernets;
    type Record = Watched;
    type Outcome = Cifar10Result;

    fn share(&self, runs: &[&Settings], at_once: usize) -> Result<Supernets> {
        if let Backend::Cuda { device, .. } = &self.backend {
            self.expect_room(device, runs, at_once)?;
        }
        Supernets::new(&self.backend, runs, Self::key, |settings, trials| self.on_device(settings, trials))
    }

    fn build(&self, settings: &Settings, supernets: &Supernets) -> Result<Self::Process> {
        let seat =
            supernets.seat(&Self::key(settings)?, settings, |settings, trials| self.on_device(settings, trials))?;
        match seat {
            None => Self::search(settings, Box::new(self.supernet::<f32>(settings)?)),
            Some(seat) => Self::search(settings, Box::new(seat)),
        }
    }

    fn steps(&self, settings: &Settings) -> Result<u64> {
        Ok(plan(settings)?.steps(true))
    }

    fn record(&self, settings: &Settings, _process: &Self::Process) -> Result<Watched> {
        let candidates = settings.own::<Cifar10Settings>()?.candidates();
        Ok(Watched { candidates, table: self.table.clone(), shown: None })
    }

    fn shared_memory(&self) -> usize {
        let images = &self.images;
        (images.training.len() + images.test.as_ref().map_or(0, Images::len)) * PIXELS
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn provenance(&self) -> Provenance {
        self.backend.provenance()
    }

    fn memory(&self, settings: &Settings) -> Result<usize> {
        let own: Cifar10Settings = settings.own()?;
        let planned = self.planned(settings)?;
        if matches!(self.backend, Backend::Cuda { .. }) {
            // Checkpoints pass through this machine's memory.
            return Ok(4 * planned.parameters + (own.images + own.test_images) * PIXELS);
        }
        // Weights and velocities, as numbers and as the bytes of the file.
        let checkpoint = 4 * planned.parameters;
        Ok(planned.total() + checkpoint + (own.images + own.test_images) * PIXELS)
    }

    fn estimate(&self, settings: &Settings) -> Result<Option<Estimate>> {
        if matches!(self.backend, Backend::Cuda { .. }) {
            // It would need the memory of another network on the device.
            return Ok(None);
        }
        let own: Cifar10Settings = settings.own()?;
        let plan = plan(settings)?;
        let build = |plan| super::search(settings, plan, self.supernet::<f32>(settings)?);
        let pace = Pace::of_search(plan, settings.trial, build)?;
        let rows = plan.iterations.div_ceil(plan.interval) + 1;
        // Two final cells; every compared cell twice.
        let compared = if self.table.is_some() { own.compared_cells } else { 0 };
        let evaluations = rows as f64 + 2.0 + 2.0 * compared as f64;
        let weight_steps = plan.warmup + plan.iterations;
        Ok(Some(Estimate {
            seconds: weight_steps as f64 * pace.weights
                + plan.iterations as f64 * pace.theta
                + evaluations * pace.evaluation,
            detail: format!(
                "{weight_steps} updates of w of {}, {} of theta of {}, {rows} evaluations of {}",
                short(pace.weights),
                plan.iterations,
                short(pace.theta),
                short(pace.evaluation)
            ),
        }))
    }

    fn data(&self) -> Table {
        let mut data = Table::new();
        let mut set = |name: &str, md5: &str| {
            data.insert(name.to_owned(), md5.to_owned().into());
        };
        set("cifar10_images_md5", &self.images.source.images_md5);
        set("nas_bench_201_md5", self.table.as_ref().map_or("absent", |table| table.md5()));
        data
    }

    fn outcome(
        &self,
        settings: &Settings,
        search: &mut Self::Process,
        _record: &Watched,
        wall_seconds: f64,
    ) -> Result<Cifar10Result> {
        let own: Cifar10Settings = settings.own()?;
        let plan = *search.plan();
        let Conclusion { entropy, largest_entropy, .. } = Conclusion::of(search);
        let Found { argmax, process_best, comparison } = self.found(settings, search, own.compared_cells)?;
        let steps = search.steps();
        Ok(Cifar10Result {
            experiment: settings.experiment.name().to_owned(),
            preset: settings.preset.clone(),
            method: settings.method.to_string(),
            seed: settings.seed,
            trial: settings.trial,
            weight_steps: plan.warmup + plan.iterations,
            theta_steps: plan.iterations,
            argmax,
            process_best,
            comparison,
            entropy,
            largest_entropy,
            steps,
            wall_seconds,
            steps_per_second: steps as f64 / wall_seconds.max(f64::MIN_POSITIVE),
            provenance: self.provenance(),
        })
    }
}

/// What is recorded: how good the argmax cell is, with the shared weights and in the table.
#[derive(Clone, Debug)]
pub struct Watched {
    candidates: Candidates,
    table: Option<Arc<Benchmark>>,
    shown: Option<String>,
}

impl Record for Watched {
    fn columns(&self) -> Vec<&'static str> {
        vec!["iteration", "weight_steps", "loss", "test_loss", "test_accuracy", "table_accuracy", "entropy"]
    }

    fn message(&self) -> String {
        self.shown.clone().unwrap_or_default()
    }
}

impl SearchRecord for Watched {
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Vec<String> {
        let evaluation = snapshot.evaluation;
        let accuracy = evaluation.accuracy.unwrap_or(f64::NAN);
        let table = self.table.as_ref().and_then(|table| table.architecture(&self.candidates, snapshot.mode).ok());
        let table = table.map(|entry| entry.accuracy(Task::Cifar10));
        let loss = snapshot.loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.3}"));
        let looked_up = table.map_or_else(String::new, |table| format!(", argmax cell {table:.2} % in the table"));
        self.shown = Some(format!(
            "loss {loss}, test accuracy {:.1} %{looked_up}, entropy {:.2}",
            100.0 * accuracy,
            snapshot.entropy
        ));
        vec![
            snapshot.theta_steps.to_string(),
            snapshot.weight_steps.to_string(),
            snapshot.loss.map(float).unwrap_or_default(),
            float(evaluation.loss),
            float(accuracy),
            table.map(float).unwrap_or_default(),
            float(snapshot.entropy),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;
    use advantage_nas::optim::cosine;
    use advantage_nas::strategy::{RateSchedule, StepKind};

    /// Section 5.2 and the authors' public implementation: 100 epochs of 25 000/64 = 390.625 updates, θ fixed for 50 of them.
    #[test]
    fn the_full_preset_is_the_papers() {
        let settings = Settings::resolve(settings::Experiment::Cifar10, Some("full"), &[]).unwrap();
        let own: Cifar10Settings = settings.own().unwrap();
        assert_eq!((own.cells, own.channels, own.batch, own.images, own.zero), (5, 16, 64, 50_000, false));
        let plan = plan(&settings).unwrap();
        assert_eq!((plan.warmup, plan.iterations, plan.warmup + plan.iterations), (19_531, 19_531, 39_062));
        assert_eq!(plan.process_best, ProcessBest::ThetaSteps);
        assert_eq!(plan.steps(true), 58_593);

        let weights: Sgd = settings.get("weights").unwrap();
        let expected = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, clip_norm: 1.0 };
        assert_eq!(weights, expected);
        let theta = settings.method_settings.theta;
        assert_eq!((theta.learning_rate, theta.beta1, theta.beta2, theta.epsilon), (3e-4, 0.5, 0.999, 1e-8));
        assert_eq!((theta.weight_decay, theta.clip_norm), (3e-3, Some(1.0)));
        assert_eq!(theta.rate_schedule, RateSchedule::Cosine);
        assert_eq!(settings.method_settings.parsec.samples, 8);

        // The rate of w is that of its whole epoch of all 100, at the first and last updates of some; θ's of the 50 that have it.
        let step = |position: u64| plan.step(true, position);
        for (update, epoch) in [(0, 0.0), (390, 0.0), (391, 1.0), (19_530, 49.0)] {
            assert_eq!(step(update).kind, StepKind::Warmup);
            assert!((step(update).schedule - epoch / 100.0).abs() <= 2e-5, "update {update}");
        }
        // Update 50 · 390.625 = 19 531.25 of w is the first of epoch 50: the very first in turn with θ still is of epoch 49.
        for (update, epoch) in [(19_531, 49.0), (19_532, 50.0), (39_061, 99.0)] {
            let position = 19_531 + 2 * (update - 19_531);
            assert_eq!(step(position).kind, StepKind::Weights);
            assert!((step(position).schedule - epoch / 100.0).abs() <= 2e-5, "update {update}");
        }
        for (update, epoch) in [(0, 0.0), (390, 0.0), (391, 1.0), (19_530, 49.0)] {
            let position = 19_531 + 2 * update + 1;
            assert_eq!(step(position).kind, StepKind::Theta);
            assert!((step(position).schedule - epoch / 50.0).abs() <= 2e-5, "update {update}");
        }
        // Half of the way, (cos(π/2) + 1)/2.
        assert!((weights.rate(step(19_531 + 2).schedule) - 0.05).abs() <= 1e-5);
        assert!((cosine(step(19_531 + 2 * 9_766 + 1).schedule) - 0.5).abs() <= 1e-4);
    }
}
