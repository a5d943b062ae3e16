//! Searches on CIFAR-10 and what is made of them, on small images and a table that the tests draw: pausing and resuming, threads, errors,
//! tables and figures. No data set is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::{Finished, fail, result, start, succeed};
use advantage_nas::network::nas_bench_201::{Cell, Operation};

/// A folder with the official files of CIFAR-10 in an archive, and a table of NAS-Bench-201 in which a cell's accuracy is known from its
/// operations. An image is noise in the colour of its class; few of them differ, so that the archive is small and a search is ready in no
/// time: decoded once, the images come from the cache.
fn data() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let images = folder.path().join("cifar10");
            fs::create_dir_all(&images).unwrap();
            let file = fs::File::create(images.join("official.tar.zst")).unwrap();
            let mut archive = tar::Builder::new(zstd::Encoder::new(file, 3).unwrap());
            let mut state = 1_u32;
            for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
                let mut records = Vec::with_capacity(DIFFERENT * 3073);
                for image in 0..DIFFERENT {
                    let class = image % 10;
                    records.push(class as u8);
                    for channel in 0..3 {
                        let colour = 40 * ((class >> channel) & 3) as u32;
                        records.extend((0..1024).map(|_| {
                            // Numerical Recipes' generator: any noise will do.
                            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            (colour + (state >> 25)) as u8
                        }));
                    }
                }
                let records = records.repeat(10_000 / DIFFERENT);
                let mut header = tar::Header::new_gnu();
                header.set_size(records.len() as u64);
                archive.append_data(&mut header, format!("cifar-10-batches-bin/{name}.bin"), &records[..]).unwrap();
            }
            archive.into_inner().unwrap().finish().unwrap();
            write_table(folder.path(), 0.0);
            folder
        })
        .path()
}

/// Images of a file that differ.
const DIFFERENT: usize = 100;

/// Where data lies, and where what was decoded of it is kept.
pub fn folders() -> &'static [String; 4] {
    static FOLDERS: OnceLock<[String; 4]> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let of = |path: &Path| path.to_str().unwrap().to_owned();
        ["--data".to_owned(), of(data()), "--cache".to_owned(), of(&data().join("cache"))]
    })
}

/// The table: 50 % and as much as the operations are worth.
fn write_table(data: &Path, more: f64) {
    let mut text =
        "index,architecture,cifar10_test_accuracy,cifar100_test_accuracy,imagenet16_120_test_accuracy\n".to_owned();
    for index in 0..15_625 {
        let operations = std::array::from_fn(|edge| Operation::ALL[index / 5_usize.pow(edge as u32) % 5]);
        let accuracy = accuracy_of(&operations) + more;
        let cell = Cell::new(operations).unwrap();
        text.push_str(&format!("{index},{cell},{accuracy},{},{}\n", accuracy / 2.0, accuracy / 4.0));
    }
    let folder = data.join("nas-bench-201");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("table.csv"), text).unwrap();
}

fn accuracy_of(operations: &[Operation; 6]) -> f64 {
    let worth = |(edge, operation): (usize, &Operation)| {
        let place = Operation::ALL.iter().position(|other| other == operation).unwrap();
        (place * (edge + 1)) as f64 / 4.0
    };
    50.0 + operations.iter().enumerate().map(worth).sum::<f64>()
}

fn search<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["search", "cifar10", "--preset", "tiny", "--quiet", "--out", out.to_str().unwrap()];
    arguments.extend(folders().iter().map(String::as_str));
    arguments.extend(more);
    arguments
}

/// What a finished run says, and the folder that it is in.
fn finished(out: &Path) -> Finished {
    Finished::of(out)
}

