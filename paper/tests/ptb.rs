//! The recurrent cell on texts: corpora, perplexity, pauses and kills, the command line. The texts are made here; one test reads the Penn
//! Treebank where it is.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::support::{fail, files, real_data, result, run, start, succeed, wait_until};
use advantage_nas::network::Part;
use advantage_nas::network::recurrent::{ParameterKind, Parent, Recurrent, Texts, WeightSettings};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::training::{Plan, Training};
use advantage_nas::{Architecture, Supernet};
use advantage_nas_cpu::recurrent::{self, Settings};
use advantage_nas_paper::data::corpus::{Corpus, Lines};
use ndarray::ArrayD;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const TANH: &str = "|tanh~0|+|tanh~0|tanh~1|+|tanh~0|tanh~1|tanh~2|";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Words of a Markov chain over `words` words: the next one is the present one plus one, or with probability `jump` any. The entropy of the next
/// word, in nats, is that of a distribution with `1 − jump + jump/words` once and `jump/words` otherwise.
fn chain(seed: u64, words: usize, jump: f64, length: usize) -> Vec<usize> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut word = random.random_range(0..words);
    let mut next = || {
        word = if random.random::<f64>() < jump { random.random_range(0..words) } else { (word + 1) % words };
        word
    };
    (0..length).map(|_| next()).collect()
}

fn entropy(words: usize, jump: f64) -> f64 {
    let other = jump / words as f64;
    let successor = 1.0 - jump + other;
    -(successor * successor.ln() + (words - 1) as f64 * other * other.ln())
}

/// Lines of ten words each.
fn lines(words: &[usize]) -> String {
    words.chunks(10).fold(String::new(), |mut out, line| {
        let line: Vec<String> = line.iter().map(|word| format!("w{word}")).collect();
        writeln!(out, "{}", line.join(" ")).unwrap();
        out
    })
}

/// A corpus `chain` in the data folder: 160, 40 and 40 lines.
fn put_corpus(data: &Path) {
    let folder = data.join("chain");
    fs::create_dir_all(&folder).unwrap();
    for (part, seed, length) in [("train", 1, 1600), ("valid", 2, 400), ("test", 3, 400)] {
        fs::write(folder.join(format!("chain.{part}.txt")), lines(&chain(seed, 12, 0.3, length))).unwrap();
    }
}

/// The whole texts.
const WHOLE: [&str; 6] =
    ["--set", "ptb.training_lines=0", "--set", "ptb.validation_lines=0", "--set", "ptb.test_lines=0"];

/// The arguments of a tiny run of a command on that corpus.
fn tiny<'a>(command: &'a str, data: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let own =
        [command, "ptb", "--quiet", "--preset", "tiny", "--corpus", "chain", "--data", text(data), "--out", text(out)];
    [&own[..], &WHOLE].concat()
}

/// The arguments of a tiny search on that corpus.
fn search<'a>(data: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&tiny("search", data, out)[..], more].concat()
}

/// The arguments of a tiny retraining on that corpus.
fn retrain<'a>(data: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&tiny("retrain", data, out)[..], &["--architecture", TANH], more].concat()
}

/// What a finished run leaves, without its times and its checkpoint.
fn left_by(folder: &Path) -> (Vec<(String, Vec<u8>)>, Value) {
    let mut result = result(folder);
    for timing in ["wall_seconds", "steps_per_second"] {
        result.as_object_mut().unwrap().remove(timing).unwrap();
    }
    let compared = ["metrics.csv", "theta.csv", "cell.svg"];
    (files(folder).into_iter().filter(|(name, _)| compared.contains(&name.as_str())).collect(), result)
}

