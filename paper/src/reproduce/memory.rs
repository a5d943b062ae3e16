//! The memory of Table 1 (claim C20): what a method needs beside the weights and their optimiser, by number of candidates.
//!
//! Measured, not planned: every row is a process of its own that builds NAS-Bench-201's supernet, searches a few steps, and asks the
//! system how much memory it had resident at most; on a CUDA device, asks the driver how much of it is not free. Beside it stands what the
//! supernet had planned.

use std::fmt::Write;

use advantage_nas::network::nas_bench_201::{Candidates, Data, Images, Operation, PIXELS, Parent, Skeleton, paper_sgd};
use advantage_nas::random::Streams;
use advantage_nas::search::{Plan, ProcessBest};
use advantage_nas::strategy::{Method, MethodSettings};
use advantage_nas::{Search, Supernet};
use advantage_nas_cpu::nas_bench_201::{self, Settings};
use advantage_nas_gpu::{Device, nas_bench_201 as on_device};
use serde::{Deserialize, Serialize};

use crate::device::Backend;
use crate::error::{Error, Result};

/// The methods that are shown by default: one-hot by forward passes, one-hot by gradients, two-hot, dense.
pub const METHODS: [Method; 4] = [Method::Reinforce, Method::AdvantageNas, Method::ProxylessNas, Method::Darts];

/// Numbers of candidates.
pub const COUNTS: [usize; 5] = [2, 4, 8, 16, 32];

/// Kernels of the candidates, in turn. The largest and the one that is computed by minimal filtering, with filters of its own, are the
/// first two: more candidates are more candidates, not larger ones.
const KERNELS: [usize; 4] = [7, 3, 5, 1];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// Candidates of every edge.
    pub candidates: usize,
    /// Cells of every stage.
    pub cells: usize,
    /// Channels of the first stage.
    pub channels: usize,
    /// Images of a minibatch.
    pub batch: usize,
}

/// What was measured, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The device, if it is not this processor.
    pub device: Option<String>,
    /// The method.
    pub method: Method,
    /// Candidates of every edge.
    pub candidates: usize,
    /// The weights.
    pub parameters: u64,
    /// Their gradients and velocities.
    pub optimizer: u64,
    /// What the supernet planned beside them, on a device with the images.
    pub planned: u64,
    /// Resident before the supernet was built: the program and its data; on a device, what was not free there.
    pub before: u64,
    /// The same when it was built, before the first step.
    pub built: u64,
    /// The most that was ever resident; on a device, what was not free after the last step. Nothing is given back there.
    pub peak: u64,
}

impl Measured {
    /// Peak minus parameters and optimiser state, and minus what was there before.
    #[must_use]
    pub fn working(&self) -> u64 {
        self.peak.saturating_sub(self.before + self.parameters + self.optimizer)
    }
}

/// The form of a method's edge weights, where most room is needed.
#[must_use]
pub fn proposals(method: Method) -> &'static str {
    method.activity().name()
}

/// Builds the supernet and searches two steps of each kind, in this process; `before` and `peak` are only those of the question if it
/// is the first.
///
/// # Errors
/// What the supernet refuses, and [`Error::Process`] where the system does not tell.
pub fn measure(question: &Question, backend: &Backend) -> Result<Measured> {
    let &Question { method, candidates, cells, channels, batch } = question;
    let operation = |index: usize| Operation::Convolution { kernel: KERNELS[index % KERNELS.len()] };
    let set = Candidates::new((0..candidates).map(operation).collect::<Vec<_>>())?;
    let parent = Parent::new(Skeleton { cells, channels, ..Skeleton::paper() }, &set)?;
    let streams = Streams::new(0);
    let images = images(batch)?;
    let data = Data::new(images.clone(), Some(images), &streams)?;
    let activity = method.activity();
    if let Backend::Cuda { device, .. } = backend {
        let settings = on_device::Settings { batch, weights: paper_sgd(), activity, tf32: false };
        let before = used(device)?;
        let supernet = on_device::supernet(device, parent, settings, data, &streams, &[0])?;
        let (memory, images) = (*supernet.network().memory(), supernet.network().image_memory());
        let built = used(device)?;
        let search = search(method, streams, supernet)?;
        let peak = used(device)?;
        drop(search);
        return Ok(Measured {
            device: Some(device.info().describe()),
            method,
            candidates,
            parameters: memory.parameters as u64,
            optimizer: memory.optimizer as u64,
            planned: (memory.tensors + memory.rest + images) as u64,
            before,
            built,
            peak,
        });
    }
    // One thread: every thread has its own room for one image.
    let settings = Settings { batch, weights: paper_sgd(), activity, threads: 1 };
    let [before, _] = resident()?;
    let supernet = nas_bench_201::supernet::<f32>(parent, settings, data, &streams, &[0])?;
    let memory = *supernet.network().memory();
    let [built, _] = resident()?;
    drop(search(method, streams, supernet)?);
    let [_, peak] = resident()?;
    Ok(Measured {
        device: None,
        method,
        candidates,
        parameters: memory.parameters as u64,
        optimizer: memory.optimizer as u64,
        planned: memory.working() as u64,
        before,
        built,
        peak,
    })
}

