//! What the command says and how it ends, above all when something is wrong.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::support::{self, advnas, fail, files, run, small, start, succeed, wait_until};

#[test]
fn help_and_version() {
    let help = succeed(&["--help"]).out;
    for word in ["search", "data", "evaluate", "methods", "info", "Example:", "advnas search toy"] {
        assert!(help.contains(word), "{help}");
    }
    let help = succeed(&["search", "toy", "--help"]).out;
    let options = [
        "--method",
        "--seed",
        "--trials",
        "--iterations",
        "--interval",
        "--set",
        "--out",
        "--resume",
        "--threads",
        "--stop-after",
        "--checkpoint-every",
        "--quiet",
        "--verbose",
        "Example:",
    ];
    for option in options {
        assert!(help.contains(option), "{option} is missing in {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    for (command, options) in [
        (&["data", "check"][..], &["--data", "--cache", "--json", "ADVNAS_DATA"][..]),
        (&["data", "fetch"], &["cifar10", "ptb", "--data", "--from", "--quiet"]),
        (&["evaluate", "cifar10"], &["--architecture", "--index", "--data", "--json", "Example:"]),
    ] {
        let help = succeed(&[command, &["--help"]].concat()).out;
        for option in options {
            assert!(help.contains(option), "{option} is missing in {help}");
        }
    }
    let version = succeed(&["--version"]).out;
    assert!(version.starts_with(concat!("advnas ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    // Without a command, help is what was missed.
    let answer = run(&[]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("Usage:"), "{answer:?}");
}

#[test]
fn methods() {
    let out = succeed(&["methods"]).out;
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    // Table 1, as the paper prints it.
    let table = [
        ["DARTS", "dense", "n-hot", "no", "no"],
        ["SNAS", "dense", "n-hot", "yes", "no"],
        ["NASP", "dense", "one-hot", "no", "yes"],
        ["ProxylessNAS", "sparse", "two-hot", "yes", "no"],
        ["PARSEC", "sparse", "one-hot", "yes", "no"],
        ["GDAS", "sparse", "one-hot", "yes", "no"],
        ["ENAS", "sparse", "one-hot", "yes", "no"],
        ["AdvantageNAS", "sparse", "one-hot", "yes", "yes"],
    ];
    for row in table {
        assert!(lines.iter().any(|line| line.starts_with(&row)), "{row:?} is missing in {out}");
    }
    // What is listed is what --method takes.
    let (_, rest) = out.split_once("(--method):\n").unwrap();
    let listed: Vec<&str> = rest.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(listed.contains(&"advantage-nas") && listed.contains(&"darts"));
    let message = fail(2, &["search", "toy", "--method", "random"], &["unknown method \"random\", known are: "]);
    let (_, known) = message.split_once("known are: ").unwrap();
    assert_eq!(known.split(", ").collect::<Vec<_>>(), listed);
}

#[test]
fn info() {
    let out = succeed(&["info"]).out;
    let value = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {out}"));
        line[name.len()..].trim().to_owned()
    };
    assert_eq!(value("version"), env!("CARGO_PKG_VERSION"));
    let commit = value("commit");
    let hash = commit.strip_suffix("-dirty").unwrap_or(&commit);
    assert!(commit == "unknown" || hash.len() >= 7 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{commit}");
    assert!(value("rustc").starts_with("rustc 1."));
    assert!(value("target").contains(std::env::consts::ARCH));
    assert!(value("cpu").contains(std::env::consts::ARCH));
    assert!(value("threads").parse::<usize>().unwrap() >= 1);
    assert!(value("runs").ends_with("runs"));
}

#[test]
fn nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let search = small(&out, &["--iterations", "20"]);
    for arguments in [&["methods"][..], &["info"], &["--help"], &search] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = advnas(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{arguments:?}: {output:?}");
    }
    assert!(out.join("result.json").exists());
    // Nor at standard error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(advnas(&search).stdout(Stdio::null()).stderr(writer).status().unwrap().code(), Some(1));
}

#[test]
fn zero_of_anything() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for option in ["--trials", "--iterations", "--interval", "--threads", "--stop-after", "--checkpoint-every"] {
        fail(2, &small(&out, &[option, "0"]), &[option, "0"]);
        fail(2, &small(&out, &[option, "-1"]), &["-1"]);
        fail(2, &small(&out, &[option, "many"]), &[option, "many"]);
    }
    let base = ["search", "toy", "--out", out.to_str().unwrap(), "--set"];
    let set = |setting: &str, parts: &[&str]| fail(2, &[&base[..], &[setting]].concat(), parts);
    set("iterations=0", &["settings: the number of iterations must be at least 1, got 0"]);
    set("interval=0", &["the log interval must be at least 1, got 0"]);
    set("toy.edges=0", &["settings: ", "at least one edge"]);
    set("toy.candidates=0", &["settings: edge 0 has no candidate operation"]);
    set("toy.batch=0", &["settings: the toy minibatch must be from 1 to", "got 0"]);
    assert!(!out.exists());
}

#[test]
fn wrong_settings() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let base = ["search", "toy", "--out", out.to_str().unwrap()];
    let set = |setting: &str, parts: &[&str]| fail(2, &[&base[..], &["--set", setting]].concat(), parts);
    set("theta.rate=1", &["unknown setting \"theta.rate\", known are: method, seed, ", "theta.learning_rate, "]);
    set("theta.learning_rate=fast", &["theta.learning_rate = fast: expected a number"]);
    set("theta.learning_rate=-1", &["settings: the learning rate of theta must be finite and at least 0, got -1"]);
    set("theta.learning_rate=nan", &["the learning rate of theta", "NaN"]);
    set("theta.beta1=1", &["settings: ", "below 1"]);
    set("theta.clip_norm=0", &["settings: ", "positive"]);
    set("theta.rate_schedule=linear", &["theta.rate_schedule = linear: unknown variant", "`cosine`"]);
    set("average_decay=2", &["settings: ", "got 2"]);
    set("zero_rule=1", &["zero_rule = 1: expected a word"]);
    set("baseline=maybe", &["baseline = maybe: expected true or false"]);
    set("seed=1.5", &["seed = 1.5: expected a whole number"]);
    set("method=random", &["method = random: unknown method", "known are: reinforce, "]);
    set("toy.batch=1000000", &["the toy minibatch", "got 1000000"]);
    set(
        "toy.edges=1000000000000",
        &["the toy network must be of at most 1000000 candidates", "got 1000000000000 edges"],
    );
    set("seed", &["expected KEY=VALUE", "seed"]);
    fail(2, &[&base[..], &["--seed", "1", "--set", "seed=1"]].concat(), &["the setting seed is given twice"]);
    fail(2, &[&base[..], &["--trials", "2", "--set", "trial=1"]].concat(), &["trial picks a single trial"]);
    fail(2, &[&base[..], &["--seed", "9223372036854775808"]].concat(), &["--seed"]);
    fail(2, &[&base[..], &["--out", ""]].concat(), &["--out"]);
    fail(2, &[&base[..], &["--what"]].concat(), &["--what"]);
    fail(2, &["search", "imagenet"], &["imagenet"]);
    assert!(!out.exists());
}

#[test]
fn flags_are_shortcuts() {
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        succeed(&[&["search", "toy", "--quiet", "--out", out.to_str().unwrap()], more].concat());
        fs::read_to_string(out.join("config.toml")).unwrap()
    };
    let flags = ["--method", "reinforce", "--seed", "3", "--iterations", "20", "--interval", "5"];
    let sets = ["method=reinforce", "seed=3", "iterations=20", "interval=5"].map(|setting| ["--set", setting]);
    let by_flags = config("flags", &flags);
    assert_eq!(by_flags, config("sets", &sets.concat()));
    for line in ["method = \"reinforce\"", "seed = 3", "iterations = 20", "interval = 5", "edges = 10"] {
        assert!(by_flags.lines().any(|there| there == line), "{line} is missing in {by_flags}");
    }
}

