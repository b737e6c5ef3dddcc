//! libFuzzer on the target `batch_view`; see `rustmq_fuzz::TARGETS`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustmq_fuzz::run("batch_view", data));
