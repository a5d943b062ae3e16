//! A search that was killed, interrupted or paused and then resumed leaves what an uninterrupted one leaves, bit for bit.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::{self, Finished, fail, files, result, run, signal, small, start, succeed, wait_until};
use advantage_nas::state::State;
use advantage_nas::strategy::Method;
use advantage_nas_paper::Error;
use advantage_nas_paper::build::Provenance;
use advantage_nas_paper::run::{Checkpoint, Config};
use advantage_nas_paper::settings::{Experiment, Settings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Runs a search without interruption.
fn uninterrupted(out: &Path, more: &[&str]) {
    succeed(&small(out, more));
}

/// How much of the logs below a folder is written: a clock that goes with the search, however busy the machine is.
fn logged(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.file_name().to_str() {
            Some("theta.csv") => entry.metadata().map_or(0, |metadata| metadata.len()),
            Some(name) if name.starts_with("trial-") => logged(&entry.path()),
            _ => 0,
        })
        .sum()
}

/// Starts a search and kills it when so much is logged and a random moment has passed, or lets it end if it is faster.
fn kill_at(arguments: &[&str], out: &Path, logged_bytes: u64, random: &mut StdRng) {
    let mut child = start(arguments);
    while logged(out) < logged_bytes && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(Duration::from_micros(random.random_range(0..10_000)));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killed_at_any_moment() {
    const KILLS: u32 = 20;
    // The first checkpoint comes after a quarter of the run.
    let search = [
        "--iterations",
        "4000",
        "--interval",
        "2",
        "--checkpoint-every",
        "1000",
        "--set",
        "theta.rate_schedule=cosine",
    ];
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    uninterrupted(&whole, &search);
    let expected = Finished::of(&whole);

    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut before_first, mut attempts) = (0, 0);
    for kill in 0..KILLS {
        // One kill in every twentieth of the run; earlier than that if the process was faster.
        let mut share = (f64::from(kill) + random.random::<f64>()) / f64::from(KILLS);
        let out = loop {
            attempts += 1;
            let out = folder.path().join(format!("run-{attempts}"));
            kill_at(&small(&out, &search), &out, (share * logged(&whole) as f64) as u64, &mut random);
            if !out.join("result.json").exists() {
                break out;
            }
            share *= 0.9;
        };
        before_first += u32::from(!out.join("checkpoint.safetensors").exists());
        succeed(&small(&out, &[&search[..], &["--resume"]].concat()));
        assert_eq!(Finished::of(&out), expected, "killed after {share} of the run");
        fs::remove_dir_all(&out).unwrap();
    }
    println!("{KILLS} kills in {attempts} attempts, {before_first} of them before the first checkpoint");
    assert!(before_first > 0 && before_first < KILLS, "{before_first} of {KILLS} kills before the first checkpoint");
}

#[test]
fn killed_again_and_again() {
    let search = ["--iterations", "4000", "--checkpoint-every", "50", "--resume"];
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("run"));
    uninterrupted(&whole, &search);
    let mut random = StdRng::seed_from_u64(1);
    let mut kills = 0;
    let written = || out.join("checkpoint.safetensors").metadata().and_then(|metadata| metadata.modified()).ok();
    while !out.join("result.json").exists() {
        let before = written();
        let mut child = start(&small(&out, &search));
        while written() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    println!("{kills} kills");
    assert!(kills > 1, "only {kills} kills");
    assert_eq!(Finished::of(&out), Finished::of(&whole));
}

#[test]
fn several_trials_killed() {
    let trials = ["--trials", "4", "--iterations", "1500", "--interval", "2", "--checkpoint-every", "200"];
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    uninterrupted(&whole, &[&trials[..], &["--threads", "2"]].concat());
    let mut random = StdRng::seed_from_u64(2);
    let mut unfinished = 0;
    for kill in 0..5 {
        let out = folder.path().join(format!("run-{kill}"));
        let share = (f64::from(kill) + random.random::<f64>()) / 5.0;
        let bytes = (share * logged(&whole) as f64) as u64;
        kill_at(&small(&out, &[&trials[..], &["--threads", "2"]].concat()), &out, bytes, &mut random);
        let done = (0..4).filter(|trial| out.join(format!("trial-00{trial}/result.json")).exists()).count();
        println!("killed after {share} of the work, {done} trials were finished");
        unfinished += usize::from(done < 4);
        succeed(&small(&out, &[&trials[..], &["--threads", "1", "--resume"]].concat()));
        for trial in 0..4 {
            let name = format!("trial-00{trial}");
            assert_eq!(Finished::of(&out.join(&name)), Finished::of(&whole.join(&name)), "kill {kill}, {name}");
        }
    }
    assert!(unfinished >= 2, "only {unfinished} kills came in time");
}

