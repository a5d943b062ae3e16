//! `advnas gpu`: are the CUDA kernels right on this device, and how fast are they?
//!
//! - `check`: every kernel and every supernet against the CPU
//! - `time`: how long they take; `model`: how long they should take
//!
//! Here: which networks and trials these are asked for, and `probe`.

mod check;
mod model;
mod time;

use std::process::ExitCode;

use advantage_nas::network::toy::Toy;
use advantage_nas_gpu::Device;
use advantage_nas_gpu::model::H100;
use advantage_nas_gpu::probe::{self, Effort, Measurement};
use clap::{Args, Subcommand, ValueEnum, value_parser};
use serde_json::json;

use super::print;
use crate::build::Provenance;
use crate::device::{Backend, Choice};
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Compare every kernel and every supernet with the CPU; exit code 0 only if all agree
    Check(check::CheckArguments),
    /// Time every kernel and whole steps
    Time(time::TimeArguments),
    /// Measure what the predictions assume of a device: launches, rates, bandwidths, clock
    Probe(ProbeArguments),
    /// Predict the times of every kernel and of whole steps on an H100; no device is needed
    Model(model::ModelArguments),
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

/// A network that there are kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Network {
    Toy,
    Cifar10,
}

/// Which networks, and trials that are answered together.
#[derive(Debug, Args)]
struct Networks {
    /// Only these networks
    #[arg(long, value_name = "NETWORK,…", value_delimiter = ',')]
    network: Vec<Network>,
    /// Trials of the toy regression that are answered together
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,10,100,1000",
          value_parser = value_parser!(u32).range(1..=10_000))]
    trials: Vec<u32>,
    /// Trials of the search on CIFAR-10 that are answered together
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,8",
          value_parser = value_parser!(u32).range(1..=64))]
    cifar10_trials: Vec<u32>,
}

impl Networks {
    fn has(&self, network: Network) -> bool {
        self.network.is_empty() || self.network.contains(&network)
    }

    /// Trials of the toy regression, none if it was not asked for.
    fn toy(&self) -> &[u32] {
        if self.has(Network::Toy) { &self.trials } else { &[] }
    }

    /// Trials on CIFAR-10, none if it was not asked for.
    fn cifar10(&self) -> &[u32] {
        if self.has(Network::Cifar10) { &self.cifar10_trials } else { &[] }
    }
}

#[derive(Debug, Args)]
pub(super) struct ProbeArguments {
    #[command(flatten)]
    common: Common,
    /// Next to nothing, for a software device
    #[arg(long)]
    small: bool,
}

const SMALL: Toy = Toy { edges: 3, candidates: 4, batch: 33 };

pub(super) fn run(action: &Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Check(arguments) => check::run(arguments),
        Action::Time(arguments) => time::run(arguments),
        Action::Probe(arguments) => probe(arguments),
        Action::Model(arguments) => model::run(arguments),
    }
}

fn open(common: &Common) -> anyhow::Result<(Device, Provenance)> {
    let backend = Backend::open(common.device)?;
    let provenance = backend.provenance();
    match backend {
        Backend::Cuda { device, .. } => Ok((device, provenance)),
        Backend::Cpu => Err(Error::Usage(format!("--device {} is no CUDA device", common.device)).into()),
    }
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
