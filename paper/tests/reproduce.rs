//! `advnas reproduce`: what it leaves behind, that finished runs are not repeated, and that an interrupted one ends the same.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_advnas");

fn figure_1(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["reproduce", "figure-1", "--trials", "3", "--iterations", "120", "--out"]).arg(out).args(more);
    command
}

fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn csv(out: &Path) -> String {
    fs::read_to_string(out.join("figure-1.csv")).unwrap()
}

#[test]
fn figure_1_leaves_picture_numbers_and_table() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("figure");
    let output = succeed(figure_1(&out, &["--threads", "2"]));
    let table = fs::read_to_string(out.join("figure-1.md")).unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with(&table));
    // A row per method and a row per method and interval, 0 to 120.
    assert_eq!(table.lines().filter(|line| line.contains(" of 3 |")).count(), 8);
    let rows = csv(&out);
    assert_eq!(rows.lines().count(), 1 + 8 * 13);
    let svg = fs::read_to_string(out.join("figure-1.svg")).unwrap();
    for method in ["advantage-nas", "reinforce", "parsec", "proxylessnas", "gdas", "darts", "snas", "nasp"] {
        assert!(svg.contains(method) && table.contains(&format!("| {method} |")), "{method}");
        let quartiles = |line: &&str| line.starts_with(&format!("{method},"));
        for line in rows.lines().filter(quartiles) {
            let numbers: Vec<f64> = line.split(',').skip(2).map(|cell| cell.parse().unwrap()).collect();
            assert!(numbers[0] <= numbers[1] && numbers[1] <= numbers[2] && numbers[0] >= 0.0, "{line}");
        }
    }

    // Again: nothing is searched, everything is the same.
    let before = fs::metadata(out.join("darts/trial-000/result.json")).unwrap().modified().unwrap();
    succeed(figure_1(&out, &[]));
    assert_eq!(fs::metadata(out.join("darts/trial-000/result.json")).unwrap().modified().unwrap(), before);
    assert_eq!(csv(&out), rows);

    // One thread draws the same numbers.
    let alone = folder.path().join("alone");
    succeed(figure_1(&alone, &["--threads", "1", "--log"]));
    assert_eq!(csv(&alone), rows);
    assert_ne!(fs::read_to_string(alone.join("figure-1.svg")).unwrap(), svg);

    // A longer figure in the same folder is another figure.
    let mut longer = Command::new(PROGRAM);
    longer.args(["reproduce", "figure-1", "--trials", "3", "--iterations", "130", "--out"]).arg(&out);
    let refused = longer.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("iterations") && message.contains("120") && message.contains("130"), "{message}");
}

/// Finished runs are not repeated. Where another build finished them, the figure is not this build's, and that is said.
#[test]
fn runs_of_another_build_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("figure");
    succeed(figure_1(&out, &["--quiet"]));
    let rows = csv(&out);
    assert_eq!(succeed(figure_1(&out, &["--quiet"])).stderr, b"");
    for trial in ["gdas/trial-001", "nasp/trial-002"] {
        let config = out.join(trial).join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        let commit = text.lines().find(|line| line.starts_with("commit = ")).unwrap();
        fs::write(&config, text.replace(commit, "commit = \"0123456\"")).unwrap();
    }
    let message = String::from_utf8(succeed(figure_1(&out, &["--quiet"])).stderr).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    for part in ["gdas/trial-001 and 1 more", "another build", "0123456", "--out"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(csv(&out), rows);
}

#[test]
fn a_killed_figure_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    succeed(figure_1(&whole, &["--all"]));
    let out = folder.path().join("killed");
    let mut interrupted = 0;
    for delay in [60, 120, 180] {
        let mut child = figure_1(&out, &["--all"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        interrupted += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(interrupted > 0, "every run had ended before it was killed");
    succeed(figure_1(&out, &["--all"]));
    assert_eq!(csv(&out), csv(&whole));
    assert_eq!(csv(&out).lines().count(), 1 + 12 * 13);
}

#[test]
fn nonsense_is_refused() {
    for (arguments, code) in [
        (&["reproduce", "figure-9"][..], 2),
        (&["reproduce", "figure-1", "--trials", "0"], 2),
        (&["reproduce", "figure-1", "--iterations", "0"], 2),
        (&["reproduce", "figure-1", "--out", "/proc/figure"], 1),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

/// Claim C20 at the process: what is resident beside the weights stays where it is for sparse methods, and grows for dense ones.
#[cfg(target_os = "linux")]
#[test]
fn memory_grows_with_the_candidates_of_dense_methods_only() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("memory");
    let mut command = Command::new(PROGRAM);
    command.args(["reproduce", "memory", "--batch", "2", "--quiet", "--out"]).arg(&out);
    let output = succeed(command);
    let table = fs::read_to_string(out.join("memory.md")).unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with(&table));
    let rows = fs::read_to_string(out.join("memory.csv")).unwrap();
    let columns: Vec<&str> = rows.lines().next().unwrap().split(',').collect();
    let column = |line: &str, name: &str| {
        let index = columns.iter().position(|column| *column == name).unwrap();
        line.split(',').nth(index).unwrap().to_owned()
    };
    let number = |line: &str, name: &str| column(line, name).parse::<f64>().unwrap();
    for (method, proposals) in
        [("reinforce", "one-hot"), ("advantage-nas", "one-hot"), ("proxylessnas", "two-hot"), ("darts", "dense")]
    {
        let lines: Vec<&str> = rows.lines().filter(|line| column(line, "method") == method).collect();
        let counts: Vec<String> = lines.iter().map(|line| column(line, "candidates")).collect();
        assert_eq!(counts, ["2", "4", "8", "16", "32"]);
        assert!(lines.iter().all(|line| column(line, "proposals") == proposals));
        for line in &lines {
            // The process touches what was planned and a few megabytes of its own: the program, buffers of a single filter.
            let more = number(line, "working") - number(line, "planned");
            assert!((0.0..8e6).contains(&more), "{line}");
        }
        let [first, last] = [lines[0], lines[4]].map(|line| number(line, "working"));
        if method == "darts" {
            assert!(last > 10.0 * first, "{rows}");
        } else {
            assert!((last / first - 1.0).abs() < 0.15, "{rows}");
        }
        let [first, last] = [lines[0], lines[4]].map(|line| number(line, "parameters"));
        assert!(last > 8.0 * first, "{rows}");
    }

    let mut command = Command::new(PROGRAM);
    command.args(["reproduce", "memory-of", "darts", "0"]);
    assert_eq!(command.output().unwrap().status.code(), Some(2));
}
