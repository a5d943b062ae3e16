//! Ring 2: what the assembler says that kernels need.

use std::fmt::Write;

use advantage_nas_gpu::device::{compile, compiler_version};
use advantage_nas_gpu::kernels::{ALL, SPILLS};

use crate::{Table, multiprocessor};

/// Registers, shared memory, stack and spills of all kernels.
pub fn table() -> Result<Table, String> {
    const FITS: &str = "writing to a string does not fail";
    let version = compiler_version().map_err(|error| error.to_string())?;
    let mut text = format!(
        "NVRTC {version}, `{}`. Per thread: registers, bytes of stack, bytes spilled; per block: bytes of static shared \
         memory.\n\n",
        compile::FLAGS.join(" ")
    );
    let mut problems = Vec::new();
    let architectures = multiprocessor::ALL.map(|multiprocessor| multiprocessor.architecture);
    let (mut head, mut rule) = ("| kernel |".to_owned(), "| --- |".to_owned());
    for architecture in architectures {
        write!(head, " {architecture}: registers | shared | stack | spills |").expect(FITS);
        rule.push_str(" ---: | ---: | ---: | ---: |");
    }
    writeln!(text, "{head}\n{rule}").expect(FITS);
    for source in ALL {
        let reports = architectures.map(|architecture| compile::usage(&source, architecture, &[]));
        let reports = reports.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        for (index, kernel) in source.names().enumerate() {
            write!(text, "| {kernel} |").expect(FITS);
            for (report, architecture) in reports.iter().zip(architectures) {
                let usage = &report[index];
                let (registers, shared, stack, spills) = (usage.registers, usage.shared, usage.stack, usage.spills);
                write!(text, " {registers} | {shared} | {stack} | {spills} |").expect(FITS);
                if spills > 0 && !SPILLS.iter().any(|(listed, _)| *listed == kernel) {
                    problems.push(format!("{kernel} spills {spills} bytes on {architecture}, and no reason is listed"));
                }
            }
            text.push('\n');
        }
    }
    for (kernel, reason) in SPILLS {
        writeln!(text, "\n{kernel} spills: {reason}").expect(FITS);
    }
    Ok(Table { name: "ring 2", text, problems })
}