#[test]
fn threads_change_nothing_and_trials_are_independent() {
    let folder = tempfile::tempdir().unwrap();
    let trials = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        succeed(&small(&out, &[&["--iterations", "600"], more].concat()));
        out
    };
    let one = trials("one", &["--trials", "3", "--threads", "1"]);
    let two = trials("two", &["--trials", "3", "--threads", "2"]);
    let finished: Vec<[Finished; 2]> =
        (0..3).map(|trial| [&one, &two].map(|folder| Finished::of(&folder.join(format!("trial-00{trial}"))))).collect();
    for [one, two] in &finished {
        assert_eq!(one, two);
    }
    assert_ne!(finished[0][0], finished[1][0]);
    // The first of several is the single one, and any one can be had alone.
    assert_eq!(Finished::of(&trials("single", &[])), finished[0][0]);
    assert_eq!(Finished::of(&trials("second", &["--set", "trial=1"])), finished[1][0]);
    // More trials may be added to those that are there.
    let before = files(&one);
    succeed(&small(&one, &["--iterations", "600", "--trials", "4", "--resume"]));
    let after = files(&one);
    assert!(before.iter().all(|(name, content)| after.get(name) == Some(content)));
    assert_eq!(after.len(), before.len() + 5);
}

#[test]
fn paused_by_steps() {
    for method in Method::ALL.map(Method::name) {
        let search = ["--method", method, "--iterations", "500", "--set", "theta.rate_schedule=cosine"];
        let folder = tempfile::tempdir().unwrap();
        let (whole, out) = (folder.path().join("whole"), folder.path().join("run"));
        uninterrupted(&whole, &search);
        // On a log row, between two, twice at the same step, at a step that was passed already, one before the end.
        for stop in ["1", "10", "10", "95", "3", "499"] {
            let stopped = ["--resume", "--stop-after", stop, "--checkpoint-every", "7"];
            let answer = succeed(&small(&out, &[&search[..], &stopped].concat()));
            let position = if stop == "3" { "95" } else { stop };
            assert!(answer.out.starts_with(&format!("paused at step {position} of 500; ")), "{answer:?}");
            assert!(!out.join("result.json").exists());
        }
        // A pause after the end is none.
        succeed(&small(&out, &[&search[..], &["--resume", "--stop-after", "500"]].concat()));
        assert_eq!(Finished::of(&out), Finished::of(&whole), "{method}");
    }
}

#[test]
fn killed_before_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let search = small(&out, &["--iterations", "300", "--resume"]);
    succeed(&search);
    let expected = Finished::of(&out);
    fs::remove_file(out.join("result.json")).unwrap();
    succeed(&search);
    assert_eq!(Finished::of(&out), expected);
}

#[test]
fn finished_runs_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let search = small(&out, &["--iterations", "300", "--resume"]);
    let first = succeed(&search).out;
    let before = files(&out);
    let again = succeed(&search).out;
    let (notice, summary) = again.split_once('\n').unwrap();
    assert!(notice.ends_with("is already finished, nothing is left to do"), "{notice}");
    assert_eq!(summary, first);
    assert_eq!(files(&out), before);
}

#[test]
fn leftovers_of_a_kill_do_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let (out, whole) = (folder.path().join("run"), folder.path().join("whole"));
    uninterrupted(&whole, &["--iterations", "300"]);
    fs::create_dir(&out).unwrap();
    // Killed while the config was written, then while a checkpoint was.
    fs::write(out.join(".advnas-abc.tmp"), "[settings").unwrap();
    succeed(&small(&out, &["--iterations", "300", "--resume", "--stop-after", "100"]));
    assert!(!out.join(".advnas-abc.tmp").exists());
    fs::write(out.join(".advnas-def.tmp"), "").unwrap();
    succeed(&small(&out, &["--iterations", "300", "--resume"]));
    assert_eq!(Finished::of(&out), Finished::of(&whole));
}

