//! `advnas gpu`: are the CUDA kernels right on this device, and how fast are they?

use std::process::ExitCode;

use advantage_nas::Supernet;
use advantage_nas::comparison::Comparison;
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::strategy::Activity;
use advantage_nas_gpu::check::toy;
use advantage_nas_gpu::measure::{self, Timing, Work};
use advantage_nas_gpu::model::{self, Assumption, H100, Prediction, Step};
use advantage_nas_gpu::probe::{self, Effort, Measurement};
use advantage_nas_gpu::{Device, check, device};
use clap::{Args, Subcommand, value_parser};
use serde_json::{Value, json};

use super::print;
use crate::build::Provenance;
use crate::device::{Backend, Choice};
use crate::error::Error;
use crate::settings::{Experiment, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Compare every kernel and every supernet with the CPU; exit code 0 only if all agree
    Check(CheckArguments),
    /// Time every kernel and whole steps
    Time(TimeArguments),
    /// Measure what the predictions assume of a device: launches, rates, bandwidths, clock
    Probe(ProbeArguments),
    /// Predict the times of every kernel and of whole steps on an H100; no device is needed
    Model(ModelArguments),
}

#[derive(Debug, Args)]
struct Common {
    /// The device: cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = Choice::Cuda(0))]
    device: Choice,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    common: Common,
    /// Steps of the searches that are compared, with every method
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u64).range(1..=1_000_000))]
    steps: u64,
    /// Small networks only
    #[arg(long)]
    small: bool,
}

#[derive(Debug, Args)]
pub(super) struct TimeArguments {
    #[command(flatten)]
    common: Common,
    /// Trials that are answered together
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,10,100,1000",
          value_parser = value_parser!(u32).range(1..=10_000))]
    trials: Vec<u32>,
    /// How often each time is taken
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=100_000))]
    times: u32,
    /// A small network
    #[arg(long)]
    small: bool,
}

#[derive(Debug, Args)]
pub(super) struct ProbeArguments {
    #[command(flatten)]
    common: Common,
    /// Next to nothing, for a software device
    #[arg(long)]
    small: bool,
}

#[derive(Debug, Args)]
pub(super) struct ModelArguments {
    /// Trials that are answered together
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,10,100,1000",
          value_parser = value_parser!(u32).range(1..=10_000))]
    trials: Vec<u32>,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

/// The most comparisons that are shown with their differences.
const SHOWN: usize = 20;

const SMALL: Toy = Toy { edges: 3, candidates: 4, batch: 33 };

pub(super) fn run(action: &Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Check(arguments) => check(arguments),
        Action::Time(arguments) => time(arguments),
        Action::Probe(arguments) => probe(arguments),
        Action::Model(arguments) => model(arguments),
    }
}

fn open(common: &Common) -> anyhow::Result<(Device, Provenance)> {
    let backend = Backend::open(common.device)?;
    let provenance = backend.provenance();
    match backend {
        Backend::Cuda(device) => Ok((device, provenance)),
        Backend::Cpu => Err(Error::Usage(format!("--device {} is no CUDA device", common.device)).into()),
    }
}

