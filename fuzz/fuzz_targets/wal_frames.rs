//! libFuzzer on the target `wal_frames`; see `rustmq_fuzz::TARGETS`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustmq_fuzz::run("wal_frames", data));