/// A run that is stopped by a signal, and how it ended.
fn interrupt(out: &Path, more: &[&str], name: &str) -> support::Answer {
    // Far more steps than can be done.
    let child = start(&small(out, &[&["--iterations", "100000000"], more].concat()));
    let first = if more.contains(&"--trials") { out.join("trial-000") } else { out.to_owned() };
    wait_until("the first checkpoint", || first.join("checkpoint.safetensors").exists());
    signal(&child, name);
    child.wait_with_output().unwrap().into()
}

#[test]
fn interrupted_by_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["INT", "TERM"] {
        let out = folder.path().join(name);
        let answer = interrupt(&out, &["--checkpoint-every", "300"], name);
        assert_eq!(answer.code, Some(130), "{answer:?}");
        assert_eq!(answer.err, "");
        // The checkpoint is of the step that was interrupted, not of the last multiple of 300.
        let words: Vec<&str> = answer.out.split_whitespace().collect();
        assert_eq!(words[..3], ["interrupted", "at", "step"], "{answer:?}");
        let position: u64 = words[3].parse().unwrap();
        assert_eq!(checkpoint(&out).state.u64("position", 1).unwrap(), [position]);
        // The command that it names works as it stands.
        let command = answer.out.lines().last().unwrap().trim();
        let resume = shlex::split(command).unwrap();
        let arguments: Vec<&str> = resume.iter().map(String::as_str).skip(1).chain(["--stop-after", "1"]).collect();
        let again = succeed(&arguments);
        assert!(again.out.starts_with(&format!("paused at step {position} of 100000000; ")), "{again:?}");
    }
    let out = folder.path().join("trials");
    let answer = interrupt(&out, &["--trials", "3", "--threads", "1", "--checkpoint-every", "100"], "INT");
    assert_eq!(answer.code, Some(130), "{answer:?}");
    assert!(answer.out.contains("interrupted with 0 of 3 trials finished"), "{answer:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // A step of this search takes seconds.
    let sizes = ["--set", "toy.edges=500", "--set", "toy.batch=6000", "--method", "advantage-exact"];
    let mut arguments = vec!["search", "toy", "--out", out.to_str().unwrap()];
    arguments.extend(sizes);
    let child = start(&arguments);
    wait_until("the first step", || out.join("theta.csv").exists());
    signal(&child, "INT");
    // Two signals at once would be one.
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, "INT");
    let answer: support::Answer = child.wait_with_output().unwrap().into();
    assert_eq!((answer.code, answer.out.as_str()), (Some(130), ""), "{answer:?}");
    assert!(!out.join("checkpoint.safetensors").exists());
}

fn checkpoint(out: &Path) -> Checkpoint {
    let path = out.join("checkpoint.safetensors");
    Checkpoint::decode(&fs::read(&path).unwrap(), &path).unwrap()
}

/// A run that was paused after 100 of 300 steps.
fn paused(out: &Path, method: &str) {
    succeed(&small(out, &["--iterations", "300", "--method", method, "--stop-after", "100"]));
}

#[test]
fn truncated_checkpoints_of_every_length() {
    let folder = tempfile::tempdir().unwrap();
    for method in ["advantage-nas", "reinforce"] {
        let out = folder.path().join(method);
        paused(&out, method);
        let path = out.join("checkpoint.safetensors");
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            let error = Checkpoint::decode(&bytes[..length], &path).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{length}: {error:?}");
        }
        // The same through the command, at some lengths; nothing is changed.
        for length in [0, 1, 8, 9, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            refused(&out, method, &["checkpoint.safetensors: not a usable checkpoint: "]);
        }
        fs::write(&path, &bytes).unwrap();
        succeed(&small(&out, &["--iterations", "300", "--method", method, "--resume"]));
    }
}

/// Resuming fails, and changes nothing.
#[track_caller]
fn refused(out: &Path, method: &str, parts: &[&str]) {
    // A leftover must not be touched either.
    fs::write(out.join(".advnas-left.tmp"), "").unwrap();
    let before = files(out);
    fail(1, &small(out, &["--iterations", "300", "--method", method, "--resume"]), parts);
    assert_eq!(files(out), before);
    fs::remove_file(out.join(".advnas-left.tmp")).unwrap();
}

