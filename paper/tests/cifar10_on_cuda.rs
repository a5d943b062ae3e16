//! Searches on CIFAR-10 on the software CUDA device, as small as can be: what they leave is what it is on the CPU, up to last bits, whatever
//! comes between. That the kernels compute the right numbers is tested in `gpu/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use crate::cifar10::folders;
use crate::dump::File;
use crate::gpu::{complaints, emulated, say, software_device};
use crate::support::{Answer, Finished, advnas, result, succeed};
use advantage_nas_software_cuda::SoftwareDevice;

/// One channel, four images: 10 updates of w, 5 of theta.
const SIZES: [&str; 8] = [
    "cifar10.channels=1",
    "cifar10.batch=4",
    "cifar10.images=40",
    "cifar10.test_images=20",
    "cifar10.epochs=2",
    "cifar10.warmup_epochs=1",
    "cifar10.compared_cells=2",
    "interval=2",
];

/// Settings and folders of a command.
fn tiny<'a>(words: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = words.to_vec();
    arguments.extend(["--preset", "tiny"]);
    let key = |word: &&'a str| word.split_once('=').map(|(key, _)| key.to_owned());
    let changed = |size: &&'a str| more.iter().any(|word| key(word) == key(size));
    arguments.extend(SIZES.into_iter().filter(|size| !changed(size)).flat_map(|size| ["--set", size]));
    arguments.extend(folders().iter().map(String::as_str));
    arguments.extend(more);
    arguments
}

fn search<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    tiny(&["search", "cifar10", "--quiet", "--out", out.to_str().unwrap()], more)
}

fn on_cuda<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    search(out, &[&["--device", "cuda"], more].concat())
}

/// Compiled kernels of all tests here.
fn cache() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// A search that nothing has come between, on the device, with the default method.
fn whole(device: &SoftwareDevice) -> &'static Path {
    static FOLDER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, out) = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("whole");
        emulated(device, cache(), &on_cuda(&out, &[]));
        (folder, out)
    });
    out
}

/// The command on a device that may have been changed, however it ends.
fn attempt(device: SoftwareDevice, arguments: &[&str]) -> Answer {
    let mut command = advnas(arguments);
    command.env("ADVNAS_CACHE", cache());
    device.apply(&mut command).output().unwrap().into()
}

/// A column of a CSV file.
fn column(out: &Path, name: &str) -> Vec<f64> {
    let text = fs::read_to_string(out.join("metrics.csv")).unwrap();
    let mut lines = text.lines();
    let index = lines.next().unwrap().split(',').position(|column| column == name).unwrap();
    lines.map(|line| line.split(',').nth(index).unwrap().parse().unwrap_or(f64::NAN)).collect()
}

#[track_caller]
fn assert_close(ours: &[f64], theirs: &[f64], tolerance: f64) {
    let close =
        |(one, other): (&f64, &f64)| (one - other).abs() <= tolerance * other.abs() || one.is_nan() && other.is_nan();
    assert!(ours.len() == theirs.len() && ours.iter().zip(theirs).all(close), "{ours:?} and {theirs:?}");
}

/// Several trials in one launch, all at once or two at a time: the bytes of each alone. And a method that evaluates no single cell.
#[test]
fn trials_together_are_those_alone() {
    let Some(device) = software_device("trials_together_are_those_alone") else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (together, two) = (place("together"), place("two"));
    let said = emulated(&device, cache(), &on_cuda(&together, &["--trials", "3"])).out;
    assert!(said.contains("\ndevice cuda:0 emulated CUDA device"), "{said}");
    emulated(&device, cache(), &on_cuda(&two, &["--trials", "3", "--jobs", "2"]));
    let mut seen = Vec::new();
    for trial in 0..3 {
        let name = format!("trial-00{trial}");
        let alone = if trial == 0 { whole(&device).to_owned() } else { place(&name) };
        if trial > 0 {
            let setting = format!("trial={trial}");
            emulated(&device, cache(), &on_cuda(&alone, &["--set", &setting]));
        }
        let expected = Finished::of(&alone);
        assert_eq!(Finished::of(&together.join(&name)), expected, "{name}");
        assert_eq!(Finished::of(&two.join(&name)), expected, "{name}, two at a time");
        assert!(!seen.contains(&expected), "two trials are the same");
        seen.push(expected);
    }
    let provenance = &result(whole(&device))["provenance"];
    assert!(provenance["device"].as_str().unwrap().starts_with("cuda:0 emulated CUDA device"), "{provenance}");

    let out = place("darts");
    emulated(&device, cache(), &on_cuda(&out, &["--method", "darts", "--set", "cifar10.zero=true"]));
    let result = result(&out);
    assert!(result["process_best"].is_null() && result["argmax"]["architecture"].as_array().unwrap().len() == 6);
    say("emulated: trials together are those alone");
}