#[test]
fn the_default_folder() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["search", "toy", "--iterations", "20", "--seed", "4", "--method", "reinforce"];
    let output = advnas(&arguments).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let files = files(folder.path());
    let expected = ["checkpoint.safetensors", "config.toml", "metrics.csv", "result.json", "theta.csv"]
        .map(|name| format!("runs/toy-reinforce-seed4/{name}"));
    assert_eq!(files.into_keys().collect::<Vec<_>>(), expected);
}

/// Failing changes nothing below `folder`.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let before = files(folder);
    fail(1, arguments, parts);
    assert_eq!(files(folder), before);
}

#[test]
fn occupied_folders() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);

    let foreign = place("foreign");
    fs::create_dir(&foreign).unwrap();
    // An empty folder is as good as none.
    succeed(&small(&foreign, &["--iterations", "20"]));
    fs::remove_dir_all(&foreign).unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "").unwrap();
    for more in [&[][..], &["--resume"], &["--trials", "2"], &["--trials", "2", "--resume"]] {
        refused(folder.path(), &small(&foreign, more), &["foreign holds thesis.tex; ", "choose another --out"]);
    }

    let single = place("single");
    succeed(&small(&single, &["--iterations", "50", "--stop-after", "20"]));
    let message = "single holds an unfinished run; continue it with --resume, or choose another --out";
    refused(folder.path(), &small(&single, &["--iterations", "50"]), &[message]);
    succeed(&small(&single, &["--iterations", "50", "--resume"]));
    let message = "single holds a finished run; choose another --out";
    refused(folder.path(), &small(&single, &["--iterations", "50"]), &[message]);
    for resume in [&["--trials", "3", "--resume"][..], &["--trials", "3"]] {
        refused(folder.path(), &small(&single, resume), &["single holds a single run; leave out --trials"]);
    }

    let several = place("several");
    succeed(&small(&several, &["--iterations", "50", "--trials", "2"]));
    refused(folder.path(), &small(&several, &["--trials", "2"]), &["several holds several trials; ", "--resume"]);
    for resume in [&["--iterations", "50", "--resume"][..], &["--iterations", "50"]] {
        refused(folder.path(), &small(&several, resume), &["several holds several trials; ", "--trials"]);
    }
    // All trials are looked at before any is worked on.
    fs::remove_file(several.join("trial-001/config.toml")).unwrap();
    fs::remove_file(several.join("trial-000/result.json")).unwrap();
    let resume = small(&several, &["--iterations", "50", "--trials", "2", "--resume"]);
    refused(folder.path(), &resume, &["trial-001 holds checkpoint.safetensors and 3 more; "]);
}

