//! The hot functions' times. Wall clocks of a shared machine are noise; ratios within one run are not.

use bench::hot;
use criterion::{Criterion, criterion_group, criterion_main};

fn times(c: &mut Criterion) {
    for (name, make) in hot::all() {
        let mut work = make();
        c.bench_function(name, |b| b.iter(&mut work));
    }
}

criterion_group!(benches, times);
criterion_main!(benches);