#[test]
fn a_search_says_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut arguments = search(&out, &["--seed", "3"]);
    arguments.retain(|word| *word != "--quiet");
    let answer = succeed(&arguments);
    assert!(answer.out.starts_with("about ") && answer.out.contains(" MiB: 40 updates of w of "), "{}", answer.out);
    let result = result(&out);
    assert_eq!(result["weight_steps"], 40);
    assert_eq!(result["theta_steps"], 20);
    assert_eq!(result["steps"], 60);
    for found in [&result["argmax"], &result["process_best"]] {
        let cell: Cell = found["cell"].as_str().unwrap().parse().unwrap();
        assert!(!cell.operations().contains(&Operation::Zero));
        let expected = accuracy_of(cell.operations());
        let tasks = found["table"]["tasks"].as_array().unwrap();
        let accuracies: Vec<f64> = tasks.iter().map(|task| task["test_accuracy"].as_f64().unwrap()).collect();
        assert_eq!(accuracies, [expected, expected / 2.0, expected / 4.0]);
        // Better cells of the whole table, counted by hand.
        let better = (0..15_625)
            .filter(|index| {
                let other = std::array::from_fn(|edge| Operation::ALL[index / 5_usize.pow(edge as u32) % 5]);
                accuracy_of(&other) > expected
            })
            .count();
        assert_eq!(tasks[0]["rank"]["rank"], better + 1);
        let accuracy = found["supernet_test_accuracy"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&accuracy));
    }
    // Six edges with four candidates each.
    let largest = 6.0 * 4_f64.ln();
    assert!((result["largest_entropy"].as_f64().unwrap() - largest).abs() <= 1e-12);
    assert!(result["entropy"].as_f64().unwrap() < largest);
    assert_eq!(result["comparison"]["cells"], 4);

    // Rows at 0, 4, …, 16 and 20; the last is of the argmax cell in the result.
    let metrics = fs::read_to_string(out.join("metrics.csv")).unwrap();
    let mut rows = metrics.lines();
    assert_eq!(rows.next(), Some("iteration,weight_steps,loss,test_loss,test_accuracy,table_accuracy,entropy"));
    let iterations: Vec<&str> = rows.map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(iterations, ["0", "4", "8", "12", "16", "20"]);
    let last: Vec<&str> = metrics.lines().last().unwrap().split(',').collect();
    assert_eq!(last[1], "40");
    assert_eq!(last[5].parse::<f64>().unwrap(), result["argmax"]["table"]["tasks"][0]["test_accuracy"]);
    assert_eq!(last[6].parse::<f64>().unwrap(), result["entropy"]);
}

/// From the checkpoint of a finished search come its result's numbers, from that of a paused one what the log says of its step.
#[test]
fn a_search_is_evaluated_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let evaluate = |more: &[&str]| {
        let own = ["evaluate", "cifar10", "--from", out.to_str().unwrap()].map(str::to_owned);
        own.into_iter()
            .chain(folders().clone())
            .chain(more.iter().map(|&word| word.to_owned()))
            .collect::<Vec<String>>()
    };
    let json = |more: &[&str]| -> serde_json::Value {
        let arguments = evaluate(&[&["--json"], more].concat());
        serde_json::from_str(&succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).out).unwrap()
    };
    // 20 updates of w alone, then 8 pairs: the log's row of iteration 8 is written before the next update of theta.
    succeed(&search(&out, &["--stop-after", "37"]));
    let paused = json(&["--cells", "0"]);
    assert_eq!((&paused["steps_done"], &paused["steps"]), (&37.into(), &60.into()));
    assert!(paused["comparison"].is_null());
    succeed(&search(&out, &["--resume"]));
    let metrics = fs::read_to_string(out.join("metrics.csv")).unwrap();
    let row: Vec<&str> = metrics.lines().find(|line| line.starts_with("8,")).unwrap().split(',').collect();
    assert_eq!(row[3].parse::<f64>().unwrap(), paused["argmax"]["supernet_test_loss"]);
    assert_eq!(row[4].parse::<f64>().unwrap(), paused["argmax"]["supernet_test_accuracy"]);

    let (finished, result) = (json(&["--threads", "1"]), result(&out));
    for key in ["argmax", "process_best", "comparison"] {
        assert_eq!(finished[key], result[key], "{key}");
    }
    let fewer = json(&["--cells", "3"]);
    assert_eq!((&fewer["argmax"], &fewer["comparison"]["cells"]), (&result["argmax"], &3.into()));
    let arguments = evaluate(&[]);
    let shown = succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).out;
    assert!(shown.starts_with("advantage-nas on CIFAR-10, after 60 of 60 steps\n"), "{shown}");
    fail(2, &["evaluate", "cifar10", "--cells", "3", "--index", "1"], &["--index", "cannot be used with"]);
    let new = folder.path().join("new");
    fail(1, &["evaluate", "cifar10", "--from", new.to_str().unwrap()], &["new"]);
}

/// Every method ends, by what it evaluates: those that never evaluate a one-hot architecture have no process best.
#[test]
fn every_method_searches_with_and_without_the_zero_operation() {
    let folder = tempfile::tempdir().unwrap();
    for method in advantage_nas::strategy::Method::ALL {
        for zero in ["false", "true"] {
            let (out, zero_setting) = (folder.path().join(format!("{method}-{zero}")), format!("cifar10.zero={zero}"));
            let few = ["--set", "cifar10.compared_cells=0", "--set", "cifar10.images=160", "--set", &zero_setting];
            succeed(&search(&out, &[&["--method", method.name()][..], &few].concat()));
            let result = result(&out);
            let without = ["proxylessnas", "darts", "snas"].contains(&method.name());
            assert_eq!(result["process_best"].is_null(), without, "{method}");
            assert!(result["comparison"].is_null());
            let candidates = if zero == "true" { 5_f64 } else { 4.0 };
            let largest = result["largest_entropy"].as_f64().unwrap();
            assert!((largest - 6.0 * candidates.ln()).abs() <= 1e-12);
        }
    }
}

