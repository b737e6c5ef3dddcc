# The menu. Everything is compiled with the one release profile, so that dependencies build once.

CARGO ?= cargo
ROUNDS ?= 200
TARGET ?= wal_reader
SECONDS ?= 600

.PHONY: run test check clients compat compat-reference crash crash-planted fuzz

# Builds RustMQ and starts it on embedded defaults.
run:
	$(CARGO) run --release --bin rustmq

# Installs the clients that the tests drive, and runs every test.
test: clients
	$(CARGO) build --release --bin rustmq
	$(CARGO) test --release --workspace

# Formatting, lints, the house rules, licences.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) xtask tidy
	cargo-deny check bans licenses sources

clients:
	$(CARGO) run --release --quiet --package rustmq-compat-tests --bin install

# The compatibility scenarios alone: on RustMQ, and the same on Apache Kafka (but for those that harm RustMQ's own log, or kill for long).
compat: clients
	$(CARGO) build --release --bin rustmq
	$(CARGO) test --release --package rustmq-compat-tests

compat-reference: clients
	COMPAT_TARGET=kafka $(CARGO) test --release --package rustmq-compat-tests -- \
		--skip acknowledged_work_survives_kills --skip the_audit_finds_a_batch_that_recovery_drops --skip a_lost_batch_that_the_log_can_prove

# kill -9 under load, at length.
crash: clients
	$(CARGO) build --release --bin rustmq
	CRASH_ROUNDS=$(ROUNDS) $(CARGO) test --release --package rustmq-compat-tests --test crash -- --nocapture acknowledged_work_survives_kills

# Shows that the crash proof can fail: plants bugs in copies of the tree, and expects the audit to find each.
crash-planted:
	$(CARGO) run --release --package rustmq-compat-tests --bin planted

# One fuzz target under libFuzzer, at length. Needs cargo-fuzz.
fuzz:
	cd fuzz && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir . --features libfuzzer $(TARGET) -- -max_total_time=$(SECONDS)