/// The tensors of a checkpoint, without the times in its metadata.
fn tensors(folder: &Path) -> Vec<u8> {
    let bytes = fs::read(folder.join("checkpoint.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

#[test]
fn corpora_that_can_not_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let out = data.join("run");
    let refused = |code, parts: &[&str]| fail(code, &search(data, &out, &[]), parts);
    refused(1, &["the corpus \"chain\" not found in ", "put chain.train.txt, chain.valid.txt, chain.test.txt there"]);
    put_corpus(data);
    let put = |part: &str, content: &[u8]| fs::write(data.join(format!("chain/chain.{part}.txt")), content).unwrap();
    let whole = fs::read(data.join("chain/chain.test.txt")).unwrap();
    put("test", &[&whole[..], b"w1 w2\nw3 stranger w4\n"].concat());
    refused(
        1,
        &["chain.test.txt, line 42: expected words of the training text, which has no <unk>, found \"stranger\""],
    );
    put("test", b"w1 \xff\n");
    refused(1, &["chain.test.txt, line 1: expected UTF-8"]);
    put("test", b"\n\n");
    refused(1, &["chain.test.txt: expected words, found none"]);
    fs::remove_file(data.join("chain/chain.test.txt")).unwrap();
    refused(1, &["expected a file chain.test.txt, found none"]);
    put("test", b"w1\n");
    put("train", b"");
    refused(1, &["chain.train.txt: expected words, found none"]);
    put("train", b"w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11\n");
    let minibatches = "has 13 words here, expected at least two minibatches of ptb.batch = 6 times ptb.steps = 5";
    refused(2, &["the training text of \"chain\"", minibatches]);
    fail(2, &["search", "ptb", "--corpus", "../chain", "--data", text(data)], &["is not the name of a corpus"]);
    // Nothing was written meanwhile.
    assert!(!out.exists());
    // The Penn Treebank is known by its checksums.
    fs::create_dir(data.join("ptb")).unwrap();
    for part in ["train", "valid", "test"] {
        fs::write(data.join(format!("ptb/ptb.{part}.txt")), "no news\n").unwrap();
    }
    fail(1, &["search", "ptb", "--data", text(data)], &["ptb.train.txt: expected 5101618 bytes with md5 f26c4b92"]);
}

#[test]
fn settings_that_make_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    put_corpus(data);
    let out = data.join("run");
    for (change, part) in [
        ("ptb.epochs=0", "ptb.epochs must be above 0"),
        ("ptb.epochs=0.001", "ptb.epochs = 0.001 has no update of theta"),
        ("ptb.epochs=inf", "at most 1000000000, got inf"),
        ("ptb.batch=0", "the number of streams must be at least 1"),
        ("ptb.units=0", "the number of units"),
        ("ptb.dropout=1", "dropout"),
        ("weights.clip_norm=0", "the limit of the weights' gradient norm"),
        ("theta.learning_rate=-1", "learning rate"),
        ("ptb.unit=8", "unknown setting \"ptb.unit\", known are: method, seed"),
        ("interval=0", "interval must be at least 1"),
        ("retraining.interval=0", "retraining.interval must be at least 1"),
        ("retraining.epochs=0", "retraining.epochs must be above 0"),
        ("retraining.choose=best", "unknown variant `best`, expected one of `by-method`, `argmax`, `process-best`"),
    ] {
        fail(2, &search(data, &out, &["--set", change]), &[part]);
    }
    fail(2, &retrain(data, &out, &["--set", "retraining.epochs=0"]), &["retraining.epochs must be above 0"]);
    fail(2, &retrain(data, &out, &["--set", "retraining.interval=0"]), &["retraining.interval must be at least 1"]);
    fail(2, &["search", "ptb", "--device", "cuda", "--data", text(data)], &["runs on the CPU only"]);
    fail(2, &["retrain", "ptb", "--data", text(data)], &["--from <RUN>"]);
    let cell = ["retrain", "ptb", "--data", text(data), "--architecture", "|tanh~0|"];
    fail(
        2,
        &cell,
        &["the cell \"|tanh~0|\": ", "expected \"+|\" before the operations of node 2, got the end", "3 nodes"],
    );
    assert!(!out.exists());
}

#[test]
fn a_uniform_model_has_the_perplexity_of_the_vocabulary() {
    // Without output weights and bias, every word has probability 1/V.
    let sizes = Recurrent { vocabulary: 137, units: 5, batch: 3, steps: 4, dropout: 0.5, initial_range: 0.1 };
    let words: Vec<u32> = chain(4, 137, 0.5, 500).iter().map(|word| *word as u32).collect();
    let texts = Texts { vocabulary: 137, training: words.clone().into(), validation: words.clone().into(), test: None };
    let settings = Settings { weights: WeightSettings::paper(), threads: 1 };
    let parent = Parent::new(sizes).unwrap();
    let output = [parent.index(ParameterKind::OutputWeight), parent.index(ParameterKind::OutputBias)];
    let mut model = recurrent::supernet::<f64>(parent, settings, texts, &Streams::new(1), &[0]).unwrap();
    for (index, shape) in output.into_iter().zip([vec![137, 5], vec![137]]) {
        model.set_parameter(0, index, Part::Value, &ArrayD::<f64>::zeros(shape).into()).unwrap();
    }
    let architecture = Architecture::new(model.space().shape(), vec![1, 2, 3, 4, 0, 1]).unwrap();
    let proposal = Proposal::one_hot(model.space().shape(), &architecture, Want::Loss).unwrap();
    let request = Request { batch: Batch { trial: 0, set: Set::Validation, step: 0 }, proposal };
    let evaluation = model.evaluate(&request).unwrap();
    assert_eq!(evaluation.count, 500);
    let perplexity = evaluation.loss.exp();
    assert!((perplexity / 137.0 - 1.0).abs() <= 1e-9, "{perplexity}");
}

/// A network that is trained on a long text of the chain predicts other text of it nearly as well as the chain itself, and no network predicts
/// it better: the mean of N = 20 000 negative log-likelihoods of the true distribution is within 5 standard errors of the entropy, and any
/// model's mean is larger by its mean divergence, which is not negative.
#[test]
fn a_source_of_known_entropy_is_approached_and_not_beaten() {
    const WORDS: usize = 12;
    const JUMP: f64 = 0.3;
    const TEST: usize = 20_000;
    let tokens = |seed, length| chain(seed, WORDS, JUMP, length).iter().map(|word| *word as u32).collect::<Vec<u32>>();
    let test = tokens(7, TEST);
    let texts = Texts {
        vocabulary: WORDS,
        training: tokens(5, 60_000).into(),
        validation: tokens(6, 1000).into(),
        test: Some(test.clone().into()),
    };
    let sizes = Recurrent { vocabulary: WORDS, units: 16, batch: 16, steps: 10, dropout: 0.0, initial_range: 0.1 };
    let settings = Settings { weights: WeightSettings { learning_rate: 2.0, clip_norm: 0.25 }, threads: 1 };
    let parent = Parent::new(sizes).unwrap();
    let model = recurrent::supernet::<f32>(parent, settings, texts, &Streams::new(2), &[0]).unwrap();
    let architecture = Architecture::new(model.space().shape(), vec![1; 6]).unwrap();
    let plan = Plan { steps: 1500, interval: 1500, steps_per_epoch: 375.0 };
    let mut training = Training::new(plan, model, 0, &architecture).unwrap();
    let before = training.evaluate(Set::Test).unwrap();
    training.run(None, &mut ()).unwrap();
    let after = training.evaluate(Set::Test).unwrap();
    assert_eq!(after.count, TEST as u64);

    // What the chain itself says of this text: the bound holds for it as well, word for word.
    let other = JUMP / WORDS as f64;
    let likelihood = |pair: &[u32]| if pair[1] == (pair[0] + 1) % WORDS as u32 { 1.0 - JUMP + other } else { other };
    let source = -test.windows(2).map(|pair| f64::ln(likelihood(pair))).sum::<f64>() / (TEST - 1) as f64;
    let entropy = entropy(WORDS, JUMP);
    // The standard deviation of −ln p is below 2 for these numbers.
    let error = 2.0 / (TEST as f64).sqrt();
    assert!((source - entropy).abs() <= 5.0 * error, "source {source}, entropy {entropy}");
    assert!(after.loss >= entropy - 5.0 * error, "{} beats the entropy {entropy}", after.loss);
    // On the same words, a model can only win by chance what it gained from the deviations of this text.
    assert!(after.loss >= source - 2.0 * error, "{} beats the source {source}", after.loss);
    assert!(after.loss <= entropy + 0.05, "{} after training, entropy {entropy}", after.loss);
    assert!(before.loss > entropy + 0.5, "{} before training: nothing was to be learned", before.loss);
}

#[test]
fn pauses_kills_and_threads_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    put_corpus(data);
    for method in ["advantage-nas", "proxylessnas", "gdas"] {
        let whole = data.join(format!("{method}-whole"));
        succeed(&search(data, &whole, &["--method", method, "--threads", "1"]));
        // Paused before a step of theta and before one of the weights, and gone on with another number of threads.
        let paused = data.join(format!("{method}-paused"));
        for stop in ["1", "50", "77"] {
            let more =
                ["--method", method, "--threads", "2", "--resume", "--stop-after", stop, "--checkpoint-every", "7"];
            let answer = succeed(&search(data, &paused, &more));
            assert!(answer.out.starts_with(&format!("paused at step {stop} of ")), "{answer:?}");
        }
        succeed(&search(data, &paused, &["--method", method, "--threads", "2", "--resume"]));
        assert_eq!(left_by(&paused), left_by(&whole), "{method}");
        assert_eq!(tensors(&paused), tensors(&whole), "{method}");
    }
    let whole = data.join("retrained");
    succeed(&retrain(data, &whole, &["--threads", "2"]));
    let paused = data.join("paused");
    for stop in ["1", "33", "100"] {
        let answer = succeed(&retrain(data, &paused, &["--threads", "1", "--resume", "--stop-after", stop]));
        assert!(answer.out.starts_with(&format!("paused at step {stop} of ")), "{answer:?}");
    }
    succeed(&retrain(data, &paused, &["--threads", "1", "--resume"]));
    assert_eq!(left_by(&paused), left_by(&whole));
    assert_eq!(tensors(&paused), tensors(&whole));
    assert!(!whole.join("theta.csv").exists());
    let again = succeed(&retrain(data, &whole, &["--resume"])).out;
    assert!(again.contains("is already finished, nothing is left to do"), "{again}");
}

