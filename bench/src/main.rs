//! Micro-benches of the hot paths: see `cargo bench -p bench`.

fn main() {
    println!("cargo bench -p bench");
}
