//! libFuzzer on the target `group_machine`; see `rustmq_fuzz::TARGETS`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustmq_fuzz::run("group_machine", data));