#[test]
fn killed_at_random_moments() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    put_corpus(data);
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let long = ["--set", "ptb.epochs=20", "--set", "retraining.epochs=20", "--checkpoint-every", "100"];
    for arguments in [search, retrain] {
        let whole = data.join("whole");
        succeed(&arguments(data, &whole, &long));
        let (mut kills, out) = (0, data.join("killed"));
        let resumed = [&long[..], &["--resume"]].concat();
        while !out.join("result.json").exists() && kills < 5 {
            let written = || out.join("checkpoint.safetensors").metadata().and_then(|file| file.modified()).ok();
            let before = written();
            let mut child = start(&arguments(data, &out, &resumed));
            wait_until("a checkpoint or the end", || written() != before || child.try_wait().unwrap().is_some());
            std::thread::sleep(std::time::Duration::from_micros(random.random_range(0..20_000)));
            kills += u32::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        println!("{kills} kills");
        assert!(kills > 0, "it was over before it could be killed");
        if !out.join("result.json").exists() {
            succeed(&arguments(data, &out, &resumed));
        }
        assert_eq!(left_by(&out), left_by(&whole));
        assert_eq!(tensors(&out), tensors(&whole));
        fs::remove_dir_all(&whole).unwrap();
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn from_a_search_to_perplexities() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    put_corpus(data);
    let found = data.join("found");
    let from = ["retrain", "ptb", "--data", text(data), "--from", text(&found)];
    // Not finished yet.
    succeed(&search(data, &found, &["--method", "reinforce", "--stop-after", "9"]));
    fail(2, &from, &["the search is not finished; go on with it by --resume"]);
    succeed(&search(data, &found, &["--method", "reinforce", "--resume"]));
    let searched = result(&found);
    assert_eq!((&searched["chosen"], &searched["corpus"]), (&"process-best".into(), &"chain".into()));
    assert_eq!(searched["vocabulary"], 13);
    let svg = fs::read_to_string(found.join("cell.svg")).unwrap();
    assert!(svg.contains("reinforce, argmax") && svg.contains("reinforce, process best"));

    // REINFORCE's process best by default, or what is asked for.
    let out = succeed(&from).out;
    assert!(out.starts_with("about ") && out.contains(" MiB: ") && out.contains(" updates of w of "), "{out}");
    assert!(out.contains("process-best of reinforce"), "{out}");
    let retrained = data.join("found-retraining");
    let trained = result(&retrained);
    assert_eq!(trained["cell"], searched["process_best"]["cell"]);
    let other = data.join("other");
    succeed(&[&from[..], &["--choose", "argmax", "--out", text(&other), "--seed", "5"]].concat());
    assert_eq!((&result(&other)["cell"], &result(&other)["seed"]), (&searched["argmax"]["cell"], &5.into()));
    fail(
        2,
        &["retrain", "ptb", "--data", text(data), "--from", text(&other)],
        &["expected a search of a recurrent cell"],
    );
    // A folder with another retraining in it.
    fail(1, &[&from[..], &["--out", text(&other), "--resume"]].concat(), &["was written with other settings"]);

    // The checkpoint says what the result says; 10 words and a line's end in each of 40 lines.
    let evaluate = ["evaluate", "ptb", "--data", text(data), "--from"];
    let measured = |run: &Path| -> Value {
        serde_json::from_str(&succeed(&[&evaluate[..], &[text(run), "--json"]].concat()).out).unwrap()
    };
    let of_retraining = measured(&retrained);
    for set in ["validation", "test"] {
        assert_eq!(of_retraining[set], trained[set]);
        assert_eq!(trained[set]["predictions"], 440);
        let number = |key: &str| trained[set][key].as_f64().unwrap();
        assert_eq!(number("perplexity"), number("loss").exp());
    }
    assert_eq!(measured(&found)["validation"], searched["argmax"]["supernet_validation"]);
    let said = succeed(&[&evaluate[..], &[text(&retrained)]].concat()).out;
    assert!(said.contains("over 440 predictions"), "{said}");

    // Other texts than those of the run.
    let path = data.join("chain/chain.valid.txt");
    let longer = fs::read_to_string(&path).unwrap() + "w1\n";
    fs::write(path, longer).unwrap();
    fail(1, &[&evaluate[..], &[text(&retrained)]].concat(), &["was written for other data: chain.valid.txt is \"md5 "]);
}

#[test]
fn methods_without_a_process_best() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    put_corpus(data);
    for method in ["proxylessnas", "darts", "snas"] {
        let found = data.join(method);
        succeed(&search(data, &found, &["--method", method]));
        assert_eq!((&result(&found)["process_best"], &result(&found)["chosen"]), (&Value::Null, &"argmax".into()));
        let best = ["retrain", "ptb", "--data", text(data), "--from", text(&found), "--choose", "process-best"];
        fail(2, &best, &["has no process best"]);
        // Where it is wanted from the start, nothing is searched in vain.
        let (out, wanted) = (data.join("vain"), ["--method", method, "--set", "retraining.choose=process-best"]);
        fail(2, &search(data, &out, &wanted), &["has no process best"]);
        let table = ["reproduce", "table-3", "--preset", "tiny", "--corpus", "chain", "--data", text(data), "--out"];
        let methods = format!("nasp,{method}");
        let wanted = [text(&out), "--methods", &methods, "--set", "retraining.choose=process-best"];
        fail(2, &[&table[..], &wanted].concat(), &["has no process best"]);
        assert!(!out.exists());
    }
    // The cells of a search are those of its method.
    let darts = data.join("darts");
    let other = ["retrain", "ptb", "--data", text(data), "--from", text(&darts), "--set", "method=snas"];
    fail(2, &other, &["its cells are those of darts"]);
    // One-hot cells in the updates of w alone.
    succeed(&search(data, &data.join("nasp"), &["--method", "nasp", "--set", "retraining.choose=process-best"]));
    assert!(result(&data.join("nasp"))["process_best"]["cell"].is_string());
}

