//! `advnas gpu check`: is everything right on this device?

use std::process::ExitCode;
use std::thread;

use advantage_nas::Supernet;
use advantage_nas::comparison::Comparison;
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Activity, Method};
use advantage_nas_cpu::nas_bench_201 as on_cpu;
use advantage_nas_gpu::check::nas_bench_201::network::{self, Case};
use advantage_nas_gpu::check::nas_bench_201::{backward, forward, head, update, weights};
use advantage_nas_gpu::check::{self, toy};
use advantage_nas_gpu::{Device, Result as OnDevice};
use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::{Common, Network, SMALL, open};
use crate::command::print;
use crate::error::Error;

#[derive(Debug, Args)]
pub(in crate::command) struct CheckArguments {
    #[command(flatten)]
    common: Common,
    /// Only these networks
    #[arg(long, value_name = "NETWORK,…", value_delimiter = ',')]
    network: Vec<Network>,
    /// Steps of the searches that are compared, with every method; with trained weights 20 at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u64).range(1..=1_000_000))]
    steps: u64,
    /// Small networks only
    #[arg(long)]
    small: bool,
}

/// The most comparisons that are shown with their differences.
const SHOWN: usize = 20;

/// Comparisons, by what is compared.
type Groups = Vec<(&'static str, Vec<Comparison>)>;

fn toy(device: &Device, small: bool, steps: u64) -> OnDevice<Groups> {
    let mut sizes = toy::SIZES.to_vec();
    if !small {
        sizes.push(Toy::paper());
    }
    let double = |toy: Toy, streams: &Streams, trials: &[u32]| -> advantage_nas::Result<Box<dyn Supernet>> {
        Ok(Box::new(advantage_nas_cpu::toy::ToySupernet::<f64>::new(toy, streams, trials)?))
    };
    let single = |toy: Toy, streams: &Streams, trials: &[u32]| -> advantage_nas::Result<Box<dyn Supernet>> {
        Ok(Box::new(advantage_nas_cpu::toy::ToySupernet::<f32>::new(toy, streams, trials)?))
    };
    let searched = if small { SMALL } else { Toy::paper() };
    Ok(vec![
        ("kernels", toy::kernels(device, &sizes)?),
        ("supernets", toy::supernet(device, &sizes, &double)?),
        ("searches", toy::searches(device, searched, &[0, 1], steps, &single)?),
    ])
}

/// The smallest network of cells that all kernels have something to do for.
const CELLS: Case = Case { cells: 1, channels: 2, batch: 3, zero: true, activity: Activity::One, tf32: false };

/// Steps of searches with trained weights: more of them enlarge the differences of roundings.
const TRAINED_STEPS: u64 = 20;

fn cifar10(device: &Device, small: bool, steps: u64) -> OnDevice<Groups> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let reference = |case: &Case, streams: &Streams, trials: &[u32]| {
        let Case { batch, activity, .. } = *case;
        let settings = on_cpu::Settings { batch, weights: network::sgd(), activity, threads };
        on_cpu::supernet::<f64>(case.parent()?, settings, case.data(streams)?, streams, trials)
    };
    let few = Case { batch: 4, ..CELLS };
    let (cases, methods, searched) = if small {
        (vec![CELLS], vec![Method::AdvantageNas, Method::Gdas], few)
    } else {
        let cases = vec![
            Case { activity: Activity::All, ..CELLS },
            Case { channels: 5, batch: 7, zero: false, activity: Activity::Two, ..CELLS },
            Case { channels: 33, batch: 1, ..CELLS },
            Case { cells: 2, channels: 3, batch: 4, ..CELLS },
            // The paper's channels. With so many numbers, now and then a ReLU has an input so near to zero that single precision decides otherwise than
            // double, on the CPU as well, and one pixel's gradient is gone: of this case none has on the software device.
            Case { channels: 16, batch: 3, zero: false, ..CELLS },
        ];
        (cases, Method::ALL.to_vec(), few)
    };
    let mut kernels = Vec::new();
    kernels.extend(forward::kernels(device, &forward::CASES, &forward::STEMS)?);
    kernels.extend(head::kernels(device, &head::SIZES)?);
    kernels.extend(backward::kernels(device)?);
    kernels.extend(weights::kernels(device, &weights::SIZES)?);
    kernels.extend(update::kernels(device, &update::SIZES)?);
    if !small {
        kernels.extend(forward::kernels(device, &forward::PAPER, &forward::PAPER_STEMS)?);
        kernels.extend(head::kernels(device, &head::PAPER)?);
        kernels.extend(backward::paper(device)?);
        kernels.extend(weights::kernels(device, &weights::PAPER)?);
    }
    Ok(vec![
        ("cifar10_kernels", kernels),
        ("cifar10_steps", network::steps(device, &cases, &reference)?),
        ("cifar10_searches", network::searches(device, searched, &methods, steps.min(TRAINED_STEPS), &reference)?),
    ])
}

pub(super) fn run(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let CheckArguments { common, network, steps, small } = arguments;
    let (device, provenance) = open(common)?;
    let has = |one: Network| network.is_empty() || network.contains(&one);
    let mut groups: Groups = vec![("probes", check::probe::kernels(&device).map_err(Error::Device)?)];
    if has(Network::Toy) {
        groups.extend(toy(&device, *small, *steps).map_err(Error::Device)?);
    }
    if has(Network::Cifar10) {
        groups.extend(cifar10(&device, *small, *steps).map_err(Error::Device)?);
    }
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
                "{name:<18} {passed} of {count} agree, largest difference {worst:.2} of the allowed\n"
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
