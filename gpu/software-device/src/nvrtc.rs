//! NVRTC by g++: CUDA C++ in, a shared object out, kept by the hash of its preprocessed text.

use crate::settings::{Checks, SETTINGS, Settings};
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const HEADER: &str = include_str!("device.h");
/// Headers that NVRTC users bring from the toolkit.
const TOOLKIT: [(&str, &str); 2] =
    [("cuda_fp16.h", include_str!("cuda_fp16.h")), ("cuda_bf16.h", include_str!("cuda_bf16.h"))];
/// Marks the line of our PTX that names the shared object.
const IMAGE: &str = "// image ";

/// Results must not depend on which products the compiler fuses, and no access may hide in a call of memset.
const COMPILE: &str = "-x c++ -fpreprocessed -c program.ii -o program.o -O2 -g1 -fPIC -w -fpermissive -fno-weak \
    -fno-exceptions -fno-strict-aliasing -fwrapv -ffp-contract=off -fvisibility=hidden -fno-gnu-unique \
    -fno-tree-loop-distribute-patterns -fno-toplevel-reorder";
/// Every load and store calls `__tsan_*` of device.h, every other fault `__ubsan_*`.
const CHECK: &str = "-fsanitize=thread,alignment,bounds,integer-divide-by-zero,shift-exponent \
    --param tsan-instrument-func-entry-exit=0";

const SUCCESS: i32 = 0;
const INVALID_INPUT: i32 = 3;
const INVALID_PROGRAM: i32 = 4;
const INVALID_OPTION: i32 = 5;
const COMPILATION: i32 = 6;
const INTERNAL_ERROR: i32 = 11;

#[derive(Default)]
pub struct Program {
    source: String,
    name: String,
    headers: Vec<(String, String)>,
    log: CString,
    ptx: CString,
    /// Empty unless a real architecture was asked for, as NVRTC has it.
    cubin: Vec<u8>,
}

/// What a compiled program must have been made for: this version of the device, and whether accesses are checked.
pub(crate) fn version(checks: Checks) -> u64 {
    let mut hasher = DefaultHasher::new();
    (HEADER, include_str!("nvrtc.rs"), checks == Checks::None).hash(&mut hasher);
    hasher.finish()
}

/// The shared object that `text`, made by `nvrtcGetPTX`, stands for.
pub(crate) fn image_of_ptx(text: &str) -> Option<&Path> {
    text.lines().find_map(|line| line.strip_prefix(IMAGE)).map(Path::new)
}

/// Options as g++ wants them, and the architecture: its number and whether it is a real one.
fn translate_options(options: &[String]) -> Result<(Vec<String>, i32, bool), String> {
    const IGNORED: [&str; 21] = [
        "fmad",
        "use_fast_math",
        "ftz",
        "prec-sqrt",
        "prec-div",
        "extra-device-vectorization",
        "maxrregcount",
        "ptxas-options",
        "generate-line-info",
        "device-debug",
        "restrict",
        "default-device",
        "disable-warnings",
        "relocatable-device-code",
        "device-as-default-execution-space",
        "dopt",
        "split-compile",
        "minimal",
        "builtin-initializer-list",
        "no-source-include",
        "display-error-number",
    ];
    const SHORT: [&str; 8] = ["-lineinfo", "-G", "-w", "-rdc", "-default-device", "-dc", "-Xptxas", "-restrict"];
    let (mut flags, mut arch, mut real, mut standard) = (Vec::new(), 75, false, "c++17".to_owned());
    let mut options = options.iter().map(String::as_str);
    while let Some(option) = options.next() {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let mut value = || value.or_else(|| options.next()).ok_or(format!("option {option} needs a value"));
        match name {
            "--gpu-architecture" | "-arch" => {
                let text = value()?;
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                arch = digits.parse().map_err(|_| format!("invalid value for --gpu-architecture ({text})"))?;
                real = text.starts_with("sm_");
            }
            "--define-macro" | "-D" => flags.push(format!("-D{}", option.split_once('=').map_or("", |(_, v)| v))),
            "--include-path" | "-I" => flags.push(format!("-I{}", value()?)),
            "--std" | "-std" => standard = value()?.into(),
            "-Xptxas" => drop(value()?),
            _ if option.starts_with("-D") || option.starts_with("-I") || option.starts_with("-U") => {
                flags.push(option.into());
            }
            _ if SHORT.contains(&name) || IGNORED.iter().any(|known| name.strip_prefix("--") == Some(known)) => {}
            _ => return Err(format!("nvrtc: error: unrecognized option {option} found")),
        }
    }
    flags.extend([format!("-std={standard}"), format!("-D__CUDA_ARCH__={arch}0")]);
    Ok((flags, arch, real))
}

