//! `advnas gpu time`: how long does it take, beside what the model predicts?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use advantage_nas::network::toy::Toy;
use advantage_nas_gpu::Device;
use advantage_nas_gpu::device::{self, Source};
use advantage_nas_gpu::kernels::{self, nas_bench_201 as kernels_of_cells};
use advantage_nas_gpu::measure::{self, Timing, Work, nas_bench_201 as cifar10};
use advantage_nas_gpu::model::nas_bench_201::{Arithmetic, Asked, Cells, Mean};
use advantage_nas_gpu::model::{H100, Step};
use anyhow::Context;
use clap::{Args, value_parser};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Common, Networks, SMALL, model, open};
use crate::command::print;
use crate::error::Error;

#[derive(Debug, Args)]
pub(in crate::command) struct TimeArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    networks: Networks,
    /// How often each time is taken
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=100_000))]
    times: u32,
    /// A small network
    #[arg(long)]
    small: bool,
    /// Times of other programs, a JSON line each as `gpu/peers/cifar_torch.py` prints them: how many times as fast is ours?
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
}

/// The time of another program's step, of one trial.
#[derive(Clone, Debug, Deserialize)]
struct Peer {
    program: String,
    variant: String,
    /// How it multiplies: `fp32` or `tf32`.
    mode: String,
    /// The step, as ours is called.
    what: String,
    median_ms: f64,
}

/// How ours multiplies, as peers call it.
const MODE: &str = "fp32";

/// A step beside another program's in the same mode.
#[derive(Clone, Debug, Serialize)]
struct Ratio {
    what: String,
    trials: usize,
    peer: String,
    mode: &'static str,
    /// Its time over a trial's share of ours.
    times_as_fast: f64,
}

/// Lines of other programs, of which those of other kinds of steps say nothing here.
fn peers(file: &Path) -> anyhow::Result<Vec<Peer>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn ratios(timings: &[Timing], peers: &[Peer]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for timing in timings {
        for peer in peers.iter().filter(|peer| peer.what == timing.what && peer.mode == MODE) {
            ratios.push(Ratio {
                what: timing.what.clone(),
                trials: timing.trials,
                peer: format!("{}, {}", peer.program, peer.variant),
                mode: MODE,
                times_as_fast: 1e3 * peer.median_ms * timing.trials as f64 / timing.median_us,
            });
        }
    }
    ratios
}

/// A network's times.
struct Times {
    timings: Vec<Timing>,
    /// What the model says of each, in microseconds.
    predicted: Vec<Option<f64>>,
    /// Registers of its kernels.
    registers: Value,
}

impl Times {
    fn json(&self, size: Value) -> Value {
        json!({
            "size": size, "timings": self.timings, "predicted_us": self.predicted, "registers": self.registers,
            "second_level_cache": CACHE,
        })
    }
}

const CACHE: &str = "warm";

/// What the compiler says of some modules' kernels, where it says anything.
fn registers(device: &Device, sources: &[Source]) -> Value {
    let usage = |source: &Source| device::compile::usage(source, &device.info().architecture(), &[]).ok();
    let of_all: Option<Vec<_>> = sources.iter().map(usage).collect();
    json!(of_all.map(|usages| usages.into_iter().flatten().collect::<Vec<_>>()))
}

fn toy(device: &Device, network: Toy, trials: &[u32], times: usize) -> Result<Times, Error> {
    let mut timings: Vec<Timing> = Vec::new();
    for &trials in trials {
        timings.extend(measure::toy(device, network, trials as usize, times).map_err(Error::Device)?);
    }
    let steps: Vec<Step> = trials.iter().flat_map(|&trials| model::toy_steps(network, trials as usize)).collect();
    let predicted = timings.iter().map(|timing| predicted(&steps, timing)).collect();
    Ok(Times { timings, predicted, registers: registers(device, &[kernels::toy::SOURCE]) })
}

