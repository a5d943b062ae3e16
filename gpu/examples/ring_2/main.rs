//! Ring 2: every kernel compiled by the real NVRTC to machine code, what no other compiler sees; and ring 2b, what that code says about
//! speed without a GPU.
//!
//! ```text
//! cargo run -p advantage-nas-gpu --example ring_2             prints the tables, fails on what is not as the kernels' entries say
//! cargo run -p advantage-nas-gpu --example ring_2 -- --write  and writes them into gpu/PERFORMANCE.md
//! cargo run -p advantage-nas-gpu --example ring_2 -- --check  and fails unless the tables are there as they are
//! ```
//!
//! NVRTC must be on `LD_LIBRARY_PATH`; `gpu/nvrtc.sh` gets it. `NVDISASM` names NVIDIA's disassembler, which `gpu/disassembler.sh` gets;
//! without it, ring 2b is skipped, and says so. No GPU and no driver are needed. The tables depend on the version of NVRTC, which
//! `gpu/nvrtc.sh` fixes.

mod cubin;
mod faults;
mod multiprocessor;
mod resources;
mod sass;
mod speed;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A table of PERFORMANCE.md.
struct Table {
    /// Between which comments it stands.
    name: &'static str,
    text: String,
    /// What is not as it should be.
    problems: Vec<String>,
}

/// Whether two tables have the same rows, with numbers that differ by a tenth or two at most, and zeros where there were some: of the same text, the compiler makes code with a register or an
/// instruction more or less from one run to the next. What is stated beside a kernel is checked without any leeway.
fn alike(old: &str, new: &str) -> bool {
    let near = |old: f64, new: f64| {
        let (apart, larger) = ((old - new).abs(), old.abs().max(new.abs()));
        old * new != 0.0 && (apart <= 0.1 * larger || larger >= 4.0 && apart <= 2.0)
    };
    let close = |(old, new): (&str, &str)| {
        let numbers = (old.trim().parse::<f64>(), new.trim().parse::<f64>());
        old == new || matches!(numbers, (Ok(old), Ok(new)) if near(old, new))
    };
    let row = |(old, new): (&str, &str)| {
        old.split('|').count() == new.split('|').count() && old.split('|').zip(new.split('|')).all(close)
    };
    old.lines().count() == new.lines().count() && old.lines().zip(new.lines()).all(row)
}

#[test]
fn tables_are_alike_but_for_a_register() {
    assert!(alike("| back | 126 | 0 |\n| node | 80 |\n", "| back | 128 | 0 |\n| node | 80 |\n"));
    for other in [
        "| back | 126 | 8 |\n| node | 80 |",
        "| back | 150 | 0 |\n| node | 80 |",
        "| back | 126 | 0 |",
        "| b | 126 | 0 |\n| node | 80 |",
    ] {
        assert!(!alike("| back | 126 | 0 |\n| node | 80 |\n", other), "{other}");
    }
}

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
    let mut tables = vec![resources::table()?];
    faults::spill()?;
    match std::env::var_os("NVDISASM").filter(|path| !path.is_empty()).map(PathBuf::from) {
        Some(disassembler) => {
            tables.push(speed::table(&disassembler)?);
            faults::speed(&disassembler)?;
            faults::copies(&disassembler)?;
        }
        None if mode == "--write" => {
            return Err("NVDISASM does not name the disassembler: half of the tables".to_owned());
        }
        None => println!("SKIPPED: ring 2b, as NVDISASM does not name the disassembler; gpu/disassembler.sh gets it\n"),
    }
    for table in &tables {
        println!("{}", table.text);
    }
    let problems: Vec<&str> = tables.iter().flat_map(|table| &table.problems).map(String::as_str).collect();
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("PERFORMANCE.md");
    let place = path.display();
    let mut text = std::fs::read_to_string(&path).map_err(|error| format!("can't read {place}: {error}"))?;
    for Table { name, text: table, .. } in &tables {
        let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->\n"));
        let parts = text.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(&end)?)));
        let (head, (old, tail)) = parts.ok_or_else(|| format!("{place} has no place for the table of {name}"))?;
        if mode == "--check" && !alike(old, table) {
            return Err(format!("{place} has another table of {name}; write it anew with --write"));
        }
        text = format!("{head}{begin}{table}{end}{tail}");
    }
    match mode {
        "--write" => std::fs::write(&path, text).map_err(|error| format!("can't write {place}: {error}")),
        _ => Ok(()),
    }
}