#[test]
fn paused_and_killed_bit_for_bit() {
    let Some(device) = software_device("paused_and_killed_bit_for_bit") else { return };
    let folder = tempfile::tempdir().unwrap();
    let expected = Finished::of(whole(&device));
    let (paused, killed) = (folder.path().join("paused"), folder.path().join("killed"));
    // In the warm-up, and between an update of w and one of theta.
    for stop in ["3", "10"] {
        let said = emulated(&device, cache(), &on_cuda(&paused, &["--resume", "--stop-after", stop])).out;
        assert!(said.contains(&format!("paused at step {stop} of 15")) && said.contains("--device=cuda:0"), "{said}");
    }
    emulated(&device, cache(), &on_cuda(&paused, &["--resume"]));
    assert_eq!(Finished::of(&paused), expected);

    let checkpoint = killed.join("checkpoint.safetensors");
    let written = || checkpoint.metadata().and_then(|metadata| metadata.modified()).ok();
    let mut kills = 0;
    for wait in [0, 40, 100] {
        let mut command = advnas(&on_cuda(&killed, &["--resume", "--checkpoint-every", "2"]));
        command.env("ADVNAS_CACHE", cache()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let before = written();
        let mut child = device.apply(&mut command).spawn().unwrap();
        while written() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "every process had ended before it was killed");
    emulated(&device, cache(), &on_cuda(&killed, &["--resume"]));
    assert_eq!(Finished::of(&killed), expected, "after {kills} kills");
    say("emulated: paused and killed searches end the same");
}

/// Begun here and finished there: a warning that names what differs, and the numbers of one device alone, nearly.
#[test]
fn a_search_moves_between_cpu_and_device() {
    let Some(device) = software_device("a_search_moves_between_cpu_and_device") else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (cpu, up, down) = (place("cpu"), place("up"), place("down"));
    succeed(&search(&cpu, &[]));
    succeed(&search(&up, &["--stop-after", "8"]));
    let answer = attempt(device.clone(), &on_cuda(&up, &["--resume"]));
    let warns = |answer: &Answer, from: &str, to: &str| {
        let said = complaints(answer);
        let differs = format!("started with another build, the last bits may differ: device is \"{from}");
        assert_eq!((answer.code, said.lines().count()), (Some(0), 1), "{answer:?}");
        assert!(said.contains(&differs) && said.contains(&format!("there, \"{to}")), "{said}");
    };
    warns(&answer, "cpu\"", "cuda:0 emulated CUDA device");
    emulated(&device, cache(), &on_cuda(&down, &["--stop-after", "8"]));
    warns(&attempt(device.clone(), &search(&down, &["--resume"])), "cuda:0 emulated", "cpu\"");
    for (moved, alone) in [(&up, &*cpu), (&down, whole(&device))] {
        // The first row is the beginner's, to the bit.
        let first =
            |out: &Path| fs::read_to_string(out.join("metrics.csv")).unwrap().lines().nth(1).unwrap().to_owned();
        assert_eq!(first(moved), first(alone));
        for (name, tolerance) in [("weight_steps", 0.0), ("loss", 1e-3), ("test_loss", 1e-3), ("entropy", 1e-3)] {
            assert_close(&column(moved, name), &column(alone, name), tolerance);
        }
    }
    assert_eq!(result(&up)["provenance"]["device"], result(whole(&device))["provenance"]["device"]);
    say("emulated: searches move between CPU and device");
}

/// Convolutions in TF32: the run says so, goes on with them without a word, and without them with a warning; a CPU has none.
#[test]
fn a_search_in_tf32_says_so() {
    let Some(device) = software_device("a_search_in_tf32_says_so") else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (same, other) = (place("same"), place("other"));
    for out in [&same, &other] {
        let said = emulated(&device, cache(), &on_cuda(out, &["--tf32", "--stop-after", "8"])).out;
        assert!(
            said.contains("paused at step 8 of 15") && said.contains("--device=cuda:0") && said.contains("--tf32"),
            "{said}"
        );
    }
    let answer = attempt(device.clone(), &on_cuda(&same, &["--tf32", "--resume"]));
    assert_eq!((answer.code, complaints(&answer).as_str()), (Some(0), ""));
    let flags = |out: &Path| result(out)["provenance"]["kernel_flags"].as_str().unwrap().to_owned();
    assert_eq!(flags(&same), flags(whole(&device)) + "; convolutions in TF32");
    // Near what it is in single precision, but not the same.
    assert_close(&column(&same, "loss"), &column(whole(&device), "loss"), 3e-2);
    assert_ne!(column(&same, "loss"), column(whole(&device), "loss"));
    let answer = attempt(device.clone(), &on_cuda(&other, &["--resume"]));
    let said = complaints(&answer);
    assert_eq!((answer.code, said.lines().count()), (Some(0), 1), "{answer:?}");
    assert!(
        said.contains("the last bits may differ: kernel_flags is \"")
            && said.contains("; convolutions in TF32\" there"),
        "{said}"
    );
    let answer = attempt(device, &search(&place("cpu"), &["--tf32"]));
    let problem = "error: --tf32 needs a CUDA device (--device cuda), got --device cpu\n";
    assert_eq!((answer.code, &*complaints(&answer)), (Some(2), problem));
    say("emulated: a search in TF32 says so");
}

/// From the checkpoint of a search on the device come its result's numbers.
#[test]
fn a_search_is_evaluated_on_the_device() {
    let Some(device) = software_device("a_search_is_evaluated_on_the_device") else { return };
    let from = whole(&device).to_str().unwrap();
    let mut arguments = vec!["evaluate", "cifar10", "--from", from, "--json", "--device", "cuda"];
    arguments.extend(folders().iter().map(String::as_str));
    let found: serde_json::Value = serde_json::from_str(&emulated(&device, cache(), &arguments).out).unwrap();
    let result = result(whole(&device));
    for key in ["argmax", "process_best", "comparison"] {
        assert_eq!(found[key], result[key], "{key}");
    }
    // The CPU says nearly the same of it.
    arguments.truncate(5);
    arguments.extend(folders().iter().map(String::as_str));
    let on_cpu = complaints_of_builds(&attempt(device, &arguments));
    let loss = |value: &serde_json::Value| value["argmax"]["supernet_test_loss"].as_f64().unwrap();
    assert_close(&[loss(&found)], &[loss(&on_cpu)], 1e-5);
}

/// What was printed, whatever is said of builds.
fn complaints_of_builds(answer: &Answer) -> serde_json::Value {
    assert_eq!(answer.code, Some(0), "{answer:?}");
    serde_json::from_str(&answer.out).unwrap()
}

/// The same tensors and notes as the CPU's, with close numbers: before the first step, the weights are the same.
#[test]
fn dumps_of_the_device_are_those_of_the_cpu() {
    let Some(device) = software_device("dumps_of_the_device_are_those_of_the_cpu") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (method, step) in [("gdas", "theta"), ("proxylessnas", "weights"), ("advantage-exact", "theta")] {
        let dump = |name: &str| -> (PathBuf, Vec<String>) {
            let out = folder.path().join(format!("{method}-{name}"));
            let words = ["dump", "cifar10", "--out", out.to_str().unwrap(), "--method", method, "--step", step];
            let more = ["--after", "0", "--set", "cifar10.channels=3", "--set", "cifar10.batch=3", "--device", name];
            let arguments = tiny(&words, &more).into_iter().map(str::to_owned).collect();
            (out, arguments)
        };
        let [cpu, cuda] = ["cpu", "cuda"].map(|name| {
            let (out, arguments) = dump(name);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            assert_eq!(attempt(device.clone(), &arguments).code, Some(0));
            File::read(&out)
        });
        let mut notes = [cpu.notes.clone(), cuda.notes.clone()];
        for notes in &mut notes {
            assert!(notes.as_object_mut().unwrap().remove("provenance").is_some());
        }
        assert_eq!(notes[0], notes[1], "{method}");
        assert_eq!(notes[0]["step"]["steady"], true, "{method}: choose other sizes");
        assert!(cuda.notes["provenance"]["device"].as_str().unwrap().starts_with("cuda:0 "));
        assert_eq!(cpu.tensors.keys().collect::<Vec<_>>(), cuda.tensors.keys().collect::<Vec<_>>());
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let norm_of_all = cpu.tensors["gradient_norm"].values[0];
        for (name, ours) in &cuda.tensors {
            let theirs = &cpu.tensors[name];
            assert_eq!((ours.dtype, &ours.shape), (theirs.dtype, &theirs.shape), "{name}");
            let apart = norm(&mut ours.values.iter().zip(&theirs.values).map(|(one, other)| one - other));
            // As the CPU's gradients and those in double precision: what vanishes is compared with all of them.
            let bound = (1e-4 * norm(&mut theirs.values.iter().copied())).max(2e-7 * norm_of_all);
            let vanishes = ["gradient/", "updated/", "updated_velocity/"].iter().any(|group| name.starts_with(group));
            let bound = if vanishes { bound } else { 1e-4 * norm(&mut theirs.values.iter().copied()) };
            assert!(apart <= bound, "{method}, {name}: {apart:e}, at most {bound:e}");
        }
    }
    say("emulated: dumps of the device are those of the CPU");
}

#[test]
fn tables_of_the_device() {
    let Some(device) = software_device("tables_of_the_device") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cells");
    let words = ["reproduce", "table-2", "--quiet", "--out", out.to_str().unwrap()];
    let few = ["--device", "cuda", "--methods", "advantage-nas,gdas", "--seeds", "0"];
    let said = emulated(&device, cache(), &tiny(&words, &few)).out;
    let table = fs::read_to_string(out.join("table-2.md")).unwrap();
    assert!(said.starts_with(&table) && table.contains("| gdas | 1 |"), "{said}");
    // The searches are those of `advnas search`.
    assert_eq!(Finished::of(&out.join("advantage-nas/seed-0")), Finished::of(whole(&device)));
    // Networks that are not there at the same time need not fit together.
    let mut needed = Vec::new();
    for jobs in ["1", "2"] {
        let other = folder.path().join("other");
        let words = ["reproduce", "figure-2", "--quiet", "--jobs", jobs, "--out", other.to_str().unwrap()];
        let answer = attempt(device.clone().memory(100_000), &tiny(&words, &few));
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.err.lines().count() == 1 && !other.exists(), "{answer:?}");
        let (_, rest) = answer.err.split_once(" needs ").unwrap();
        needed.push(rest.split_once(' ').unwrap().0.parse::<f64>().unwrap());
    }
    assert!(needed[1] > 1.9 * needed[0], "{needed:?}");
    say("emulated: tables of the device");
}

