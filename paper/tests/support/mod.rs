//! Running the command in tests, and looking at what it leaves behind.

pub mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command, without a terminal and without the caller's log settings and folders.
pub fn advnas(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advnas"));
    command.args(arguments).stdin(Stdio::null());
    for variable in ["RUST_LOG", "ADVNAS_DATA", "ADVNAS_CACHE"] {
        command.env_remove(variable);
    }
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Answer {
    /// The exit code; none if it was killed.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Answer {
    advnas(arguments).output().unwrap().into()
}

/// Runs a command that must succeed without a word on standard error.
#[track_caller]
pub fn succeed(arguments: &[&str]) -> Answer {
    let answer = run(arguments);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{arguments:?}");
    answer
}

/// Runs a command that must fail with one line that contains all `parts`.
#[track_caller]
pub fn fail(code: i32, arguments: &[&str], parts: &[&str]) -> String {
    let answer = run(arguments);
    assert_eq!(answer.code, Some(code), "{arguments:?}: {answer:?}");
    assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
    let first = answer.err.trim_end().to_owned();
    assert!(first.starts_with("error: "), "{answer:?}");
    for part in parts {
        assert!(first.contains(part), "{first:?} lacks {part:?}");
    }
    assert!(!answer.err.contains("panicked"), "{answer:?}");
    first
}

/// Starts a command and leaves it running.
pub fn start(arguments: &[&str]) -> Child {
    advnas(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until something is true; at most 30 seconds.
#[track_caller]
pub fn wait_until(what: &str, mut true_now: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !true_now() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal by name, such as `INT`.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(status.success());
}

/// Every file below a folder with its content.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(folder: &Path, prefix: &str, out: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                collect(&entry.path(), &format!("{name}/"), out);
            } else {
                out.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    collect(folder, "", &mut out);
    out
}

/// The result of a run.
pub fn result(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join("result.json")).unwrap()).unwrap()
}

/// What a finished run says, without what may differ from one time to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    metrics: String,
    theta: String,
    result: serde_json::Value,
}

impl Finished {
    /// Of the run in a folder, in which nothing but the files of a finished run may lie.
    #[track_caller]
    pub fn of(folder: &Path) -> Self {
        let names: Vec<String> = files(folder).into_keys().collect();
        assert_eq!(names, ["checkpoint.safetensors", "config.toml", "metrics.csv", "result.json", "theta.csv"]);
        let mut result = result(folder);
        for timing in ["wall_seconds", "steps_per_second"] {
            let value = result.as_object_mut().unwrap().remove(timing).unwrap();
            assert!(value.as_f64().unwrap() > 0.0);
        }
        let text = |name| fs::read_to_string(folder.join(name)).unwrap();
        Self { metrics: text("metrics.csv"), theta: text("theta.csv"), result }
    }
}

/// Settings of a small search; a step takes tens of microseconds.
pub const SMALL: [&str; 8] =
    ["--set", "toy.edges=4", "--set", "toy.candidates=4", "--set", "toy.batch=32", "--set", "theta.learning_rate=0.01"];

/// The arguments of a small search.
pub fn small<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["search", "toy", "--out", out.to_str().unwrap()];
    arguments.extend(SMALL);
    arguments.extend(more);
    arguments
}

/// The folder of the real data sets, if there is one; says so if a test is skipped without it.
pub fn real_data(set: &str) -> Option<std::path::PathBuf> {
    let Some(data) = std::env::var_os("ADVNAS_DATA").map(std::path::PathBuf::from) else {
        println!("skipped: ADVNAS_DATA is not set, there is no real {set} to test with");
        return None;
    };
    if !data.join(set).is_dir() {
        println!("skipped: {} has no {set}", data.display());
        return None;
    }
    Some(data)
}