#[test]
fn unusable_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    refused(folder.path(), &small(&file, &[]), &["file is not a folder"]);
    refused(folder.path(), &small(&file, &["--trials", "2", "--resume"]), &["file is not a folder"]);
    // Also for those who may write everywhere.
    refused(folder.path(), &small(&file.join("run"), &[]), &["can't ", "file/run", "Not a directory"]);
    if cfg!(target_os = "linux") {
        fail(1, &small(Path::new("/proc/run"), &[]), &["can't create /proc/run"]);
    }
}

#[cfg(unix)]
#[test]
fn read_only_folders() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        println!("skipped: this user may write to read-only folders");
        return;
    }
    fail(1, &small(&closed, &[]), &["can't write to ", "closed"]);
    fail(1, &small(&closed.join("run"), &[]), &["can't create ", "closed/run"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    for (log, trials) in [("metrics.csv", "1"), ("theta.csv", "1"), ("theta.csv", "2")] {
        let out = folder.path().join(format!("{log}-{trials}"));
        let more = ["--iterations", "4000", "--trials", trials, "--checkpoint-every", "100", "--resume"];
        succeed(&small(&out, &[&more[..], &["--stop-after", "1"]].concat()));
        let run = if trials == "1" { out.clone() } else { out.join("trial-001") };
        fs::remove_file(run.join("checkpoint.safetensors")).unwrap();
        fs::remove_file(run.join(log)).unwrap();
        std::os::unix::fs::symlink("/dev/full", run.join(log)).unwrap();
        fail(1, &small(&out, &more), &["can't write ", log, "No space left"]);
        // Nothing was written that counts on the lost rows, and with more space the run goes on.
        assert!(!run.join("checkpoint.safetensors").exists());
        fs::remove_file(run.join(log)).unwrap();
        succeed(&small(&out, &more));
        assert!(run.join("result.json").exists());
    }
}

#[test]
fn damaged_runs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let resume = small(&out, &["--iterations", "50", "--resume"]);
    succeed(&resume);
    let good = fs::read(out.join("result.json")).unwrap();
    for length in [0, 1, good.len() / 2] {
        fs::write(out.join("result.json"), &good[..length]).unwrap();
        refused(folder.path(), &resume, &["result.json: "]);
    }
    fs::write(out.join("result.json"), good).unwrap();
    let good = fs::read_to_string(out.join("config.toml")).unwrap();
    for text in ["", "settings", &good[..good.len() / 2], &good.replace("[provenance]", "[other]")] {
        fs::write(out.join("config.toml"), text).unwrap();
        refused(folder.path(), &resume, &["config.toml: not a config: "]);
    }
    fs::write(out.join("config.toml"), [0xff, 0xfe]).unwrap();
    refused(folder.path(), &resume, &["can't read ", "config.toml"]);
    fs::write(out.join("config.toml"), good).unwrap();
    succeed(&resume);
}