#[test]
fn killed_and_resumed_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for method in ["advantage-nas", "parsec", "gdas"] {
        let options = ["--method", method, "--set", "cifar10.epochs=12", "--checkpoint-every", "7"];
        let whole = folder.path().join(format!("{method}-whole"));
        succeed(&search(&whole, &options));
        let expected = finished(&whole);
        let out = folder.path().join(format!("{method}-killed"));
        let resumed = [&options[..], &["--resume"]].concat();
        let checkpoint = out.join("checkpoint.safetensors");
        let mut kills = 0;
        for wait in [1, 15, 40, 90] {
            let mut child = start(&search(&out, &resumed));
            // Until there is another checkpoint, and a little longer.
            let written = || checkpoint.metadata().and_then(|metadata| metadata.modified()).ok();
            let before = written();
            while written() == before && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(wait));
            kills += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(kills > 0, "every process had ended before it was killed");
        succeed(&search(&out, &resumed));
        assert_eq!(finished(&out), expected, "{method} after {kills} kills");
    }
}

#[test]
fn paused_searches_and_other_numbers_of_threads_end_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    succeed(&search(&one, &["--threads", "1"]));
    // In the warm-up, between an update of w and one of theta, and after one of theta.
    for stop in ["9", "37", "44"] {
        let answer = succeed(&search(&two, &["--threads", "2", "--resume", "--stop-after", stop]));
        assert!(answer.out.contains(&format!("paused at step {stop} of 60")), "{}", answer.out);
        if stop == "44" {
            // As it is told.
            let command = answer.out.lines().last().unwrap().trim().strip_prefix("advnas ").unwrap();
            let words = shlex::split(command).unwrap();
            succeed(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    assert_eq!(finished(&two), finished(&one));

    let trials = folder.path().join("trials");
    succeed(&search(&trials, &["--trials", "2", "--jobs", "2"]));
    assert_eq!(finished(&trials.join("trial-000")), finished(&one));
    assert_ne!(finished(&trials.join("trial-001")), finished(&one));
}

#[test]
fn settings_that_make_no_search_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for (setting, parts) in [
        ("cifar10.epoch=3", &["unknown setting \"cifar10.epoch\"", "cifar10.epochs", "weights.momentum"][..]),
        ("cifar10.batch=161", &["cifar10.batch must be from 1 to 160", "cifar10.images = 320", "161"]),
        ("cifar10.batch=0", &["cifar10.batch must be from 1 to 160"]),
        ("cifar10.warmup_epochs=4", &["cifar10.warmup_epochs must be", "below cifar10.epochs", "4 and 4"]),
        ("cifar10.epochs=2", &["cifar10.warmup_epochs must be", "below cifar10.epochs", "2 and 2"]),
        ("cifar10.epochs=1000000001", &["must be at least 0 and below cifar10.epochs, and those at most 1000000000"]),
        ("interval=0", &["interval must be at least 1, got 0"]),
        // An epoch has ten updates: 0.05 of one has none.
        ("cifar10.epochs=2.05", &["cifar10.epochs = 2.05", "leaves no update of theta", "an epoch has 10 of them"]),
        ("cifar10.images=0", &["cifar10.images must be a multiple of 20 from 20 to 50000, got 0"]),
        ("cifar10.images=330", &["cifar10.images must be a multiple of 20 from 20 to 50000, got 330"]),
        ("cifar10.images=50020", &["cifar10.images must be a multiple of 20 from 20 to 50000, got 50020"]),
        ("cifar10.test_images=10020", &["cifar10.test_images must be a multiple of 20 from 20 to 10000"]),
        ("cifar10.cells=0", &["the number of cells of a stage", "from 1 to 4096", "0"]),
        ("cifar10.zero=maybe", &["cifar10.zero = maybe: expected true or false"]),
        ("weights.momentum=1", &["the momentum of the weights", "below 1"]),
        ("weights.learning_rate=-1", &["the learning rate of the weights", "-1"]),
        ("theta.clip_norm=0", &["the limit of theta's gradient norm", "positive"]),
    ] {
        fail(2, &search(&out, &["--set", setting]), parts);
        assert!(!out.exists(), "{setting}");
    }
    // Tens of TiB, found out before anything is built.
    let sizes = ["cifar10.cells=4096", "cifar10.channels=1024", "cifar10.batch=160"];
    let sizes: Vec<&str> = sizes.into_iter().flat_map(|size| ["--set", size]).collect();
    fail(2, &search(&out, &sizes), &["a run needs about ", "of memory, this machine has ", "GiB; smaller networks"]);
    fail(2, &reproduce("table-2", &out, &[&sizes[..], &["--jobs", "2"]].concat()), &["2 runs at the same time need"]);
    assert!(!out.exists());
    let mut unknown = search(&out, &[]);
    unknown[3] = "huge";
    fail(2, &unknown, &["unknown preset \"huge\", known are: full, small, tiny"]);
    let mut elsewhere = search(&out, &[]);
    let empty = folder.path().to_str().unwrap();
    let place = elsewhere.iter().position(|word| *word == "--data").unwrap() + 1;
    elsewhere[place] = empty;
    fail(1, &elsewhere, &["CIFAR-10", "advnas data fetch cifar10"]);
}

#[test]
fn other_data_is_refused_on_resume() {
    let folder = tempfile::tempdir().unwrap();
    let (out, other) = (folder.path().join("run"), folder.path().join("other"));
    succeed(&search(&out, &["--stop-after", "5"]));
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("[data]") && config.contains("cifar10_images_md5 = "), "{config}");
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(data().join("cifar10"), other.join("cifar10")).unwrap();
    write_table(&other, 1.0);
    let mut arguments = search(&out, &["--resume"]);
    let place = arguments.iter().position(|word| *word == "--data").unwrap() + 1;
    arguments[place] = other.to_str().unwrap();
    fail(1, &arguments, &["config.toml was written for other data", "nas_bench_201_md5 is "]);
    fail(1, &search(&out, &["--resume", "--seed", "1"]), &["was written with other settings: seed is 0 there, 1 here"]);
    succeed(&search(&out, &["--resume"]));
}