/// What can't be done is said in one line, before anything is written.
#[test]
fn devices_that_do_not_serve() {
    let Some(device) = software_device("devices_that_do_not_serve") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let file = folder.path().join("step.safetensors");
    let refused = |device: SoftwareDevice, arguments: &[&str], parts: &[&str]| {
        let answer = attempt(device, arguments);
        let said = complaints(&answer);
        assert_eq!((answer.code, said.lines().count()), (Some(1), 1), "{answer:?}");
        assert!(said.starts_with("error: ") && parts.iter().all(|part| said.contains(part)), "{said}");
        assert!(!out.exists() && !file.exists());
    };
    let room = ["error: cuda:0 emulated", "the network with its images needs ", " of 500000 are free"];
    refused(device.clone().memory(500_000), &on_cuda(&out, &[]), &room);
    let dump = ["dump", "cifar10", "--out", file.to_str().unwrap(), "--device"];
    refused(device.clone().memory(500_000), &tiny(&[&dump[..], &["cuda"]].concat(), &[]), &room);
    let nowhere = ["there is no CUDA device 3: the driver finds 1"];
    refused(device.clone(), &search(&out, &["--device", "cuda:3"]), &nowhere);
    refused(device.clone(), &tiny(&[&dump[..], &["cuda:3"]].concat(), &[]), &nowhere);
    refused(device.devices(0), &on_cuda(&out, &[]), &["the CUDA driver library is there, but it finds no device"]);
}