/// The C++ that g++ compiles for `text`, the preprocessed CUDA C++: kernels exported, shared memory in its own section.
fn translate(text: &str) -> Result<String, String> {
    let identifier = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len() + 4096);
    let (mut kernels, mut pads, mut rest) = (Vec::<(String, String)>::new(), 0, text);
    while let Some(at) = rest.find("__").filter(|at| at + 2 < rest.len()) {
        let (before, tail) = rest.split_at(at);
        let word = &tail[..tail.find(|c| !identifier(c)).unwrap_or(tail.len())];
        let begins = !before.ends_with(identifier);
        out.push_str(before);
        rest = &tail[word.len()..];
        match word {
            "__global__" if begins => {
                let (name, bounds, declaration) = kernel(rest).ok_or("a __global__ function without a name")?;
                rest = &rest[declaration.len()..];
                out.push_str("__attribute__((noipa))"); // what calls it is not checked
                out.push_str(&match &bounds {
                    Some((start, end, _)) => format!("{}{}", &declaration[..*start], &declaration[*end..]),
                    None => declaration.to_owned(),
                });
                let bounds = bounds.map_or("1024".into(), |(.., expression)| expression);
                match kernels.iter_mut().find(|(known, _)| *known == name) {
                    Some(known) if known.1 == "1024" => known.1 = bounds,
                    Some(_) => {}
                    None => kernels.push((name, bounds)),
                }
            }
            "__shared__" if begins && out.trim_end().ends_with("extern") => {
                let end = rest.find(';').ok_or("an extern __shared__ declaration without an end")?;
                let (declared, _) = rest[..end].split_once('[').ok_or("extern __shared__ without []")?;
                // The base of dynamic shared memory is aligned for everything.
                let declared = declared.rsplit_once("))").or(declared.rsplit_once(')')).map_or(declared, |(_, d)| d);
                let name = declared.trim_end().rsplit(|c| !identifier(c)).next().unwrap_or("");
                let kind = declared.trim_end().strip_suffix(name).unwrap_or("").trim();
                out.truncate(out.trim_end().len() - "extern".len());
                write!(out, "{kind}* const {name} = ({kind}*)soft_dynamic").expect("to a string");
                rest = &rest[end..];
            }
            "__shared__" if begins => {
                // A variable that nobody may touch stands before each, so that running over one's end is seen.
                let end = rest.find(';').ok_or("a __shared__ declaration without an end")?;
                let mut depth = 0;
                let declarators = rest[..end].split(|c| {
                    depth += i32::from("([{<".contains(c)) - i32::from(")]}>".contains(c));
                    depth == 0 && c == ','
                });
                let mut kind = "";
                for declarator in declarators {
                    let name = declarator.split('[').next().unwrap_or("").trim_end();
                    if kind.is_empty() {
                        kind = name.trim_end_matches(identifier);
                    }
                    let section = "__attribute__((section(\"soft_shared\"), used))";
                    let declared = declarator.strip_prefix(kind).unwrap_or(declarator);
                    write!(out, "static char soft_pad_{pads}[64] {section}; static {section} {kind} {declared};")
                        .expect("to a string");
                    pads += 1;
                }
                rest = &rest[end + 1..];
            }
            _ => out.push_str(word),
        }
    }
    out.push_str(rest);
    out.push_str("\nstatic const soft::Kernel soft_kernels[] = {");
    for (name, bounds) in &kernels {
        write!(out, "soft::kernel<&{name}>(\"{name}\", {bounds}), ").expect("to a string");
    }
    let count = kernels.len();
    write!(
        out,
        "{{}}}};\nextern \"C\" __attribute__((visibility(\"default\"), used)) \
         const soft::Module soft_module = soft::module(soft_kernels, {count});\n"
    )
    .expect("to a string");
    Ok(out)
}

type Bounds = Option<(usize, usize, String)>;