fn check(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let (device, provenance) = open(&arguments.common)?;
    let mut sizes = toy::SIZES.to_vec();
    if !arguments.small {
        sizes.push(Toy::paper());
    }
    let double = |toy: Toy, streams: &Streams, trials: &[u32]| -> advantage_nas::Result<Box<dyn Supernet>> {
        Ok(Box::new(advantage_nas_cpu::toy::ToySupernet::<f64>::new(toy, streams, trials)?))
    };
    let single = |toy: Toy, streams: &Streams, trials: &[u32]| -> advantage_nas::Result<Box<dyn Supernet>> {
        Ok(Box::new(advantage_nas_cpu::toy::ToySupernet::<f32>::new(toy, streams, trials)?))
    };
    let searched = if arguments.small { SMALL } else { Toy::paper() };
    let done = |checks: advantage_nas_gpu::Result<Vec<Comparison>>| checks.map_err(Error::Device);
    let groups = [
        ("probes", done(check::probe::kernels(&device))?),
        ("kernels", done(toy::kernels(&device, &sizes))?),
        ("supernets", done(toy::supernet(&device, &sizes, &double))?),
        ("searches", done(toy::searches(&device, searched, &[0, 1], arguments.steps, &single))?),
    ];
    let failed = groups.iter().flat_map(|(_, checks)| checks).filter(|check| !check.passed).count();
    if arguments.common.json {
        let groups: serde_json::Map<String, Value> =
            groups.iter().map(|(name, checks)| ((*name).to_owned(), json!(checks))).collect();
        let whole = json!({
            "passed": failed == 0, "device": device.info(), "checks": groups, "provenance": provenance,
        });
        print(&format!("{whole:#}\n"))?;
    } else {
        let mut out = format!("{}\n\n", provenance.device);
        for (name, checks) in &groups {
            let worst = checks.iter().map(|check| check.worst.unwrap_or(f64::INFINITY)).fold(0.0, f64::max);
            let passed = checks.iter().filter(|check| check.passed).count();
            let count = checks.len();
            out.push_str(&format!(
                "{name:<10} {passed} of {count} agree, largest difference {worst:.2} of the allowed\n"
            ));
        }
        for check in groups.iter().flat_map(|(_, checks)| checks).filter(|check| !check.passed).take(SHOWN) {
            out.push_str(&format!("\n{check}\n"));
        }
        if failed > SHOWN {
            out.push_str(&format!("\nand {} more\n", failed - SHOWN));
        }
        print(&out)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn time(arguments: &TimeArguments) -> anyhow::Result<ExitCode> {
    let (device, provenance) = open(&arguments.common)?;
    let network = if arguments.small { SMALL } else { Toy::paper() };
    let mut timings: Vec<Timing> = Vec::new();
    for &trials in &arguments.trials {
        let times = arguments.times as usize;
        timings.extend(measure::toy(&device, network, trials as usize, times).map_err(Error::Device)?);
    }
    let steps: Vec<Step> = arguments.trials.iter().flat_map(|&trials| toy_steps(network, trials as usize)).collect();
    if arguments.common.json {
        let predictions: Vec<Option<f64>> = timings.iter().map(|timing| predicted(&steps, timing)).collect();
        let usage =
            device::compile::usage(&advantage_nas_gpu::kernels::toy::SOURCE, &device.info().architecture(), &[]);
        let whole = json!({
            "device": device.info(),
            "peak_flops": device.info().peak_flops(),
            "peak_bandwidth": device.info().peak_bandwidth(),
            "toy": network,
            "timings": timings,
            "second_level_cache": "warm",
            "predicted_us": predictions,
            "registers": usage.ok(),
            "provenance": provenance,
        });
        print(&format!("{whole:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!("{}\n\n", provenance.device);
    let row = |[what, trials, median, predicted, share, rate, peak]: [&str; 7]| {
        format!("{what:<34} {trials:>6} {median:>12} {predicted:>12} {share:>12} {rate:>14} {peak:>7}\n")
    };
    out.push_str(&row(["what", "trials", "median us", "predicted us", "us/trial", "rate", "of peak"]));
    for timing in &timings {
        let (amount, unit, peak) = match timing.work {
            Work::Flop(flop) => (flop, "GFLOP/s", device.info().peak_flops()),
            Work::Bytes(bytes) => (bytes, "GB/s   ", device.info().peak_bandwidth()),
        };
        let rate = amount as f64 / timing.median_us * 1e6;
        let of_peak = peak.map_or_else(|| "-".to_owned(), |peak| format!("{:.1} %", 100.0 * rate / peak));
        out.push_str(&row([
            &timing.what,
            &timing.trials.to_string(),
            &format!("{:.1}", timing.median_us),
            &predicted(&steps, timing).map_or_else(|| "-".to_owned(), |time| format!("{time:.1}")),
            &format!("{:.2}", timing.median_us / timing.trials as f64),
            &format!("{:.1} {unit}", rate * 1e-9),
            &of_peak,
        ]));
    }
    out.push_str(
        "\nkernels: device time between events, the second-level cache warm; steps: wall time, copies included; ",
    );
    out.push_str(&format!("predicted: `advnas gpu model`, for an {}\n", H100.name));
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn probe(arguments: &ProbeArguments) -> anyhow::Result<ExitCode> {
    let (device, provenance) = open(&arguments.common)?;
    let effort = if arguments.small { Effort::SMALL } else { Effort::WHOLE };
    let measured = probe::measure(&device, effort).map_err(Error::Device)?;
    if arguments.common.json {
        let whole = json!({
            "device": device.info(), "assumed_of": H100.name, "measurements": measured, "provenance": provenance,
        });
        print(&format!("{whole:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!("{}\n\n", provenance.device);
    out.push_str(&format!("{:<38} {:>10} {:>10}\n", "what", "measured", "assumed"));
    for Measurement { what, value, unit, assumed } in measured {
        let assumed = assumed.map_or_else(|| "-".to_owned(), |assumed| format!("{assumed:.3e}"));
        out.push_str(&format!("{what:<38} {value:>10.3e} {assumed:>10} {unit}\n"));
    }
    out.push_str(&format!("\nassumed: `advnas gpu model`, of an {}\n", H100.name));
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// The steps of the toy regression that are predicted.
fn toy_steps(network: Toy, trials: usize) -> Vec<Step> {
    let gradients =
        [Activity::One, Activity::Two, Activity::All].map(|activity| model::toy::gradient(network, trials, activity));
    gradients.into_iter().chain([model::toy::removals(network, trials)]).collect()
}

/// What the model says of a time that was taken, in microseconds.
fn predicted(steps: &[Step], timing: &Timing) -> Option<f64> {
    let mut steps = steps.iter().filter(|step| step.trials == timing.trials);
    steps.find_map(|step| {
        let kernel = || step.kernels.iter().find(|work| work.what == timing.what);
        if step.what == timing.what {
            Some(step.microseconds(&H100))
        } else {
            Some(H100.predict(kernel()?).microseconds)
        }
    })
}

/// A network whose times are predicted.
struct Predicted {
    /// As experiments are called.
    name: &'static str,
    /// In words.
    what: &'static str,
    steps: Vec<Step>,
    /// Such steps of a search.
    iterations: u64,
}

/// All networks whose kernels have a model.
fn predicted_networks(trials: &[u32]) -> Result<Vec<Predicted>, Error> {
    let steps = trials.iter().flat_map(|&trials| toy_steps(Toy::paper(), trials as usize)).collect();
    let iterations = Settings::resolve(Experiment::Toy, None, &[])?.get("iterations")?;
    Ok(vec![Predicted { name: "toy", what: "toy regression, the paper's size", steps, iterations }])
}

fn model(arguments: &ModelArguments) -> anyhow::Result<ExitCode> {
    let networks = predicted_networks(&arguments.trials)?;
    if arguments.json {
        let kernel = |work: &model::Work| json!({ "work": work, "predicted": H100.predict(work) });
        let step = |step: &Step| {
            let kernels: Vec<Value> = step.kernels.iter().map(kernel).collect();
            json!({ "what": step.what, "trials": step.trials, "microseconds": step.microseconds(&H100), "kernels": kernels })
        };
        let mut whole = json!({ "device": H100.name, "assumptions": H100.assumptions() });
        for network in &networks {
            whole[network.name] = network.steps.iter().map(step).collect();
        }
        print(&format!("{whole:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!("{}: predicted from shapes, nothing is measured\n\nassumed\n", H100.name);
    for Assumption { what, value, unit, source } in H100.assumptions() {
        let value = if value.abs() < 1e4 && value.abs() >= 1.0 { format!("{value}") } else { format!("{value:.2e}") };
        out.push_str(&format!("  {what:<36} {value:>8} {unit:<32} {source}\n"));
    }
    networks.iter().for_each(|network| out.push_str(&network.table()));
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

impl Predicted {
    /// Kernels and steps, then searches.
    fn table(&self) -> String {
        let Self { what, steps, iterations, .. } = self;
        let mut out = format!("\n{what}\n");
        let row = |[what, trials, fp32, integers, l2, bound, time, share]: [&str; 8]| {
            format!("{what:<34} {trials:>6} {fp32:>10} {integers:>10} {l2:>10} {bound:>9} {time:>11} {share:>10}\n")
        };
        out.push_str(&row(["what", "trials", "FP32", "integers", "L2 bytes", "bound", "us", "us/trial"]));
        for step in steps {
            let line = |what: &str, amounts: [f64; 3], bound: &str, time: f64| {
                let [fp32, integers, l2] = amounts.map(|amount| format!("{amount:.2e}"));
                let (trials, share) = (step.trials.to_string(), format!("{:.2}", time / step.trials as f64));
                row([what, &trials, &fp32, &integers, &l2, bound, &format!("{time:.1}"), &share])
            };
            for work in &step.kernels {
                let Prediction { microseconds, bound, .. } = H100.predict(work);
                out.push_str(&line(&work.what, [work.fp32, work.integers, work.l2_bytes], bound.name(), microseconds));
            }
            let sum = |amount: &dyn Fn(&model::Work) -> f64| step.kernels.iter().map(amount).sum::<f64>();
            let amounts = [sum(&|work| work.fp32), sum(&|work| work.integers), sum(&|work| work.l2_bytes)];
            out.push_str(&line(&step.what, amounts, "", step.microseconds(&H100)));
        }
        out.push_str(&format!("\nsearches of it, {iterations} such steps\n"));
        for step in steps {
            let seconds = 1e-6 * step.microseconds(&H100) * *iterations as f64;
            let (what, trials) = (&step.what, step.trials);
            out.push_str(&format!(
                "{what:<34} {trials:>6} {seconds:>10.2} s, {:.4} s per trial\n",
                seconds / trials as f64
            ));
        }
        out
    }
}
