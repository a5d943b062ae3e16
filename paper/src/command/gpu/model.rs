//! `advnas gpu model`: how long should it take on an H100?

use std::process::ExitCode;

use advantage_nas::network::toy::Toy;
use advantage_nas::strategy::Activity;
use advantage_nas_gpu::model::nas_bench_201::{
    Arithmetic, Asked, Cells, EFFICIENCIES, Group, Mean, Network, Schedule, Search,
};
use advantage_nas_gpu::model::{self, Assumption, H100, Prediction, Step};
use clap::Args;
use serde_json::{Value, json};

use super::Networks;
use crate::command::print;
use crate::error::Error;
use crate::experiment::cifar10::Cifar10Settings;
use crate::settings::{self, Settings};

#[derive(Debug, Args)]
pub(in crate::command) struct ModelArguments {
    #[command(flatten)]
    networks: Networks,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

/// The steps of the toy regression that are predicted.
pub(super) fn toy_steps(network: Toy, trials: usize) -> Vec<Step> {
    let gradients =
        [Activity::One, Activity::Two, Activity::All].map(|activity| model::toy::gradient(network, trials, activity));
    gradients.into_iter().chain([model::toy::removals(network, trials)]).collect()
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

/// The toy regression, if it is asked for any trials.
fn predicted_networks(trials: &[u32]) -> Result<Vec<Predicted>, Error> {
    if trials.is_empty() {
        return Ok(Vec::new());
    }
    let steps = trials.iter().flat_map(|&trials| toy_steps(Toy::paper(), trials as usize)).collect();
    let iterations = Settings::resolve(settings::Experiment::Toy, None, &[])?.get("iterations")?;
    Ok(vec![Predicted { name: "toy", what: "toy regression, the paper's size", steps, iterations }])
}

/// The network of section 5.2: means of its steps, and searches.
struct Cifar10 {
    schedule: Schedule,
    means: Vec<Mean>,
    searches: Vec<Search>,
}

impl Cifar10 {
    fn predict(trials: &[u32]) -> Result<Option<Self>, Error> {
        if trials.is_empty() {
            return Ok(None);
        }
        let settings = Settings::resolve(settings::Experiment::Cifar10, None, &[])?;
        let own: Cifar10Settings = settings.own()?;
        let plan = own.plan(settings.interval)?;
        let schedule = Schedule {
            weight_steps: plan.warmup + plan.iterations,
            warmup: plan.warmup,
            theta_steps: plan.iterations,
            // The argmax cell at every interval and at the end; then argmax and process best.
            evaluations: plan.iterations.div_ceil(plan.interval) + 1 + 2,
            evaluated_images: own.test_images,
            compared_cells: own.compared_cells as u64,
        };
        let (mut means, mut searches) = (Vec::new(), Vec::new());
        for arithmetic in Arithmetic::ALL {
            for &trials in trials {
                let network = Network::paper(trials as usize)?;
                for cells in Cells::ALL {
                    for asked in Asked::ALL {
                        means.push(Mean::of(&H100, &network, asked, cells, arithmetic)?);
                    }
                    searches.push(Search::of(&H100, &network, schedule, cells, arithmetic)?);
                }
            }
        }
        Ok(Some(Self { schedule, means, searches }))
    }

    fn json(&self) -> Value {
        let with_aim = |search: &Search| {
            let mut value = json!(search);
            value["aim"] = json!(search.aim());
            value
        };
        let searches: Vec<Value> = self.searches.iter().map(with_aim).collect();
        json!({ "efficiencies": EFFICIENCIES, "steps": self.means, "schedule": self.schedule, "searches": searches })
    }

    fn table(&self) -> String {
        let mut out = "\nCIFAR-10, the network of section 5.2, minibatches of 64\n".to_owned();
        for Assumption { what, value, source, .. } in EFFICIENCIES {
            out.push_str(&format!("  {what:<36} {value:>8} {:<32} {source}\n", "of the rate"));
        }
        for pair in self.means.chunks_exact(Cells::ALL.len() * Asked::ALL.len()) {
            out.push_str(&kernels(pair));
        }
        out.push_str("\nsteps, joins: what goes by before the first blocks of a kernel have joined what earlier ones left behind\n");
        out.push_str(&format!(
            "{:<28} {:>6} {:>6} {:>9} {:>11} {:>10} {:>10} {:>10}\n",
            "what", "", "trials", "launches", "us", "us/trial", "of launch", "of joins"
        ));
        for mean in &self.means {
            let Mean { what, arithmetic, trials, launches, microseconds, joins_microseconds, .. } = mean;
            let launch = 1e6 * H100.dependent_launch.value * *launches as f64 + mean.around_microseconds;
            out.push_str(&format!(
                "{what:<28} {arithmetic:>6} {trials:>6} {launches:>9} {microseconds:>11.0} {:>10.0} {:>8.0} % {:>8.0} %\n",
                microseconds / *trials as f64,
                100.0 * launch / microseconds,
                100.0 * joins_microseconds / microseconds,
            ));
        }
        let Schedule { weight_steps, theta_steps, evaluations, evaluated_images, compared_cells, .. } = self.schedule;
        out.push_str(&format!(
            "\nsearches by AdvantageNAS: {weight_steps} w steps, {theta_steps} theta steps, {evaluations} evaluations on \
             {evaluated_images} images, {compared_cells} cells\ncompared in the end; uniform cells while theta is fixed, then as said\n",
        ));
        let row = |[then, arithmetic, trials, seconds, aim, w, theta, rest, joins]: [&str; 9]| {
            format!(
                "{then:<16} {arithmetic:>6} {trials:>6} {seconds:>10} {aim:>8} {w:>8} {theta:>8} {rest:>12} {joins:>8}\n"
            )
        };
        out.push_str(&row(["then", "", "trials", "s/trial", "aim", "w", "theta", "evaluations", "joins"]));
        for search in &self.searches {
            let &Search { arithmetic, trials, later, seconds_per_trial, weights, theta, evaluations, joins } = search;
            let [weights, theta, evaluations, joins] =
                [weights, theta, evaluations, joins].map(|seconds| format!("{seconds:.1}"));
            let aim = search.aim().map_or_else(|| "-".to_owned(), |aim| format!("<= {aim}"));
            let missed = search.aim().is_some_and(|aim| seconds_per_trial > aim);
            let (mark, trials) = (if missed { "! " } else { "" }, trials.to_string());
            let seconds = format!("{mark}{seconds_per_trial:.1}");
            let arithmetic = arithmetic.to_string();
            out.push_str(&row([
                later.name(),
                &arithmetic,
                &trials,
                &seconds,
                &aim,
                &weights,
                &theta,
                &evaluations,
                &joins,
            ]));
        }
        out.push_str("! longer than aimed for; joins are among the others\n");
        out
    }
}

/// The kernels of all steps of an arithmetic with so many trials: uniform cells and 3x3 convolutions side by side.
fn kernels(means: &[Mean]) -> String {
    let mut out = format!("\nkernels, {}, trials: {}\n", means[0].arithmetic, means[0].trials);
    out.push_str(&format!(
        "{:<26} {:>8} | {:>8} {:>8} {:>7} {:<9} | {:>8} {:>8} {:>7} {:<9}\n",
        "uniform cells | all 3x3", "launches", "blocks", "us", "joins", "bound", "blocks", "us", "joins", "bound"
    ));
    let half = |cells: &Mean, what: &str| {
        let group = cells.kernels.iter().find(|group| group.what == what);
        group.map_or_else(String::new, |Group { blocks, microseconds, joins_microseconds, bound, .. }| {
            format!("| {blocks:>8.0} {microseconds:>8.1} {joins_microseconds:>7.1} {:<9} ", bound.name())
        })
    };
    let (uniform, convolutions) = means.split_at(Asked::ALL.len());
    // What is asked with gradients of the edges' weights has one kernel more than what updates weights.
    for (uniform, convolutions) in uniform.iter().zip(convolutions).take(2) {
        for Group { what, launches, .. } in &uniform.kernels {
            let shown = uniform.what == means[0].what || what == "answers";
            if shown {
                let line = format!("{what:<26} {launches:>8} {}{}", half(uniform, what), half(convolutions, what));
                out.push_str(line.trim_end());
                out.push('\n');
            }
        }
    }
    out
}

pub(super) fn run(arguments: &ModelArguments) -> anyhow::Result<ExitCode> {
    let networks = predicted_networks(arguments.networks.toy())?;
    let cifar10 = Cifar10::predict(arguments.networks.cifar10())?;
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
        if let Some(cifar10) = cifar10 {
            whole["cifar10"] = cifar10.json();
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
    cifar10.iter().for_each(|network| out.push_str(&network.table()));
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