#[test]
fn summaries() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one");
    let out = succeed(&small(&one, &["--seed", "3", "--iterations", "1500"])).out;
    let hit = support::result(&one)["first_hit"].as_u64().expect("the teacher is found with this seed");
    assert!(out.contains(&format!("found the teacher's architecture at iteration {hit}\n")), "{out}");
    let fields = ["test loss      0\n", "edges right    4/4\n", "process best   minibatch loss 0 at", "steps/s, "];
    for part in fields {
        assert!(out.contains(part), "{part:?} is missing in {out}");
    }
    assert!(out.contains(one.to_str().unwrap()));

    let many = folder.path().join("many");
    let out = succeed(&small(&many, &["--trials", "3", "--iterations", "60"])).out;
    let results = [0, 1, 2].map(|trial| support::result(&many.join(format!("trial-00{trial}"))));
    let mut right: Vec<u64> = results.iter().map(|r| r["argmax"]["edges_right"].as_u64().unwrap()).collect();
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    for (trial, right) in right.iter().enumerate() {
        let row = lines.iter().find(|line| line.first() == Some(&trial.to_string().as_str())).unwrap();
        assert_eq!(row[2], format!("{right}/4"));
    }
    let found = results.iter().filter(|result| !result["first_hit"].is_null()).count();
    let held = right.iter().filter(|right| **right == 4).count();
    assert!(out.contains(&format!("was found in {found} of 3 trials and is the final one in {held} of 3")), "{out}");
    right.sort_unstable();
    let median = lines.iter().find(|line| line.first() == Some(&"median")).unwrap();
    assert_eq!(median[2], right[1].to_string());
}

#[test]
fn logs_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    succeed(&small(&out, &["--iterations", "50", "--stop-after", "20"]));
    let answer = run(&small(&out, &["--iterations", "50", "--stop-after", "30", "--resume", "-vv"]));
    assert!(answer.err.contains("resuming at step 20"), "{answer:?}");
    assert!(answer.err.contains("checkpoint at step 30"), "{answer:?}");
    let mut command = advnas(&small(&out, &["--iterations", "50", "--resume"]));
    let output = command.env("RUST_LOG", "info").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("resuming at step 30") && !err.contains("checkpoint at"), "{err}");
}

#[test]
fn a_folder_that_vanishes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let child = start(&small(&out, &["--iterations", "100000000", "--checkpoint-every", "1000"]));
    wait_until("the first checkpoint", || out.join("checkpoint.safetensors").exists());
    fs::rename(&out, folder.path().join("moved")).unwrap();
    let answer: support::Answer = child.wait_with_output().unwrap().into();
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.err.starts_with("error: can't write to "), "{answer:?}");
    assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
}
