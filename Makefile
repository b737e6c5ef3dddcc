# The menu. Everything is compiled with the one release profile, and but for `run` for the whole workspace with its tests: a part of it would
# ask for other features of its dependencies, and compile them again.

CARGO ?= cargo
ROUNDS ?= 200
TARGET ?= wal_reader
SECONDS ?= 600
BENCH_ROUNDS ?= $(if $(BASE),5,3)
N ?= 30
SEEDS ?= 1000
SCENARIO_OF_SIM = $(or $(SCENARIO),node)
BUILD = $(CARGO) build --release --workspace --all-targets
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
BENCH = $(TARGET_DIR)/release/rustmq-bench
GUARD = $(BENCH) --guard --rounds 1 --warmup 5 --seconds 5 --only rustmq,kafka,kafka-flush
COMPAT = $(patsubst compat-tests/tests/%.rs,--test %,$(wildcard compat-tests/tests/*.rs)) \
	$(patsubst compat-tests/tests/%/main.rs,--test %,$(wildcard compat-tests/tests/*/main.rs))

.PHONY: run test test-repeat check clients compat compat-reference crash power-cut damage crash-planted sim sim-planted bench bench-quick profile fuzz

# Builds RustMQ, without what only the tests need, and starts it on embedded defaults.
run:
	@test -e $(TARGET_DIR)/release/rustmq || echo "The first build compiles RustMQ and about 180 libraries: some minutes on two cores. RustMQ starts when it is done."
	$(CARGO) run --release -p rustmq-node --bin rustmq

# Installs the clients that the tests drive, and runs every test, the guard against slowness first.
test: clients
	$(BUILD)
	$(GUARD)
	$(CARGO) test --release --workspace

# Every test binary N times, until the first failure; with ONLY, those that it names by binary, crate or folder, separated by commas:
# `taskset -c 0 make test-repeat N=30 ONLY=rolling_cold_reads,engine/core`.
test-repeat: clients
	$(BUILD)
	$(CARGO) xtask test-repeat --times $(N) $(if $(ONLY),--only $(ONLY))

# Formatting, lints, the house rules, licences.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) xtask tidy
	cargo-deny check bans licenses sources

clients:
	$(CARGO) run --release --quiet --bin install

# The compatibility scenarios alone: on RustMQ, and the same on Apache Kafka (but for those that harm RustMQ's own log, or kill for long).
compat: clients
	$(BUILD)
	$(CARGO) test --release --workspace $(COMPAT)

compat-reference: clients
	$(BUILD)
	COMPAT_TARGET=kafka $(CARGO) test --release --workspace $(COMPAT) -- \
		--skip acknowledged_work_survives --skip the_audit_finds_a_batch_that_recovery_drops --skip a_lost_batch_that_the_log_can_prove \
		--skip transactions_survive_power_cuts

# kill -9 under load, at length.
crash: clients
	$(BUILD)
	CRASH_ROUNDS=$(ROUNDS) CRASH_TRANSACTIONS_ROUNDS=$(ROUNDS) $(CARGO) test --release --workspace --test crash --test crash_transactions \
		-- --nocapture acknowledged_work_survives_kills transactions_survive_kills

# Loss of power under load, on ext4 and XFS. As root: it mounts file systems on loop devices.
power-cut: clients
	$(BUILD)
	POWER_CUT_ROUNDS=$(ROUNDS) POWER_CUT_TRANSACTIONS_ROUNDS=$(ROUNDS) $(CARGO) test --release --workspace --test power_cut --test crash_transactions \
		-- --nocapture --skip transactions_survive_kills

# Damage to WAL files, at length.
damage:
	WAL_MUTATIONS=10000 $(CARGO) test --release --workspace --test wal_mutations -- --nocapture

# Shows that both proofs can fail: plants bugs in copies of the tree, and expects the audit to find each.
crash-planted:
	$(CARGO) xtask planted compat-tests

# Simulations of a node from many seeds, on a disk that fails; with SCENARIO=cluster of replicas, with SCENARIO=transactions of producers and
# coordinators; with SEED, one of them, and with TRACE=1 each of its steps. Fails where a promise is broken, and where too little comes up.
sim:
	$(CARGO) run --release -p rustmq-sim -- $(SCENARIO_OF_SIM) $(if $(SEED),--seed $(SEED) $(if $(TRACE),--trace),--seeds $(SEEDS))

# Shows that they can fail: plants bugs in copies of the tree, and expects each to be found within the seeds that it names.
sim-planted:
	$(CARGO) xtask planted sim

# RustMQ and Apache Kafka in turn, every scenario: hours, on a machine that does nothing else. With BASE=COMMIT
# also that commit's RustMQ; fails where RustMQ is worse, and leaves the published results alone. See bench/README.md.
bench: clients
	$(BUILD)
	$(BENCH) --rounds $(BENCH_ROUNDS) --limits $(if $(BASE),--base '$(BASE)' --write $(TARGET_DIR)/bench-base.md,--write bench/RESULTS.md)

# Two scenarios in about two minutes; fails beyond the margins of bench/src/report.rs. Part of the tests.
bench-quick: clients
	$(BUILD)
	$(GUARD)

# What limits RustMQ in a scenario (or several; without SCENARIO, in a few): a flame graph and counts per record, in target/profile. As root: it
# uses perf and its probes.
profile:
	$(BUILD)
	$(BENCH) profile $(SCENARIO) --warmup 5 --seconds 5

# One fuzz target under libFuzzer, at length. Needs cargo-fuzz.
fuzz:
	cd fuzz && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir . --features libfuzzer $(TARGET) -- -max_total_time=$(SECONDS)