/// A device that is lost, and a loss that is not a number: one line names the checkpoint that is intact, and the command that goes on.
#[test]
fn a_search_that_fails_goes_on_from_its_checkpoint() {
    let Some(device) = software_device("a_search_that_fails_goes_on_from_its_checkpoint") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // Of some 900 kernels, the steps of the warm-up alone have more than 300.
    let lost = device.clone().lost_after(600);
    let answer = attempt(lost, &on_cuda(&out, &["--checkpoint-every", "3"]));
    let said = complaints(&answer);
    let said: Vec<&str> = said.lines().collect();
    assert!(answer.code == Some(1) && said.len() == 1, "{answer:?}");
    assert!(said[0].contains(" stopped, its checkpoint of step ") && said[0].contains(" is intact: "), "{said:?}");
    assert!(said[0].contains("CUDA_ERROR_DEVICE_UNAVAILABLE (emulated CUDA device: the device is lost"), "{said:?}");
    // As it is told, with the folders of this test.
    let (_, command) = said[0].rsplit_once("; to go on: advnas ").unwrap();
    let words = shlex::split(command).unwrap();
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--cache", &folders()[3]]).collect();
    emulated(&device, cache(), &words);
    assert_eq!(Finished::of(&out), Finished::of(whole(&device)));

    let out = folder.path().join("diverges");
    let large = ["--set", "weights.learning_rate=1e38", "--set", "weights.clip_norm=1e38", "--checkpoint-every", "1"];
    for (device, arguments) in
        [(device.clone(), on_cuda(&out, &large)), (device, search(&out, &[&large[..], &["--resume"]].concat()))]
    {
        let answer = attempt(device, &arguments);
        let said = complaints(&answer);
        let last = said.lines().last().unwrap_or_default();
        assert!(
            answer.code == Some(1) && last.contains("the search has diverged; to go on: advnas search"),
            "{answer:?}"
        );
        assert!(
            last.contains("its checkpoint of step 1 is intact") || last.contains("before its first checkpoint"),
            "{said}"
        );
    }
    say("emulated: failed searches go on");
}

