//! Kernels with faults: is each of them seen? A report that is not understood would pass everything.

use std::path::Path;

use advantage_nas_gpu::device::source::{Constant, Expected, Parameter, Signature};
use advantage_nas_gpu::device::{Source, compile};
use advantage_nas_gpu::kernels;

use crate::{multiprocessor, speed};

/// A kernel that must spill: two blocks of 1024 threads leave a thread 32 registers, and it holds 64 values at a time.
const STARVED: Source = Source {
    name: "starved",
    constants: &[Constant::new("VALUES", 64)],
    descriptions: &[],
    files: &[(
        "starved.cu",
        r#"extern "C" __global__ void __launch_bounds__(1024, 2) starved(float* values)
{
    float held[VALUES];
#pragma unroll
    for (int i = 0; i < VALUES; ++i) held[i] = values[i * 1024 + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < VALUES; ++i) values[i * 1024 + threadIdx.x] = held[VALUES - 1 - i];
}
"#,
    )],
    kernels: &[Signature {
        names: &["starved"],
        tf32: None,
        parameters: &[Parameter::writes::<f32>("values")],
        expected: Some(Expected {
            threads: 1024,
            dynamic_shared: 0,
            blocks: 2,
            arithmetic: 0,
            global_loads: 0,
            unfused: 0,
            shared_waves: 100,
            global_sectors: 100,
        }),
    }],
};

/// Products of columns of shared memory, in a loop of `ADD`s that are as they should be or have a fault.
macro_rules! dot {
    ($name:literal, $bounds:literal, $shared:literal, $add:literal) => {
        Source {
            name: "dot",
            constants: &[Constant::new("THREADS", 128), Constant::new("DEPTH", 32)],
            descriptions: &[],
            files: &[(
                $name,
                concat!(
                    "extern \"C\" __global__ void ",
                    $bounds,
                    " dot(const float* __restrict__ values, float* __restrict__ sums, int steps)\n{\n",
                    "    __shared__ float tile[DEPTH * THREADS + ",
                    $shared,
                    "];\n",
                    "    for (int i = 0; i < DEPTH; ++i) tile[i * THREADS + threadIdx.x] = values[i * THREADS + threadIdx.x];\n",
                    "    __syncthreads();\n",
                    "    float sum[16] = {};\n",
                    "#pragma unroll 1\n",
                    "    for (int step = 0; step < steps; ++step) {\n",
                    "        const float a = tile[step % DEPTH * THREADS + threadIdx.x];\n",
                    "#pragma unroll\n",
                    "        for (int k = 0; k < 16; ++k) ",
                    $add,
                    ";\n    }\n",
                    "    for (int k = 0; k < 16; ++k) sums[k * THREADS + threadIdx.x] = sum[k];\n}\n",
                ),
            )],
            kernels: &[Signature {
                names: &["dot"],
                tf32: None,
                parameters: &[
                    Parameter::reads::<f32>("values"),
                    Parameter::writes::<f32>("sums"),
                    Parameter::value::<i32>("steps"),
                ],
                expected: Some(Expected {
                    threads: 128,
                    dynamic_shared: 0,
                    blocks: 9,
                    arithmetic: 60,
                    global_loads: 0,
                    unfused: 0,
                    shared_waves: 100,
                    global_sectors: 100,
                }),
            }],
        }
    };
}

/// As it should be, and with one fault each: what its loop does, and what must be said of it.
const FAULTS: [(&str, Source, &str); 5] = [
    ("none", dot!("dot.cu", "__launch_bounds__(THREADS)", "0", "sum[k] = fmaf(a, sum[k], a)"), ""),
    (
        "a missing fmaf",
        dot!("unfused.cu", "__launch_bounds__(THREADS)", "0", "sum[k] = a * sum[k] + a"),
        "products and sums of its loop are not fused",
    ),
    (
        "a load of global memory in the loop",
        dot!("global.cu", "__launch_bounds__(THREADS)", "0", "sum[k] = fmaf(a, sum[k], values[step])"),
        "loads of global memory in its loop",
    ),
    (
        "too much shared memory",
        dot!("large.cu", "__launch_bounds__(THREADS)", "6000", "sum[k] = fmaf(a, sum[k], a)"),
        "room for",
    ),
    ("no launch bounds", dot!("unbound.cu", "", "0", "sum[k] = fmaf(a, sum[k], a)"), "no launch bounds"),
];

/// A kernel with the header for asynchronous copies.
const COPIES: Source = Source {
    name: "copies",
    constants: &[Constant::new("THREADS", 128)],
    descriptions: &[],
    files: &[
        kernels::ASYNC,
        (
            "copies.cu",
            r#"extern "C" __global__ void __launch_bounds__(THREADS) copies(const float* __restrict__ numbers, float* out, int count)
{
    const float4* values = (const float4*)numbers;
    float4* sums = (float4*)out;
    __shared__ float4 tile[2][THREADS];
    copy_async<16>(&tile[0][threadIdx.x], values + threadIdx.x);
    copy_commit();
    copy_async<4>(&tile[1][threadIdx.x].x, values + threadIdx.x, threadIdx.x < count);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    float4 sum = tile[0][(threadIdx.x + 1) % THREADS];
    copy_wait<0>();
    __syncthreads();
    sum.x += tile[1][(threadIdx.x + 1) % THREADS].x;
    sums[threadIdx.x] = sum;
}
"#,
        ),
    ],
    kernels: &[Signature {
        names: &["copies"],
        tf32: None,
        parameters: &[
            Parameter::reads::<f32>("values"),
            Parameter::writes::<f32>("sums"),
            Parameter::value::<i32>("count"),
        ],
        expected: None,
    }],
};

/// Do asynchronous copies become what they are meant to?
pub fn copies(disassembler: &Path) -> Result<(), String> {
    for multiprocessor in multiprocessor::ALL {
        let architecture = multiprocessor.architecture;
        let compiled = compile::compile(&COPIES, architecture, &[]).map_err(|error| error.to_string())?;
        let codes = speed::disassemble(disassembler, &compiled.cubin)?;
        let found = codes[0].instructions.iter().filter(|one| one.kind() == "LDGSTS").count();
        if found != 2 {
            return Err(format!("2 asynchronous copies became {found} LDGSTS on {architecture}"));
        }
    }
    Ok(())
}

/// Is a spill seen in the assembler's report?
pub fn spill() -> Result<(), String> {
    let architecture = multiprocessor::ALL[0].architecture;
    let starved = compile::usage(&STARVED, architecture, &[]).map_err(|error| error.to_string())?;
    match starved.iter().all(|usage| usage.spills == 0) {
        true => Err("64 values in 32 registers are no spill: the report is not understood".to_owned()),
        false => Ok(()),
    }
}

/// Are faults seen in machine code, and only those that are there?
pub fn speed(disassembler: &Path) -> Result<(), String> {
    let spilt = [("a spill", STARVED, "accesses of local memory, none expected")];
    for (fault, source, said) in FAULTS.into_iter().chain(spilt) {
        for multiprocessor in multiprocessor::ALL {
            let expected = source.kernels[0].expected.expect("every fault has expectations");
            let reports = speed::reports(&source, multiprocessor, disassembler)?;
            let problems = reports.iter().flat_map(|report| report.problems(&expected)).collect::<Vec<_>>().join("; ");
            if problems.contains(said) == said.is_empty() && !(said.is_empty() && problems.is_empty()) {
                let architecture = multiprocessor.architecture;
                return Err(format!("planted fault on {architecture}: {fault}; expected {said:?}, found {problems:?}"));
            }
        }
    }
    Ok(())
}
