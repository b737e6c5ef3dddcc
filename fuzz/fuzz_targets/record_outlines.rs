//! libFuzzer on the target `record_outlines`; see `rustmq_fuzz::TARGETS`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustmq_fuzz::run("record_outlines", data));