fn reproduce<'a>(subject: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["reproduce", subject, "--preset", "tiny", "--quiet", "--out", out.to_str().unwrap()];
    arguments.extend(folders().iter().map(String::as_str));
    arguments.extend(more);
    arguments
}

/// When the results below a folder were written.
fn written(out: &Path) -> BTreeMap<PathBuf, std::time::SystemTime> {
    let mut times = BTreeMap::new();
    for method in fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for seed in fs::read_dir(method).unwrap() {
            let path = seed.unwrap().path().join("result.json");
            if let Ok(metadata) = path.metadata() {
                times.insert(path, metadata.modified().unwrap());
            }
        }
    }
    times
}

#[test]
fn tables_and_figures_share_their_searches() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cells");
    let few = ["--methods", "reinforce,proxylessnas,advantage-nas", "--seeds", "0,4"];
    let table = succeed(&reproduce("table-2", &out, &[&few[..], &["--jobs", "2", "--threads", "1"]].concat())).out;
    let markdown = fs::read_to_string(out.join("table-2.md")).unwrap();
    assert!(table.starts_with(&markdown), "{table}");
    let csv = fs::read_to_string(out.join("table-2.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 * 2);

    // Means and deviations of two seeds, from their results: the mean, and half of the difference.
    for method in ["reinforce", "proxylessnas", "advantage-nas"] {
        let results = ["seed-0", "seed-4"].map(|seed| result(&out.join(method).join(seed)));
        let cell = |key: &str| {
            let accuracy = |result: &serde_json::Value| result[key]["table"]["tasks"][0]["test_accuracy"].as_f64();
            match [accuracy(&results[0]), accuracy(&results[1])] {
                [Some(first), Some(second)] => {
                    format!("{:.2} ± {:.2}", (first + second) / 2.0, (first - second).abs() / 2.0)
                }
                _ => "–".to_owned(),
            }
        };
        let row = markdown.lines().find(|line| line.starts_with(&format!("| {method} | 2 |"))).unwrap();
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!((cells[2], cells[6]), (cell("argmax").as_str(), cell("process_best").as_str()), "{row}");
    }
    // Table 2 of the paper.
    let row = |method: &str, cells: &[&str]| {
        let row = markdown.lines().find(|line| line.starts_with(&format!("| {method} | 2 |"))).unwrap();
        for cell in cells {
            assert!(row.contains(&format!("| {cell} |")), "{row} lacks {cell}");
        }
    };
    row("reinforce", &["93.01 ± 0.47", "0.67 ± 0.18", "92.69 ± 0.52", "0.68 ± 0.20"]);
    row("proxylessnas", &["93.22 ± 0.08", "0.74 ± 0.10", "– | – | – | –"]);
    row("advantage-nas", &["93.76 ± 0.00", "1.53 ± 0.00", "93.29 ± 0.21", "0.94 ± 0.11"]);
    // All 4 096 cells, their best, and 1000 of them.
    assert!(markdown.contains("| random cells | 1000 |") && markdown.contains("| all cells | 4096 |"), "{markdown}");
    // Average pooling on every edge is worth 4·(1 + … + 6)/4 in the table of these tests.
    let best = "the best: \\|avg_pool_3x3~0\\|+\\|avg_pool_3x3~0\\|avg_pool_3x3~1\\|+";
    assert!(markdown.contains(best) && markdown.contains("| 71.00 |"), "{markdown}");

    // Figures of the same searches: nothing is searched again.
    let times = written(&out);
    assert_eq!(times.len(), 6);
    for (figure, unit) in [("figure-2", "test accuracy, %"), ("appendix-h", "entropy, nats")] {
        succeed(&reproduce(figure, &out, &few));
        let svg = fs::read_to_string(out.join(format!("{figure}.svg"))).unwrap();
        assert!(svg.contains(unit) && svg.contains("advantage-nas") && svg.contains("epoch of θ"), "{figure}");
        let csv = fs::read_to_string(out.join(format!("{figure}.csv"))).unwrap();
        // Six rows a method; an epoch has 160/16 = 10 updates.
        assert_eq!(csv.lines().count(), 1 + 3 * 6);
        assert!(csv.lines().any(|line| line.starts_with("advantage-nas,20,2.0,")), "{csv}");
    }
    assert_eq!(written(&out), times);
    succeed(&reproduce("table-2", &out, &few));
    assert_eq!(written(&out), times);
    assert_eq!(fs::read_to_string(out.join("table-2.csv")).unwrap(), csv);

    // Another setting is another table.
    let other = [&few[..], &["--set", "cifar10.epochs=5"]].concat();
    fail(1, &reproduce("table-2", &out, &other), &["other settings", "cifar10.epochs is 4.0 there, 5.0 here"]);
}

#[test]
fn a_killed_table_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let few = ["--methods", "darts,gdas", "--seeds", "0,1", "--set", "cifar10.epochs=8"];
    succeed(&reproduce("appendix-g", &whole, &few));
    let mut interrupted = 0;
    for finished in [0, 1, 2] {
        let mut child = start(&reproduce("appendix-g", &killed, &few));
        let done = || if killed.is_dir() { written(&killed).len() } else { 0 };
        while !killed.is_dir() || (done() < finished && child.try_wait().unwrap().is_none()) {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(20));
        interrupted += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(interrupted > 0, "every process had ended before it was killed");
    succeed(&reproduce("appendix-g", &killed, &few));
    // Everything but the time of a search, the last column.
    let table = |out: &Path| {
        let text = fs::read_to_string(out.join("appendix-g.csv")).unwrap();
        text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(table(&killed), table(&whole));
    assert_eq!(table(&killed).len(), 5);
}

#[test]
fn the_appendix_with_the_zero_operation() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("zero");
    succeed(&reproduce("appendix-f", &out, &["--methods", "advantage-nas", "--seeds", "0"]));
    let markdown = fs::read_to_string(out.join("appendix-f.md")).unwrap();
    assert!(markdown.contains("| all cells | 15625 |") && !markdown.contains("paper"), "{markdown}");
    let config = fs::read_to_string(out.join("advantage-nas/seed-0/config.toml")).unwrap();
    assert!(config.contains("zero = true"));
    // The setting alone makes another table of the same searches: its references are of the same space, and the paper has no such numbers.
    succeed(&reproduce("table-2", &out, &["--methods", "advantage-nas", "--seeds", "0", "--set", "cifar10.zero=true"]));
    assert_eq!(fs::read_to_string(out.join("table-2.md")).unwrap(), markdown);
}

#[test]
fn reproductions_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cells");
    fail(2, &reproduce("table-2", &out, &["--seeds", "1,1"]), &["the seed 1 is given twice"]);
    fail(2, &reproduce("table-2", &out, &["--methods", "gdas,gdas"]), &["the method gdas is given twice"]);
    fail(2, &reproduce("table-2", &out, &["--set", "cifar10.batch=1000"]), &["cifar10.batch must be from 1 to 160"]);
    fail(2, &reproduce("figure-2", &out, &["--methods", "random"]), &["random"]);
    assert!(!out.exists());
}