/// Two steps of each kind, and evaluations. Returns the supernet, which still has its memory.
fn search<S: Supernet>(method: Method, streams: Streams, supernet: S) -> Result<Search<S>> {
    let strategy = method.build(supernet.space(), &MethodSettings::toy(), &streams, 0)?;
    let plan = Plan {
        warmup: 1,
        iterations: 2,
        interval: 2,
        weight_steps_per_epoch: 1.0,
        theta_steps_per_epoch: 1.0,
        process_best: ProcessBest::ThetaSteps,
    };
    let mut search = Search::new(plan, streams, supernet, 0, strategy)?;
    search.run(None, &mut ())?;
    Ok(search)
}

/// Memory of a device that is not free, in bytes.
fn used(device: &Device) -> Result<u64> {
    let (free, total) = device.memory().map_err(Error::Device)?;
    Ok(total.saturating_sub(free))
}

/// Images enough for a minibatch of either half; what they show does not matter here.
fn images(batch: usize) -> Result<Images> {
    let classes = Skeleton::paper().classes;
    let count = 2 * classes * batch.div_ceil(classes);
    let pixels: Vec<u8> = (0..count * PIXELS).map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let labels: Vec<u8> = (0..count).map(|image| (image % classes) as u8).collect();
    let names = (0..classes).map(|class| class.to_string()).collect::<Vec<_>>();
    Ok(Images::new(pixels, labels, names)?)
}

/// Resident memory of this process, now and at most, in bytes.
fn resident() -> Result<[u64; 2]> {
    let failed = |problem: String| Error::Process { action: "measure the memory of this process", problem };
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| failed(format!("/proc/self/status, which only Linux has: {error}")))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        number.map(|number| 1024 * number).ok_or_else(|| failed(format!("no {name} in /proc/self/status")))
    };
    Ok([of("VmRSS:")?, of("VmHWM:")?])
}

/// `memory.csv`: one row per method and number of candidates, in bytes; `built` is of interest on a device only.
#[must_use]
pub fn csv(rows: &[Measured]) -> String {
    let on_device = rows.iter().any(|row| row.device.is_some());
    let built = if on_device { "built," } else { "" };
    let mut out = format!("method,proposals,candidates,parameters,optimizer,before,{built}peak,working,planned\n");
    for row in rows {
        let Measured { device: _, method, candidates, parameters, optimizer, planned, before, built, peak } = row;
        let (proposals, working) = (proposals(*method), row.working());
        let built = if on_device { format!("{built},") } else { String::new() };
        writeln!(
            out,
            "{method},{proposals},{candidates},{parameters},{optimizer},{before},{built}{peak},{working},{planned}"
        )
        .expect("writing to a string does not fail");
    }
    out
}