#[test]
fn table_3_of_a_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    put_corpus(data);
    let out = data.join("table");
    let table =
        ["reproduce", "table-3", "--preset", "tiny", "--corpus", "chain", "--data", text(data), "--out", text(&out)];
    let some = ["--methods", "advantage-nas,gdas", "--seeds", "0,1", "--set", "ptb.training_lines=0"];
    let first = succeed(&[&table[..], &some].concat()).out;
    for line in [
        "MiB for 4 runs, 1 at a time:\n  2 of advantage-nas, ",
        "  2 of gdas, ",
        "MiB for 8 runs, 1 at a time, each: ",
        "| advantage-nas | argmax | 2 | ",
        "| gdas | process-best | 2 | ",
        "| all-tanh | – | 2 | ",
        "| random | – | 2 | ",
    ] {
        assert!(first.contains(line), "{line} is missing in {first}");
    }
    assert!(first.contains("| 94.90 ± 0.18 | 91.18 ± 0.13 |"), "{first}");
    let csv = fs::read_to_string(out.join("table-3.csv")).unwrap();
    assert_eq!(csv.lines().count(), 9);
    let line = csv.lines().find(|line| line.starts_with("gdas,1,")).unwrap();
    let trained = result(&out.join("retraining/gdas/seed-1"));
    let searched = result(&out.join("search/gdas/seed-1"));
    assert!(line.contains(trained["cell"].as_str().unwrap()), "{line}");
    assert_eq!(trained["cell"], searched["process_best"]["cell"]);
    let perplexity = trained["test"]["perplexity"].as_f64().unwrap();
    assert!(line.contains(&format!(",{perplexity:?},")), "{line}");
    // The mean and the deviation of the population, by hand.
    let other = result(&out.join("retraining/gdas/seed-0"))["test"]["perplexity"].as_f64().unwrap();
    let spread = format!("{:.2} ± {:.2}", (perplexity + other) / 2.0, (perplexity - other).abs() / 2.0);
    assert!(first.lines().any(|line| line.starts_with("| gdas") && line.contains(&spread)), "{spread} in {first}");
    assert!(fs::read_to_string(out.join("appendix-i.svg")).unwrap().contains("advantage-nas, test perplexity"));

    // Other methods can be added; the references are the same.
    let kept = files(&out.join("retraining/all-tanh"));
    let more = ["--methods", "reinforce", "--seeds", "0,1", "--set", "ptb.training_lines=0"];
    assert!(succeed(&[&table[..], &more].concat()).out.contains("| reinforce | process-best | 2 | "));
    assert_eq!(files(&out.join("retraining/all-tanh")), kept);
    succeed(&[&table[..], &some].concat());

    // Nothing is repeated, and what is missing is made again as it was.
    let before = files(&out);
    fs::remove_file(out.join("retraining/random/seed-1/result.json")).unwrap();
    succeed(&[&table[..], &some].concat());
    let after = files(&out);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let same = |name: &&String| !name.contains("random/seed-1") && !name.starts_with("table-3");
    assert!(before.keys().filter(same).all(|name| before[name] == after[name]));
    fail(2, &[&table[..], &["--seeds", "0,0"]].concat(), &["the seed 0 is given twice"]);
}