#[test]
fn checkpoints_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let method = "advantage-nas";
    paused(&out, method);
    let path = out.join("checkpoint.safetensors");
    let good = checkpoint(&out);
    let write = |checkpoint: &Checkpoint| fs::write(&path, checkpoint.encode(&path).unwrap()).unwrap();
    let unusable = "checkpoint.safetensors: not a usable checkpoint: ";

    fs::write(&path, "not a checkpoint at all, just some words").unwrap();
    refused(&out, method, &[unusable]);

    // Every array that is there is needed, in its length.
    let names: Vec<String> = good.state.iter().map(|(name, _)| name.to_owned()).collect();
    assert!(names.len() > 5);
    for missing in &names {
        let mut state = State::new();
        for (name, entry) in good.state.iter().filter(|(name, _)| name != missing) {
            state.insert(name, entry.clone());
        }
        write(&Checkpoint { state: state.clone(), note: good.note.clone() });
        let short = missing.rsplit('/').next().unwrap();
        refused(&out, method, &[unusable, short, "is missing"]);
        state.insert_u64(missing.as_str(), &[0; 99]);
        write(&Checkpoint { state, note: good.note.clone() });
        refused(&out, method, &[unusable, short]);
    }

    let mut state = good.state.clone();
    state.insert_u64("position", &[301]);
    write(&Checkpoint { state, note: good.note.clone() });
    refused(&out, method, &[unusable, "position", "301", "300"]);

    let mut note = good.note.clone();
    note.record = serde_json::json!({ "first_hit": "never" });
    write(&Checkpoint { state: good.state.clone(), note });
    refused(&out, method, &[unusable, "record", "never"]);

    let mut note = good.note.clone();
    note.logs.remove("theta.csv");
    write(&Checkpoint { state: good.state.clone(), note });
    refused(&out, method, &[unusable, "other logs"]);

    // From another run.
    let other = folder.path().join("other");
    paused(&other, "reinforce");
    fs::copy(other.join("checkpoint.safetensors"), &path).unwrap();
    refused(&out, method, &["checkpoint.safetensors was written with other settings: method is \"reinforce\" there"]);

    write(&good);
    let metrics = fs::read(out.join("metrics.csv")).unwrap();
    fs::write(out.join("metrics.csv"), &metrics[..metrics.len() - 1]).unwrap();
    let (expected, found) = (format!("at least {} bytes", metrics.len()), format!("found {}", metrics.len() - 1));
    refused(&out, method, &["metrics.csv: ", &expected, &found]);
    fs::remove_file(out.join("metrics.csv")).unwrap();
    refused(&out, method, &["metrics.csv: ", &expected, "found 0"]);
    // Longer is what a kill leaves.
    fs::write(out.join("metrics.csv"), [&metrics[..], b"110,0."].concat()).unwrap();
    let whole = folder.path().join("whole");
    uninterrupted(&whole, &["--iterations", "300"]);
    succeed(&small(&out, &["--iterations", "300", "--resume"]));
    assert_eq!(Finished::of(&out), Finished::of(&whole));
}

#[test]
fn other_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    paused(&out, "advantage-nas");
    let before = files(&out);
    let resume = |more: &[&str], parts: &[&str]| {
        fail(1, &small(&out, &[more, &["--resume"]].concat()), parts);
        assert_eq!(files(&out), before);
    };
    let file = "config.toml was written with other settings: ";
    resume(&[], &[file, "iterations is 300 there, 2000 here"]);
    let all = ["--iterations", "300", "--seed", "7", "--interval", "5", "--set", "theta.beta1=0.5"];
    let differences = "seed is 0 there, 7 here; interval is 10 there, 5 here; theta.beta1 is 0.9 there, 0.5 here";
    resume(&all, &[file, differences]);
    // A finished run is not another one either.
    succeed(&small(&out, &["--iterations", "300", "--resume"]));
    fail(1, &small(&out, &["--iterations", "301", "--resume"]), &[file, "iterations is 300 there, 301 here"]);
}

#[test]
fn another_build_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    paused(&out, "advantage-nas");
    let path = out.join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let version = format!("version = {:?}", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version));
    fs::write(&path, text.replace(&version, "version = \"0.0.1\"")).unwrap();
    let answer = run(&small(&out, &["--iterations", "300", "--resume"]));
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
    for part in ["WARN", "the last bits may differ", "version is \"0.0.1\" there"] {
        assert!(answer.err.contains(part), "{answer:?} lacks {part}");
    }
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    for trials in ["1", "3"] {
        let out = folder.path().join(trials);
        let more = ["--iterations", "100000000", "--trials", trials, "--checkpoint-every", "100", "--resume"];
        let first = start(&small(&out, &more));
        let place = if trials == "1" { out.clone() } else { out.join("trial-000") };
        wait_until("the first checkpoint", || place.join("checkpoint.safetensors").exists());
        let message = format!("{} is in use by another process", place.display());
        fail(1, &small(&out, &more), &[&message]);
        signal(&first, "TERM");
        assert_eq!(first.wait_with_output().unwrap().status.code(), Some(130));
        // The lock went with the process.
        succeed(&small(&out, &[&more[..], &["--stop-after", "1"]].concat()));
    }
}