/// Name, launch bounds (where, and the expression) and text up to the parameters of the kernel declared by `text`.
fn kernel(text: &str) -> Option<(String, Bounds, &str)> {
    let identifier = |c: char| c.is_alphanumeric() || c == '_';
    let (mut bounds, mut at) = (None, 0);
    loop {
        let open = at + text[at..].find('(')?;
        let head = text[..open].trim_end();
        let name = head.rsplit(|c| !identifier(c)).next().filter(|name| !name.is_empty())?;
        if name != "__launch_bounds__" {
            return Some((name.into(), bounds, &text[..open]));
        }
        let mut depth = 0;
        let close = text[open..].find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        })?;
        let inner = &text[open + 1..open + close];
        let mut depth = 0;
        let first = inner.split(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0 && c == ','
        });
        at = open + close + 1;
        bounds = Some((head.len() - name.len(), at, first.into_iter().next()?.trim().to_owned()));
    }
}

impl Program {
    fn compile(&mut self, options: &[String]) -> Result<(), (i32, String)> {
        let settings = SETTINGS.as_ref().map_err(|message| (INTERNAL_ERROR, message.clone()))?;
        let (mut flags, arch, real) = translate_options(options).map_err(|message| (INVALID_OPTION, message))?;
        flags.push(format!("-DSOFT_VERSION={}ull", version(settings.checks)));
        flags.extend(settings.flags.iter().cloned());
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| (INTERNAL_ERROR, format!("{path}: {error}"))
        };
        // Headers lie in a folder named by their content, so that versions of this library don't mix.
        let mut hasher = DefaultHasher::new();
        (HEADER, TOOLKIT, &self.headers).hash(&mut hasher);
        let include = settings.cache.join(format!("include-{:016x}", hasher.finish()));
        std::fs::create_dir_all(&include).map_err(io(&include))?;
        let given = self.headers.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        for (name, text) in [("device.h", HEADER)].into_iter().chain(TOOLKIT).chain(given) {
            if !include.join(name).exists() {
                write_whole(&include.join(name), text.as_bytes()).map_err(io(&include))?;
            }
        }
        let work = settings.cache.join(format!("work-{}-{:p}", std::process::id(), self));
        std::fs::create_dir_all(&work).map_err(io(&work))?;
        let result = self.build(settings, &work, &include, flags);
        let _ = std::fs::remove_dir_all(&work);
        let object = result?;
        if real {
            self.cubin = std::fs::read(&object).map_err(io(&object))?;
        }
        let ptx = format!(
            "//\n// Made by the software CUDA device (emulated)\n//\n.version 9.0\n.target sm_{arch}\n{IMAGE}{}\n",
            object.display()
        );
        self.ptx = CString::new(ptx).unwrap_or_default();
        Ok(())
    }

    /// Preprocesses, translates, compiles and links; returns the shared object in the cache.
    fn build(
        &mut self,
        settings: &Settings,
        work: &Path,
        include: &Path,
        flags: Vec<String>,
    ) -> Result<PathBuf, (i32, String)> {
        let io = |error: std::io::Error| (INTERNAL_ERROR, format!("{}: {error}", work.display()));
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        let name = if self.name.is_empty() { "default_program" } else { &self.name };
        let run = |arguments: &[String]| {
            let output = Command::new(&settings.compiler).current_dir(work).env("LC_ALL", "C").args(arguments).output();
            let compiler = &settings.compiler;
            let none =
                |error| format!("the software CUDA device compiles with {compiler}, which did not start: {error}");
            let output = output.map_err(|error| (INTERNAL_ERROR, none(error)))?;
            let log = String::from_utf8_lossy(&output.stderr).replace("program.cpp", name);
            if output.status.success() { Ok(log) } else { Err((COMPILATION, log)) }
        };
        let mut compile = words(COMPILE);
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            compile.push("-march=x86-64-v3".into());
        }
        if settings.checks != Checks::None {
            compile.extend(words(CHECK));
        }
        compile.extend(flags.iter().filter(|flag| !flag.starts_with("-I")).cloned());
        let object = |text: &str| {
            let mut hasher = DefaultHasher::new();
            (name, text, &flags, &compile, &settings.compiler, include).hash(&mut hasher);
            settings.cache.join(format!("{:016x}.so", hasher.finish()))
        };
        // Without folders to include from, the text says all; with them, the preprocessed text does.
        let folders = flags.iter().any(|flag| flag.starts_with("-I"));
        let known = object(&self.source);
        if !folders && known.exists() {
            return Ok(known);
        }
        let source = format!("#include <device.h>\n#line 1 \"{name}\"\n{}\n#line 1 \"<table>\"\n", self.source);
        std::fs::write(work.join("program.cpp"), source).map_err(io)?;
        let mut preprocess = words("-E program.cpp -o program.ii");
        preprocess.push(format!("-I{}", include.display()));
        preprocess.extend(flags.iter().cloned());
        run(&preprocess)?;
        let text = std::fs::read_to_string(work.join("program.ii")).map_err(io)?;
        let object = if folders { object(&text) } else { known };
        if !object.exists() {
            let text = translate(&text).map_err(|message| (COMPILATION, message))?;
            std::fs::write(work.join("program.ii"), text).map_err(io)?;
            let log = run(&compile)?;
            run(&words("-shared -o program.so program.o"))?;
            std::fs::rename(work.join("program.so"), &object).map_err(io)?;
            self.log = CString::new(log).unwrap_or_default();
        }
        Ok(object)
    }
}

