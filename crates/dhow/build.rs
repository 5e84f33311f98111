//! Tells the linker in which order the code lies: `layout.ld` says why.

fn main() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("cargo::rerun-if-changed=layout.ld");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/layout.ld");
}
