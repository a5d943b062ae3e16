//! The command `advnas`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    advantage_nas_paper::command::main()
}
