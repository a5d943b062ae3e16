//! CUDA C++ to machine code. Only NVRTC is needed for it, no driver and no device.

use std::ffi::CString;

use cudarc::nvrtc::result as nvrtc;
use cudarc::nvrtc::sys;

use super::Source;
use super::library::compiler_version;
use crate::error::{Error, Result};

/// Flags that all kernels are compiled with, beside the architecture. Without contraction, what is fused is what is
/// written as `fmaf`: the same bits on every architecture.
pub const FLAGS: [&str; 2] = ["--std=c++17", "--fmad=false"];

/// Machine code and what the compiler said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The machine code, an ELF file.
    pub cubin: Vec<u8>,
    /// The log.
    pub log: String,
}

/// Compiles a module for one architecture, such as `sm_90`, with [`FLAGS`] and more flags.
///
/// # Errors
/// [`Error::NoLibrary`] without NVRTC, [`Error::Compile`] with the compiler's log.
pub fn compile(source: &Source, architecture: &str, more_flags: &[&str]) -> Result<Compiled> {
    compiler_version()?;
    let flags = flags(architecture, more_flags);
    let error = |problem: String, log: &str| Error::Compile {
        module: source.name,
        architecture: architecture.to_owned(),
        flags: flags.join(" "),
        problem,
        log: one_line(log),
    };
    let text = |text: &str| CString::new(text).map_err(|zero| error(zero.to_string(), ""));
    let (source_text, name) = (text(&source.text())?, text(source.name)?);
    for flag in &flags {
        text(flag)?;
    }
    let program = Program(nvrtc::create_program(&source_text, Some(&name)).map_err(|e| error(e.to_string(), ""))?);
    // SAFETY: the program is alive until it is dropped below.
    let compiled = unsafe { nvrtc::compile_program(program.0, &flags) };
    let log = program.log();
    compiled.map_err(|problem| error(problem.to_string(), &log))?;
    let cubin = program.cubin().map_err(|problem| error(problem.to_string(), &log))?;
    Ok(Compiled { cubin, log })
}

/// All flags of a compilation.
pub(super) fn flags(architecture: &str, more: &[&str]) -> Vec<String> {
    let first = format!("--gpu-architecture={architecture}");
    std::iter::once(first).chain(FLAGS.iter().chain(more).map(|&flag| flag.to_owned())).collect()
}

/// The lines of a log that say something, in one.
fn one_line(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "empty".to_owned() } else { lines.join(" | ") }
}

/// A program of NVRTC, destroyed when it is dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn log(&self) -> String {
        // SAFETY: the program is alive.
        let bytes = unsafe { nvrtc::get_program_log(self.0) }.unwrap_or_default();
        let bytes: Vec<u8> = bytes.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn cubin(&self) -> Result<Vec<u8>, nvrtc::NvrtcError> {
        let mut size = 0;
        // SAFETY: the program is alive; one number is written.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &raw mut size) }.result()?;
        let mut cubin = vec![0u8; size];
        // SAFETY: the program is alive; as many bytes are written as it has just said.
        unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast()) }.result()?;
        Ok(cubin)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it was created and is destroyed once. What fails here can't be helped.
        let _ = unsafe { nvrtc::destroy_program(self.0) };
    }
}

/// What the assembler reports of one kernel.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// The kernel.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
    /// Bytes of stack of a thread.
    pub stack: u32,
    /// Bytes of registers that are spilled, stores and loads.
    pub spills: u32,
}

/// Compiles a module, with more flags, and reads what the assembler reports of each of its kernels.
///
/// # Errors
/// As [`compile`](fn@compile), and [`Error::Compile`] if the report lacks a kernel.
pub fn usage(source: &Source, architecture: &str, more_flags: &[&str]) -> Result<Vec<Usage>> {
    let more_flags = [&["--ptxas-options=-v"], more_flags].concat();
    let compiled = compile(source, architecture, &more_flags)?;
    let reported = read_usage(&compiled.log);
    source
        .names()
        .map(|kernel| {
            reported.iter().find(|usage| usage.kernel == kernel).cloned().ok_or_else(|| Error::Compile {
                module: source.name,
                architecture: architecture.to_owned(),
                flags: flags(architecture, &more_flags).join(" "),
                problem: format!("the assembler's report has no {kernel}"),
                log: one_line(&compiled.log),
            })
        })
        .collect()
}

/// Reads the report of the assembler.
fn read_usage(log: &str) -> Vec<Usage> {
    let mut out: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            out.push(Usage { kernel, registers: 0, shared: 0, stack: 0, spills: 0 });
        }
        let Some(last) = out.last_mut() else { continue };
        let number = |after: &str| before(line, after);
        if let Some(registers) = number(" registers") {
            last.registers = registers;
            last.shared = number(" bytes smem").unwrap_or(0);
        }
        if let Some(stack) = number(" bytes stack frame") {
            last.stack = stack;
            last.spills = number(" bytes spill stores").unwrap_or(0) + number(" bytes spill loads").unwrap_or(0);
        }
    }
    out
}

/// The number before some words.
fn before(line: &str, words: &str) -> Option<u32> {
    let (head, _) = line.split_once(words)?;
    head.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        // From NVRTC 13.0; the second kernel made up.
        let log = "\
ptxas info    : 60 bytes gmem, 120 bytes cmem[4]
ptxas info    : Compiling entry function 'toy_edges' for 'sm_80'
ptxas info    : Function properties for toy_edges
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 80 registers, used 1 barriers, 24736 bytes smem, 436 bytes cmem[0], 8 bytes cmem[2]
ptxas info    : Compile time = 102.348 ms
ptxas info    : Compiling entry function 'other' for 'sm_80'
ptxas info    : Function properties for other
ptxas         .     128 bytes stack frame, 24 bytes spill stores, 40 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 388 bytes cmem[0]
";
        let usage = |kernel: &str, registers, shared, stack, spills| Usage {
            kernel: kernel.to_owned(),
            registers,
            shared,
            stack,
            spills,
        };
        assert_eq!(read_usage(log), [usage("toy_edges", 80, 24736, 0, 0), usage("other", 255, 0, 128, 64)]);
        assert!(read_usage("").is_empty());
    }

    #[test]
    fn logs_become_one_line() {
        assert_eq!(one_line("a.cu(1): error: b\n\n  1 error\n"), "a.cu(1): error: b | 1 error");
        assert_eq!(one_line(" \n"), "empty");
    }
}
