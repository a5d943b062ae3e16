//! Ring 2: every kernel compiled by the real NVRTC to machine code, what no other compiler sees.
//!
//! ```text
//! cargo run -p advantage-nas-gpu --example ring_2             prints the table, fails on a spill that has no reason
//! cargo run -p advantage-nas-gpu --example ring_2 -- --write  and writes it into gpu/PERFORMANCE.md
//! cargo run -p advantage-nas-gpu --example ring_2 -- --check  and fails unless the table is there as it is
//! ```
//!
//! NVRTC must be on `LD_LIBRARY_PATH`; `gpu/nvrtc.sh` gets it. No GPU and no driver are needed. The table depends on
//! the version of NVRTC, which `gpu/nvrtc.sh` fixes.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use advantage_nas_gpu::device::source::{Constant, Parameter, Signature};
use advantage_nas_gpu::device::{Source, compile, compiler_version};
use advantage_nas_gpu::kernels::{ALL, SPILLS};

/// The devices that are compiled for: A100 and H100.
const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];

/// A kernel that must spill: two blocks of 1024 threads leave a thread 32 registers, and it holds 64 values at a time.
const STARVED: Source = Source {
    name: "starved",
    constants: &[Constant::new("VALUES", 64)],
    descriptions: &[],
    files: &[(
        "starved.cu",
        r#"extern "C" __global__ void __launch_bounds__(1024, 2) starved(float* values)
{
    float held[VALUES];
#pragma unroll
    for (int i = 0; i < VALUES; ++i) held[i] = values[i * 1024 + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < VALUES; ++i) values[i * 1024 + threadIdx.x] = held[VALUES - 1 - i];
}
"#,
    )],
    kernels: &[Signature { names: &["starved"], parameters: &[Parameter::writes::<f32>("values")] }],
};

const BEGIN: &str = "<!-- ring 2: begin -->\n";
const END: &str = "<!-- ring 2: end -->\n";

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    match run(&mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: &str) -> Result<(), String> {
    if !["", "--write", "--check"].contains(&mode) {
        return Err(format!("{mode}: known are --write and --check"));
    }
    let (table, problems) = table().map_err(|error| error.to_string())?;
    print!("{table}");
    // Would a spill be seen?
    let starved = compile::usage(&STARVED, ARCHITECTURES[0], &[]).map_err(|error| error.to_string())?;
    if starved.iter().all(|usage| usage.spills == 0) {
        return Err("64 values in 32 registers are no spill: the report is not understood".to_owned());
    }
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("PERFORMANCE.md");
    let place = path.display();
    let text = std::fs::read_to_string(&path).map_err(|error| format!("can't read {place}: {error}"))?;
    let parts =
        text.split_once(BEGIN).and_then(|(head, rest)| rest.split_once(END).map(|(old, tail)| (head, old, tail)));
    let (head, old, tail) = parts.ok_or_else(|| format!("{place} has no place for the table"))?;
    match mode {
        "--write" => {
            let text = format!("{head}{BEGIN}{table}{END}{tail}");
            std::fs::write(&path, text).map_err(|error| format!("can't write {place}: {error}"))
        }
        "--check" if old != table => Err(format!("{place} has another table; write it anew with --write")),
        _ => Ok(()),
    }
}

/// The table, and what is wrong.
fn table() -> advantage_nas_gpu::Result<(String, Vec<String>)> {
    const FITS: &str = "writing to a string does not fail";
    let version = compiler_version()?;
    let mut table = format!(
        "NVRTC {version}, `{}`. Per thread: registers, bytes of stack, bytes spilled; per block: bytes of static shared \
         memory.\n\n",
        compile::FLAGS.join(" ")
    );
    let mut problems = Vec::new();
    let (mut head, mut rule) = ("| kernel |".to_owned(), "| --- |".to_owned());
    for architecture in ARCHITECTURES {
        write!(head, " {architecture}: registers | shared | stack | spills |").expect(FITS);
        rule.push_str(" ---: | ---: | ---: | ---: |");
    }
    writeln!(table, "{head}\n{rule}").expect(FITS);
    for source in ALL {
        let reports = ARCHITECTURES
            .iter()
            .map(|architecture| compile::usage(&source, architecture, &[]))
            .collect::<Result<Vec<_>, _>>()?;
        for (index, kernel) in source.names().enumerate() {
            write!(table, "| {kernel} |").expect(FITS);
            for (report, architecture) in reports.iter().zip(ARCHITECTURES) {
                let usage = &report[index];
                let (registers, shared, stack, spills) = (usage.registers, usage.shared, usage.stack, usage.spills);
                write!(table, " {registers} | {shared} | {stack} | {spills} |").expect(FITS);
                if spills > 0 && !SPILLS.iter().any(|(listed, _)| *listed == kernel) {
                    problems.push(format!("{kernel} spills {spills} bytes on {architecture}, and no reason is listed"));
                }
            }
            table.push('\n');
        }
    }
    for (kernel, reason) in SPILLS {
        writeln!(table, "\n{kernel} spills: {reason}").expect(FITS);
    }
    Ok((table, problems))
}