/// Claim C20 on the device: what sparse methods need beside the weights does not depend on the number of candidates, and is what was planned.
#[test]
fn memory_of_the_device() {
    let Some(device) = software_device("memory_of_the_device") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("memory");
    let words = ["reproduce", "memory", "--device", "cuda", "--quiet", "--batch", "2", "--channels", "1", "--out"];
    let said = emulated(&device, cache(), &[&words[..], &[out.to_str().unwrap()]].concat()).out;
    assert!(said.contains(" on cuda:0 emulated CUDA device") && said.contains("images included"), "{said}");
    let text = fs::read_to_string(out.join("memory.csv")).unwrap();
    let names: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let place = |name: &str| names.iter().position(|other| *other == name).unwrap();
    let number = |row: &[&str], name: &str| row[place(name)].parse::<f64>().unwrap();
    assert_eq!(rows.len(), 4 * 5);
    for row in &rows {
        // The device counts every byte, and nothing is allocated on the way.
        assert_eq!(
            (number(row, "working"), number(row, "peak")),
            (number(row, "planned"), number(row, "built")),
            "{row:?}"
        );
    }
    for method in rows.chunks(5) {
        let [first, last] = [&method[0], &method[4]].map(|row| number(row, "working"));
        let [fewer, more] = [&method[0], &method[4]].map(|row| number(row, "parameters"));
        if method[0][0] == "darts" {
            assert!(last > 5.0 * first, "{text}");
        } else {
            // A word here and there for every parameter, in its lists.
            assert!(last - first < 0.1 * (more - fewer), "{text}");
        }
    }
    say("emulated: memory of the device");
}
