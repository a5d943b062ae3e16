//! Ring 2b: what machine code says about speed, held against what the kernels' entries expect.

use std::path::Path;
use std::process::Command;

use advantage_nas_gpu::device::source::Expected;
use advantage_nas_gpu::device::{Source, compile};
use advantage_nas_gpu::kernels::{ALL, SPILLS};

use crate::multiprocessor::{self, Multiprocessor};
use crate::sass::{self, Code, Loop};
use crate::{Table, cubin};

/// What is known of a kernel on an architecture.
pub struct Report {
    kernel: String,
    multiprocessor: Multiprocessor,
    /// Threads of a block at most.
    threads: Option<u32>,
    /// Blocks that a multiprocessor has room for.
    blocks: Option<u32>,
    registers: u32,
    /// Loads and stores of local memory.
    local: usize,
    /// The loop that does the work.
    work: Option<Loop>,
}

/// The table of all kernels.
pub fn table(disassembler: &Path) -> Result<Table, String> {
    let mut text = "\
Read from the machine code of the table above. Per multiprocessor: blocks and warps that it has room for. `local`: loads and stores of local memory.
Of the loop that does the work: instructions, FFMA and HMMA and their share, products and sums that are not fused, loads of shared memory, cycles that
they keep it busy at most, loads of global memory, cycles of one warp by its stall counts. `bound`: the cycles of arithmetic over those of what a
sub-core is busiest with, when all its warps take turns.

| kernel | device | threads | registers | blocks | warps | local | instructions | FFMA | HMMA | share | not fused | LDS | waves | LDG | stall | bound |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"
    .to_owned();
    let mut problems = Vec::new();
    for source in ALL {
        let reports = multiprocessor::ALL.map(|multiprocessor| reports(&source, multiprocessor, disassembler));
        let reports = reports.into_iter().collect::<Result<Vec<_>, String>>()?;
        for (index, kernel) in source.names().enumerate() {
            let expected = expected(&source, kernel);
            for report in reports.iter().map(|reports| &reports[index]) {
                text += &report.row();
                problems.extend(expected.iter().flat_map(|expected| report.problems(expected)));
            }
        }
    }
    Ok(Table { name: "ring 2b", text, problems })
}

/// What is stated of a kernel.
fn expected(source: &Source, kernel: &str) -> Option<Expected> {
    source.expectations().find(|(name, _)| *name == kernel).map(|(_, expected)| expected)
}

/// What is known of a module's kernels, in their order.
pub fn reports(source: &Source, multiprocessor: Multiprocessor, disassembler: &Path) -> Result<Vec<Report>, String> {
    let architecture = multiprocessor.architecture;
    let usage = compile::usage(source, architecture, &[]).map_err(|error| error.to_string())?;
    let compiled = compile::compile(source, architecture, &[]).map_err(|error| error.to_string())?;
    let codes = disassemble(disassembler, &compiled.cubin)?;
    let report = |usage: &compile::Usage| {
        let code: &Code = codes
            .iter()
            .find(|code| code.kernel == usage.kernel)
            .ok_or_else(|| format!("the disassembler says nothing of {}", usage.kernel))?;
        let threads = cubin::most_threads(&compiled.cubin, &usage.kernel)?;
        let dynamic = expected(source, &usage.kernel).map_or(0, |expected| expected.dynamic_shared as u32);
        let blocks = threads.map(|threads| multiprocessor.blocks(threads, usage.registers, usage.shared + dynamic));
        let (local, work, registers) = (code.local(), code.work(), usage.registers);
        Ok(Report { kernel: usage.kernel.clone(), multiprocessor, threads, blocks, registers, local, work })
    };
    usage.iter().map(report).collect()
}

/// The kernels of a CUBIN.
pub fn disassemble(disassembler: &Path, cubin: &[u8]) -> Result<Vec<Code>, String> {
    let place = disassembler.display();
    let file = tempfile::NamedTempFile::new().map_err(|error| format!("no file for the CUBIN: {error}"))?;
    std::fs::write(file.path(), cubin).map_err(|error| format!("can't write the CUBIN: {error}"))?;
    let output = Command::new(disassembler).args(["-c", "-hex"]).arg(file.path()).output();
    let output = output.map_err(|error| format!("can't run {place}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{place}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    let text = String::from_utf8(output.stdout).map_err(|error| format!("{place} printed no text: {error}"))?;
    sass::parse(&text).map_err(|problem| format!("{place}: {problem}"))
}

impl Report {
    fn row(&self) -> String {
        let Self { kernel, multiprocessor, threads, blocks, registers, local, work } = self;
        let or_dash = |value: Option<u32>| value.map_or("–".to_owned(), |value| value.to_string());
        let warps = blocks.zip(*threads).map(|(blocks, threads)| blocks * threads.div_ceil(32));
        let (threads, blocks, warps) = (or_dash(*threads), or_dash(*blocks), or_dash(warps));
        let architecture = multiprocessor.architecture;
        let work = work.map_or_else(
            || "– | ".repeat(9) + "–",
            |one| {
                let Loop { instructions, ffma, hmma, unfused, lds, waves, ldg, stall } = one;
                let (share, bound) = (one.share(), one.bound(multiprocessor.ffma, multiprocessor.hmma));
                format!(
                    "{instructions} | {ffma} | {hmma} | {share:.2} | {unfused} | {lds} | {waves} | {ldg} | {stall} | {bound:.2}"
                )
            },
        );
        format!("| {kernel} | {architecture} | {threads} | {registers} | {blocks} | {warps} | {local} | {work} |\n")
    }

    /// What is not as expected.
    pub fn problems(&self, expected: &Expected) -> Vec<String> {
        let Self { kernel, multiprocessor: Multiprocessor { architecture, .. }, .. } = self;
        let mut out = Vec::new();
        let mut unless = |fine: bool, problem: String| {
            if !fine {
                out.push(format!("{kernel} on {architecture}: {problem}"));
            }
        };
        let &Expected { threads, blocks, arithmetic, global_loads, unfused, .. } = expected;
        match self.threads {
            Some(got) => unless(got as usize == threads, format!("its bounds say {got} threads, its entry {threads}")),
            None => unless(false, format!("it has no launch bounds, its entry says {threads} threads")),
        }
        let got = self.blocks.unwrap_or(0);
        unless(got as usize >= blocks, format!("room for {got} blocks, at least {blocks} expected"));
        let spills = SPILLS.iter().any(|(listed, _)| listed == kernel);
        unless(self.local == 0 || spills, format!("{} accesses of local memory, none expected", self.local));
        let work = self.work.unwrap_or_default();
        let within = self.work.is_some() || arithmetic == 0;
        unless(within, format!("no loop, one with {arithmetic} % of arithmetic expected"));
        if self.work.is_some() {
            let got = 100.0 * work.share();
            unless(
                got >= arithmetic as f64,
                format!("{got:.1} % of its loop are arithmetic, at least {arithmetic} % expected"),
            );
        }
        unless(
            work.ldg as usize <= global_loads,
            format!("{} loads of global memory in its loop, at most {global_loads} expected", work.ldg),
        );
        unless(
            work.unfused as usize <= unfused,
            format!("{} products and sums of its loop are not fused, at most {unfused} expected", work.unfused),
        );
        out
    }
}