#[test]
fn the_record_is_consistent() {
    let folder = tempfile::tempdir().unwrap();
    let fine = folder.path().join("fine");
    let search = ["--iterations", "1500", "--seed", "3"];
    succeed(&small(&fine, &[&search[..], &["--interval", "1"]].concat()));
    let text = fs::read_to_string(fine.join("metrics.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("iteration,loss,test_loss,edges_right,entropy"));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1501);
    for (iteration, row) in rows.iter().enumerate() {
        assert_eq!((row.len(), row[0]), (5, iteration.to_string().as_str()));
        assert_eq!(row[1].is_empty(), iteration == 0);
        // At the teacher's architecture, and nowhere else, the test loss is zero.
        assert_eq!(row[3] == "4", row[2] == "0.0", "{row:?}");
    }
    // Four uniform choices of four, up to the lead of the first candidate.
    let entropy: f64 = rows[0][4].parse().unwrap();
    assert!((entropy - 4.0 * 4f64.ln()).abs() < 1e-6);

    let first_hit = rows.iter().position(|row| row[3] == "4").expect("the teacher is found with this seed");
    assert_eq!(result(&fine)["first_hit"], first_hit);
    let coarse = folder.path().join("coarse");
    succeed(&small(&coarse, &[&search[..], &["--interval", "700"]].concat()));
    assert_eq!(result(&coarse)["first_hit"], first_hit);
    let text = fs::read_to_string(coarse.join("metrics.csv")).unwrap();
    let iterations: Vec<&str> = text.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(iterations, ["0", "700", "1400", "1500"]);
    for line in text.lines().skip(1) {
        assert!(rows.iter().any(|row| row.join(",") == line), "{line} is not in the fine log");
    }

    // The last table of probabilities: rows sum to one, the largest is the final architecture.
    let text = fs::read_to_string(coarse.join("theta.csv")).unwrap();
    assert_eq!(text.lines().next(), Some("iteration,edge,candidate,probability"));
    assert_eq!(text.lines().count(), 1 + 4 * 16);
    let result = result(&coarse);
    for edge in 0..4 {
        let prefix = format!("1500,{edge},");
        let row: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(|rest| rest.split(',').nth(1).unwrap().parse().unwrap())
            .collect();
        assert_eq!(row.len(), 4);
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let largest = (0..4).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        assert_eq!(result["argmax"]["architecture"][edge], largest);
        assert_eq!(result["argmax"]["candidates"][edge], format!("filter-{largest}"));
    }
    assert_eq!(result["argmax"]["architecture"], result["teacher"]["architecture"]);
    assert_eq!(result["argmax"]["test_loss"], 0.0);
    assert_eq!(result["argmax"]["edges_right"], 4);
    assert_eq!(result["process_best"]["loss"], 0.0);
    for (key, value) in [("method", "advantage-nas"), ("experiment", "toy")] {
        assert_eq!(result[key], value);
    }
    for (key, value) in [("seed", 3), ("trial", 0), ("iterations", 1500), ("steps", 1500)] {
        assert_eq!(result[key], value);
    }
}

#[test]
fn the_config_is_all_that_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let answer = succeed(&["search", "toy", "--out", out.to_str().unwrap(), "--iterations", "20", "--seed", "5"]);
    assert!(answer.out.contains("of 10 edges right; the teacher's architecture was not found"), "{answer:?}");
    let path = out.join("config.toml");
    let config = Config::decode(&fs::read_to_string(&path).unwrap(), &path).unwrap();
    let changes = ["seed=5", "iterations=20"].map(|change| change.parse().unwrap());
    let settings = Settings::resolve(Experiment::Toy, None, &changes).unwrap();
    assert_eq!(config.settings, *settings.table());
    // The tests are built with the command.
    assert_eq!(config, Config::new(settings.table(), &toml::Table::new(), &Provenance::of_this_cpu()).unwrap());
    let provenance: Vec<&str> = config.provenance.keys().map(String::as_str).collect();
    assert_eq!(provenance, ["version", "commit", "rustc", "target", "profile", "device", "cpu_features"]);
}