/// Another process that reads `path` sees all of it or nothing.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}

/// SAFETY: `pointer` is null or a C string.
unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: see above.
    if pointer.is_null() { String::new() } else { unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned() }
}

macro_rules! exports {
    ($($name:ident($($argument:ident: $kind:ty),*) $body:block)*) => { $(
        /// As in `nvrtc.h`.
        #[unsafe(no_mangle)]
        #[allow(unused_unsafe, reason = "some bodies need none")]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> i32 {
            // SAFETY: pointers are as NVRTC's documentation asks of the caller.
            unsafe { $body }
        }
    )* };
}

exports! {
    nvrtcVersion(major: *mut c_int, minor: *mut c_int) {
        (*major, *minor) = (13, 0);
        SUCCESS
    }
    nvrtcCreateProgram(
        program: *mut *mut Program, source: *const c_char, name: *const c_char, count: c_int,
        headers: *const *const c_char, names: *const *const c_char
    ) {
        if program.is_null() || source.is_null() {
            return INVALID_INPUT;
        }
        let headers = (0..count as usize).map(|i| (text(*names.add(i)), text(*headers.add(i)))).collect();
        let new = Program { source: text(source), name: text(name), headers, ..Default::default() };
        *program = Box::into_raw(Box::new(new));
        SUCCESS
    }
    nvrtcDestroyProgram(program: *mut *mut Program) {
        if (*program).is_null() {
            return INVALID_PROGRAM;
        }
        drop(Box::from_raw(std::mem::replace(&mut *program, std::ptr::null_mut())));
        SUCCESS
    }
    nvrtcCompileProgram(program: *mut Program, count: c_int, options: *const *const c_char) {
        let options: Vec<String> = (0..count as usize).map(|i| text(*options.add(i))).collect();
        match (*program).compile(&options) {
            Ok(()) => SUCCESS,
            Err((status, message)) => {
                (*program).log = CString::new(message.replace('\0', " ")).unwrap_or_default();
                status
            }
        }
    }
    nvrtcGetPTXSize(program: *mut Program, size: *mut usize) {
        *size = (&*program).ptx.as_bytes_with_nul().len();
        SUCCESS
    }
    nvrtcGetPTX(program: *mut Program, out: *mut c_char) {
        let ptx = &(*program).ptx;
        ptx.as_ptr().copy_to(out, ptx.as_bytes_with_nul().len());
        SUCCESS
    }
    nvrtcGetCUBINSize(program: *mut Program, size: *mut usize) {
        *size = (&*program).cubin.len();
        SUCCESS
    }
    nvrtcGetCUBIN(program: *mut Program, out: *mut c_char) {
        let cubin = &(*program).cubin;
        cubin.as_ptr().copy_to(out.cast(), cubin.len());
        SUCCESS
    }
    nvrtcGetProgramLogSize(program: *mut Program, size: *mut usize) {
        *size = (&*program).log.as_bytes_with_nul().len();
        SUCCESS
    }
    nvrtcGetProgramLog(program: *mut Program, out: *mut c_char) {
        let log = &(*program).log;
        log.as_ptr().copy_to(out, log.as_bytes_with_nul().len());
        SUCCESS
    }
}

/// As in `nvrtc.h`.
#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetErrorString(status: i32) -> *const c_char {
    match status {
        SUCCESS => c"NVRTC_SUCCESS",
        INVALID_INPUT => c"NVRTC_ERROR_INVALID_INPUT",
        INVALID_PROGRAM => c"NVRTC_ERROR_INVALID_PROGRAM",
        INVALID_OPTION => c"NVRTC_ERROR_INVALID_OPTION",
        COMPILATION => c"NVRTC_ERROR_COMPILATION",
        _ => c"NVRTC_ERROR_INTERNAL_ERROR",
    }
    .as_ptr()
}