#[test]
fn dumps_are_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    put_corpus(data);
    let out = data.join("step.safetensors");
    let dump = ["dump", "ptb", "--preset", "tiny", "--corpus", "chain", "--data", text(data), "--out", text(&out)];
    for (method, more) in [
        ("gdas", Some("edge_gradient_with_unit_outputs")),
        ("advantage-exact", Some("losses_without_edge")),
        ("darts", None),
    ] {
        succeed(&[&dump[..], &["--method", method, "--after", "3"]].concat());
        let bytes = fs::read(&out).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let names = file.names();
        // 19 parameters three times; batch, masks, states, proposal two each; the gradient.
        assert_eq!(names.len(), 3 * 19 + 4 * 2 + 1 + usize::from(more.is_some()), "{names:?}");
        assert!(more.is_none_or(|name| names.contains(&name)));
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let notes: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["advnas"]).unwrap();
        assert_eq!((&notes["method"], &notes["theta_steps_before"]), (&method.into(), &3.into()));
        assert_eq!(notes["loss"], notes["loss_of_weight_step"]);
        assert_eq!(notes["edges"], serde_json::json!([[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]));
    }
    fail(
        2,
        &[&dump[..], &["--after", "1000"]].concat(),
        &["--after 1000: the search has ", " updates of theta, expected fewer"],
    );
}

