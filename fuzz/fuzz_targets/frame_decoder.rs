//! libFuzzer on the target `frame_decoder`; see `rustmq_fuzz::TARGETS`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustmq_fuzz::run("frame_decoder", data));
