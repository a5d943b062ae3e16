//! What a warp's loads and stores cost, as the source writes them: patterns whose costs are known.

use crate::common::{context, module, parent};
use advantage_nas_software_cuda::{Space, Traffic};
use cudarc::driver::{LaunchConfig, PushKernelArg};

const SOURCE: &str = r#"
extern "C" __global__ void patterns(const float* in, float* out)
{
    __shared__ float tile[32 * 33];
    const int t = threadIdx.x;
    for (int i = 0; i < 32; ++i) tile[i * 33 + t] = in[i * 32 + t];
    __syncthreads();
    float sum = tile[t * 33];
    sum += tile[2 * t];
    sum += tile[t / 8 * 32];
    sum += in[8 * t];
    sum += ((const float4*)in)[t].x;
    out += 128 * blockIdx.x; out[t] = sum;
    out[32 + (t * 5) % 32] = sum;
    out[64 + 2 * t] = sum;
}
"#;

#[test]
fn costs_of_known_patterns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traffic");
    let Some(text) = parent("traffic::costs_of_known_patterns", |device| device.traffic(&path)) else {
        let stream = context().new_stream().unwrap();
        let module = module(stream.context(), SOURCE);
        let (input, mut output) =
            (stream.clone_htod(&[1.0f32; 1024]).unwrap(), stream.alloc_zeros::<f32>(256).unwrap());
        let function = module.load_function("patterns").unwrap();
        let config = LaunchConfig { grid_dim: (2, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
        for _ in 0..2 {
            // SAFETY: types are the kernel's; it stays inside both arrays. Each block has its own half of the results.
            unsafe { stream.launch_builder(&function).arg(&input).arg(&mut output).launch(config) }.unwrap();
        }
        stream.synchronize().unwrap();
        return;
    };
    if text.is_empty() {
        return;
    }
    let traffic = Traffic::read(&path).unwrap();
    // Two launches of two blocks of one warp.
    let row = |line: usize, space, loads| {
        let row = traffic.iter().find(|row| {
            (row.line.rsplit(':').next().unwrap(), row.space, row.loads) == (&line.to_string(), space, loads)
        });
        let row = row.unwrap_or_else(|| panic!("line {line}, {space:?}: {traffic:#?}"));
        assert_eq!(row.kernel, "patterns");
        (row.requests, row.cost, row.ideal)
    };
    use Space::{Global, Shared};
    assert_eq!(row(6, Global, true), (128, 128 * 4, 128 * 4), "neighbours");
    assert_eq!(row(6, Shared, false), (128, 128, 128), "neighbours");
    assert_eq!(row(8, Shared, true), (4, 4, 4), "a padded column");
    assert_eq!(row(9, Shared, true), (4, 8, 4), "every second word");
    assert_eq!(row(10, Shared, true), (4, 16, 4), "four words of one bank");
    assert_eq!(row(11, Global, true), (4, 4 * 32, 4 * 4), "every eighth word");
    assert_eq!(row(13, Global, false), (4, 4 * 4, 4 * 4), "neighbours");
    assert_eq!(row(14, Global, false), (4, 4 * 4, 4 * 4), "neighbours in another order");
    assert_eq!(row(15, Global, false), (4, 4 * 8, 4 * 4), "every second word");
}
