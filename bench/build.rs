//! Says where librdkafka was built: its own load generator is compiled there when a cross-check
//! first needs it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let root = std::env::var("DEP_RDKAFKA_ROOT").expect("rdkafka-sys says where it has built librdkafka");
    println!("cargo:rustc-env=LIBRDKAFKA_ROOT={root}");
}
