//! The memory of Table 1 (claim C20): what a method needs beside the weights and their optimiser, by number of candidates.
//!
//! Measured, not planned: every row is a process of its own that builds NAS-Bench-201's supernet, searches a few steps, and asks the
//! system how much memory it had resident at most. Beside it stands what the supernet had planned.

use std::fmt::Write;

use advantage_nas::network::nas_bench_201::{Candidates, Data, Images, Operation, PIXELS, Parent, Skeleton, paper_sgd};
use advantage_nas::random::Streams;
use advantage_nas::search::{Plan, ProcessBest};
use advantage_nas::strategy::{Method, MethodSettings};
use advantage_nas::{Search, Supernet};
use advantage_nas_cpu::nas_bench_201::{self, Settings};
use serde::{Deserialize, Serialize};

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
    /// Images of a minibatch.
    pub batch: usize,
}

/// What was measured, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The method.
    pub method: Method,
    /// Candidates of every edge.
    pub candidates: usize,
    /// The weights.
    pub parameters: u64,
    /// Their gradients and velocities.
    pub optimizer: u64,
    /// What the supernet planned beside them.
    pub planned: u64,
    /// Resident before the supernet was built: the program and its data.
    pub before: u64,
    /// The most that was ever resident.
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
pub fn measure(question: &Question) -> Result<Measured> {
    let &Question { method, candidates, cells, batch } = question;
    let operation = |index: usize| Operation::Convolution { kernel: KERNELS[index % KERNELS.len()] };
    let set = Candidates::new((0..candidates).map(operation).collect::<Vec<_>>())?;
    let parent = Parent::new(Skeleton { cells, ..Skeleton::paper() }, &set)?;
    let streams = Streams::new(0);
    let images = images(batch)?;
    let data = Data::new(images.clone(), Some(images), &streams)?;
    let activity = method.activity();
    // One thread: every thread has its own room for one image.
    let settings = Settings { batch, weights: paper_sgd(), activity, threads: 1 };
    let [before, _] = resident()?;
    let supernet = nas_bench_201::supernet::<f32>(parent, settings, data, &streams, &[0])?;
    let memory = *supernet.network().memory();
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
    let [_, peak] = resident()?;
    Ok(Measured {
        method,
        candidates,
        parameters: memory.parameters as u64,
        optimizer: memory.optimizer as u64,
        planned: memory.working() as u64,
        before,
        peak,
    })
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

/// `memory.csv`: one row per method and number of candidates, in bytes.
#[must_use]
pub fn csv(rows: &[Measured]) -> String {
    let mut out = "method,proposals,candidates,parameters,optimizer,before,peak,working,planned\n".to_owned();
    for row in rows {
        let Measured { method, candidates, parameters, optimizer, planned, before, peak } = row;
        let (proposals, working) = (proposals(*method), row.working());
        writeln!(out, "{method},{proposals},{candidates},{parameters},{optimizer},{before},{peak},{working},{planned}")
            .expect("writing to a string does not fail");
    }
    out
}

/// `memory.md`: working memory in MiB, one row per method, one column per number of candidates.
#[must_use]
pub fn table(rows: &[Measured], cells: usize, batch: usize) -> String {
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
    writeln!(
        out,
        "\nMiB. Peak resident memory of a search of NAS-Bench-201's cell, minus parameters, optimiser state and what was resident before \
         the supernet was built; in brackets, what the supernet planned. Cells a stage: {cells}; minibatches of {batch}, f32, one \
         thread. The candidates are convolutions of {kernels}, in turn. Every number is a process of its own."
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
            method,
            candidates,
            parameters: 1 << 20,
            optimizer: 2 << 20,
            planned: 3 << 20,
            before: 4 << 20,
            peak,
        }
    }

    #[test]
    fn working_memory_is_what_is_left() {
        let row = measured(Method::Darts, 2, 12 << 20);
        assert_eq!(row.working(), 5 << 20);
        assert_eq!(measured(Method::Darts, 2, 0).working(), 0);
        let rows = [row, measured(Method::AdvantageNas, 2, 11 << 20), measured(Method::AdvantageNas, 4, 11 << 20)];
        let table = table(&rows, 1, 64);
        assert!(table.contains("| darts | dense | 5.0 (3.0) | – |"), "{table}");
        assert!(table.contains("| advantage-nas | one-hot | 4.0 (3.0) | 4.0 (3.0) |"), "{table}");
        assert!(table.contains("| parameters and optimiser state | all | 3.0 | – |"), "{table}");
        let csv = csv(&rows);
        assert!(csv.ends_with("advantage-nas,one-hot,4,1048576,2097152,4194304,11534336,4194304,3145728\n"), "{csv}");
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