fn cifar10(device: &Device, size: cifar10::Size, trials: &[u32], times: usize) -> Result<Times, Error> {
    let (mut timings, mut predicted): (Vec<Timing>, Vec<Option<f64>>) = (Vec::new(), Vec::new());
    for &trials in trials {
        let network = size.model(trials as usize)?;
        let mut means = Vec::new();
        for cells in Cells::ALL {
            for asked in Asked::ALL {
                means.push(Mean::of(&H100, &network, asked, cells, Arithmetic::Fp32)?);
            }
        }
        // Kernels are timed for 3x3 convolutions.
        let kernels: Vec<_> = means[Asked::ALL.len()..].iter().flat_map(|mean| &mean.kernels).collect();
        for timing in cifar10::times(device, size, trials as usize, times).map_err(Error::Device)? {
            let step = means.iter().find(|mean| mean.what == timing.what).map(|mean| mean.microseconds);
            let kernel = || kernels.iter().find(|group| group.what == timing.what).map(|group| group.microseconds);
            predicted.push(step.or_else(kernel));
            timings.push(timing);
        }
    }
    let sources = [
        kernels_of_cells::forward::SOURCE,
        kernels_of_cells::head::SOURCE,
        kernels_of_cells::backward::SOURCE,
        kernels_of_cells::weights::SOURCE,
        kernels_of_cells::update::SOURCE,
    ];
    Ok(Times { timings, predicted, registers: registers(device, &sources) })
}

pub(super) fn run(arguments: &TimeArguments) -> anyhow::Result<ExitCode> {
    // Said before minutes are spent.
    let peers = arguments.peers.as_deref().map_or(Ok(Vec::new()), peers)?;
    let (device, provenance) = open(&arguments.common)?;
    let (network, size) = if arguments.small { (SMALL, cifar10::SMALL) } else { (Toy::paper(), cifar10::PAPER) };
    let times = arguments.times as usize;
    let toy = toy(&device, network, arguments.networks.toy(), times)?;
    let cifar10 = cifar10(&device, size, arguments.networks.cifar10(), times)?;
    let ratios = ratios(&cifar10.timings, &peers);
    if arguments.common.json {
        let whole = json!({
            "device": device.info(),
            "peak_flops": device.info().peak_flops(),
            "peak_bandwidth": device.info().peak_bandwidth(),
            "predicted_for": H100.name,
            "toy": toy.json(json!(network)),
            "cifar10": cifar10.json(json!(size)),
            "ratios": ratios,
            "provenance": provenance,
        });
        print(&format!("{whole:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!("{}\n", provenance.device);
    for (name, times) in [("toy regression", &toy), ("CIFAR-10, FP32", &cifar10)] {
        if !times.timings.is_empty() {
            out.push_str(&format!("\n{name}\n{}", table(&device, times)));
        }
    }
    for Ratio { what, trials, peer, mode, times_as_fast } in &ratios {
        out.push_str(&format!("\n{what}, trials: {trials}: {times_as_fast:.2} times as fast as {peer}, {mode}"));
    }
    if !ratios.is_empty() {
        out.push('\n');
    }
    out.push_str(
        "\nkernels: device time between events, the second-level cache warm; those of CIFAR-10 with 3x3 convolutions on all edges\n\
         steps: wall time, copies included; w steps: device time between events, ten in a row, for which nobody waits\n",
    );
    out.push_str(&format!("predicted: `advnas gpu model`, for an {}\n", H100.name));
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn table(device: &Device, times: &Times) -> String {
    let row = |[what, trials, median, predicted, share, rate, peak]: [&str; 7]| {
        format!("{what:<34} {trials:>6} {median:>12} {predicted:>12} {share:>12} {rate:>14} {peak:>7}\n")
    };
    let mut out = row(["what", "trials", "median us", "predicted us", "us/trial", "rate", "of peak"]);
    for (timing, predicted) in times.timings.iter().zip(&times.predicted) {
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
            &predicted.map_or_else(|| "-".to_owned(), |time| format!("{time:.1}")),
            &format!("{:.2}", timing.median_us / timing.trials as f64),
            &format!("{:.1} {unit}", rate * 1e-9),
            &of_peak,
        ]));
    }
    out
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
