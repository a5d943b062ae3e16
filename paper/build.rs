//! Tells the crate what it is built from: commit, compiler, target.
//!
//! The commit is `unknown` outside a checkout of this repository. It ends in `-dirty` if a file that goes into the build differs
//! from the commit; other files (notes, results, tests) don't count.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What goes into the build, relative to the workspace.
const INPUTS: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo",
    "src",
    "cpu/Cargo.toml",
    "cpu/build.rs",
    "cpu/src",
    "gpu",
    "paper/Cargo.toml",
    "paper/build.rs",
    "paper/src",
    "paper/presets",
];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let workspace = manifest.parent().unwrap_or(&manifest).to_owned();
    let commit = commit(&workspace).unwrap_or_else(|| "unknown".to_owned());
    let rustc = env::var("RUSTC").ok().and_then(|rustc| output(Command::new(rustc).arg("-V")));
    let rustc = rustc.unwrap_or_else(|| "unknown".to_owned());
    let variable = |name| env::var(name).unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo::rustc-env=ADVNAS_COMMIT={commit}");
    println!("cargo::rustc-env=ADVNAS_RUSTC={rustc}");
    println!("cargo::rustc-env=ADVNAS_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=ADVNAS_PROFILE={}", variable("PROFILE"));
    println!("cargo::rerun-if-changed=build.rs");
    for input in INPUTS {
        let path = workspace.join(input);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// The commit of the workspace, or nothing if the workspace is not the top of a checkout.
fn commit(workspace: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        output(Command::new("git").arg("--no-optional-locks").arg("-C").arg(workspace).args(arguments))
    };
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    // A copy of the sources inside someone else's repository must not borrow its commit.
    if top.canonicalize().ok()? != workspace.canonicalize().ok()? {
        return None;
    }
    // The index is not watched: every `git status` may rewrite it, and a change of the commit shows here as well.
    for file in ["HEAD", "logs/HEAD"] {
        let path = workspace.join(git(&["rev-parse", "--git-path", file])?);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(INPUTS);
    let dirty = git(&status).is_none_or(|status| !status.is_empty());
    Some(if dirty { format!("{commit}-dirty") } else { commit })
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