/// `memory.md`: working memory in MiB, one row per method, one column per number of candidates.
#[must_use]
pub fn table(rows: &[Measured], cells: usize, channels: usize, batch: usize) -> String {
    let mut counts: Vec<usize> = rows.iter().map(|row| row.candidates).collect();
    counts.sort_unstable();
    counts.dedup();
    let mut methods: Vec<Method> = Vec::new();
    for row in rows {
        if !methods.contains(&row.method) {
            methods.push(row.method);
        }
    }
    let columns: String = counts.iter().map(|count| format!(" {count} candidates |")).collect();
    let mut out = format!("| method | proposals |{columns}\n| --- | --- |{}\n", " --- |".repeat(counts.len()));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let cell = |method: Method, count: usize, of: &dyn Fn(&Measured) -> String| {
        let row = rows.iter().find(|row| (row.method, row.candidates) == (method, count));
        row.map_or_else(|| "–".to_owned(), of)
    };
    let mut line = |head: &str, method: Method, of: &dyn Fn(&Measured) -> String| {
        let cells: String = counts.iter().map(|count| format!(" {} |", cell(method, *count, of))).collect();
        writeln!(out, "{head}{cells}").expect("writing to a string does not fail");
    };
    for &method in &methods {
        let head = format!("| {method} | {} |", proposals(method));
        line(&head, method, &|row| format!("{:.1} ({:.1})", mib(row.working()), mib(row.planned)));
    }
    if let Some(&method) = methods.first() {
        let states = |row: &Measured| format!("{:.1}", mib(row.parameters + row.optimizer));
        line("| parameters and optimiser state | all |", method, &states);
    }
    let kernels = KERNELS.map(|kernel| format!("{kernel}×{kernel}")).join(", ");
    let (what, how) = match rows.iter().find_map(|row| row.device.as_ref()) {
        None => (
            "Peak resident memory of a search of NAS-Bench-201's cell, minus parameters, optimiser state and what was resident before the \
             supernet was built"
                .to_owned(),
            "f32, one thread",
        ),
        Some(device) => (
            format!(
                "Device memory that was not free after a search of NAS-Bench-201's cell on {device}, minus parameters, optimiser state and \
                 what was not free before the supernet was built"
            ),
            "f32, one trial, images included",
        ),
    };
    writeln!(
        out,
        "\nMiB. {what}; in brackets, what the supernet planned. Cells a stage: {cells}; {channels} channels in the first; minibatches of \
         {batch}, {how}. The candidates are convolutions of {kernels}, in turn. Every number is a process of its own."
    )
    .expect("writing to a string does not fail");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use advantage_nas::strategy::table1::{Hotness, Propagation, TABLE_1};

    fn measured(method: Method, candidates: usize, peak: u64) -> Measured {
        Measured {
            device: None,
            method,
            candidates,
            parameters: 1 << 20,
            optimizer: 2 << 20,
            planned: 3 << 20,
            before: 4 << 20,
            built: 5 << 20,
            peak,
        }
    }

    #[test]
    fn working_memory_is_what_is_left() {
        let row = measured(Method::Darts, 2, 12 << 20);
        assert_eq!(row.working(), 5 << 20);
        assert_eq!(measured(Method::Darts, 2, 0).working(), 0);
        let rows = [row, measured(Method::AdvantageNas, 2, 11 << 20), measured(Method::AdvantageNas, 4, 11 << 20)];
        let table = table(&rows, 1, 16, 64);
        assert!(table.contains("| darts | dense | 5.0 (3.0) | – |"), "{table}");
        assert!(table.contains("| advantage-nas | one-hot | 4.0 (3.0) | 4.0 (3.0) |"), "{table}");
        assert!(table.contains("| parameters and optimiser state | all | 3.0 | – |"), "{table}");
        let text = csv(&rows);
        assert!(text.ends_with("advantage-nas,one-hot,4,1048576,2097152,4194304,11534336,4194304,3145728\n"), "{text}");
        // On a device, which is named.
        let rows = rows.map(|row| Measured { device: Some("cuda:0 made up".to_owned()), ..row });
        let text = csv(&rows);
        assert!(text.starts_with("method,proposals,candidates,parameters,optimizer,before,built,peak,"), "{text}");
        assert!(text.ends_with(",4,1048576,2097152,4194304,5242880,11534336,4194304,3145728\n"), "{text}");
        assert!(super::table(&rows, 1, 16, 64).contains(" on cuda:0 made up, minus "));
    }

    /// Table 1: dense methods evaluate every candidate, of sparse ones as many as are hot.
    #[test]
    fn every_method_has_the_room_that_it_needs() {
        let methods = TABLE_1.iter().flat_map(|row| row.methods.iter().map(move |method| (row, *method)));
        let methods: Vec<_> = methods.collect();
        assert_eq!(methods.len(), Method::ALL.len());
        for (row, method) in methods {
            let expected = match (row.propagation, row.hotness) {
                (Propagation::Dense, _) => "dense",
                (Propagation::Sparse, Hotness::Two) => "two-hot",
                (Propagation::Sparse, _) => "one-hot",
            };
            assert_eq!(proposals(method), expected, "{method}");
        }
    }
}
