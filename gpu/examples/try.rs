//! try
use advantage_nas::network::toy::Toy;
use advantage_nas_gpu::{Device, check, device};
use std::time::Instant;
fn show(name: &str, t: Instant, c: &[check::Check]) {
    println!(
        "{name}: {} checks, {} failed, worst {:?}, {:?}",
        c.len(),
        c.iter().filter(|c| !c.passed).count(),
        c.iter().map(|c| c.worst.unwrap_or(f64::INFINITY)).fold(0.0, f64::max),
        t.elapsed()
    );
    for c in c.iter().filter(|c| !c.passed).take(12) {
        println!("  {c:?}");
    }
}
fn main() {
    println!("{:?}", device::devices());
    let d = Device::open(0, "/tmp/h5tmp/cache".into()).unwrap();
    let t = Instant::now();
    show("kernels", t, &check::toy::kernels(&d, &check::toy::SIZES).unwrap());
    let t = Instant::now();
    show(
        "supernet",
        t,
        &check::toy::supernet(&d, &check::toy::SIZES, &|a, b, c| {
            Ok(Box::new(advantage_nas_cpu::toy::ToySupernet::<f64>::new(a, b, c)?))
        })
        .unwrap(),
    );
    let t = Instant::now();
    show(
        "searches",
        t,
        &check::toy::searches(&d, Toy::paper(), &[0], 50, &|a, b, c| {
            Ok(Box::new(advantage_nas_cpu::toy::ToySupernet::<f32>::new(a, b, c)?))
        })
        .unwrap(),
    );
}