/// The figures are those that everybody reports: 10 000 words, 929 589 words of training text, 73 760 and 82 430 of the others.
#[test]
fn the_penn_treebank() {
    let Some(data) = real_data("ptb") else { return };
    let tokens = Corpus::load(&data, "ptb").unwrap().tokens(Lines::default()).unwrap();
    assert_eq!(tokens.vocabulary.len(), 10_000);
    assert_eq!((tokens.training.len(), tokens.validation.len(), tokens.test.len()), (929_589, 73_760, 82_430));
    // The first line has 24 words, all different.
    assert_eq!((tokens.vocabulary[0].as_str(), tokens.vocabulary[24].as_str()), ("aer", "<eos>"));

    // A retraining of a few steps states the exact numbers of predictions.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let small = ["--set", "ptb.units=4", "--set", "ptb.training_lines=0", "--set", "retraining.epochs=0.001"];
    let whole = ["--set", "ptb.validation_lines=0", "--set", "ptb.test_lines=0", "--set", "ptb.batch=64"];
    let run_it =
        ["retrain", "ptb", "--preset", "tiny", "--architecture", TANH, "--data", text(&data), "--out", text(&out)];
    let answer = run(&[&run_it[..], &small, &whole].concat());
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
    let result = result(&out);
    assert_eq!((&result["vocabulary"], &result["training_words"]), (&10_000.into(), &929_589.into()));
    assert_eq!(result["validation"]["predictions"], 73_760);
    assert_eq!(result["test"]["predictions"], 82_430);
}
