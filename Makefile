# Every check of this workspace has its recipe here. `make ci` runs those that must be green before a
# change is merged, `make long` those that take too long for that; `.ci/run` installs the foreign
# programs first. A check whose program is missing fails: nothing skips itself.
#
# What is built for tests is named with `--workspace`, a single target too: `-p` selects other features of
# what all depend on, and that would be built once more.

target := $(or $(CARGO_TARGET_DIR),target)
gatepost := $(target)/release/gatepost
# A client of the checks against foreign peers, a workspace of its own.
lettre := tests/foreign/senders/lettre
# Kills gateways: a test that `cargo test` does not run, and the only one of its name. The program that is killed is
# that of --program.
crash := cargo test --locked --workspace --test crash --
# How long each of the long jobs goes on.
SECONDS_EACH ?= 600
# How often the gateway is killed, in each mode.
KILLS_EACH ?= 200

CI_JOBS := fmt architecture sizes dependencies rules clippy tests full-disk networks notifications docs release unit demo foreign crash bench-smoke instructions fuzz
LONG_JOBS := release-all bench properties disk-faults soak crash-long fuzz-long foreign-long

.PHONY: ci long $(CI_JOBS) $(LONG_JOBS)

ci:
	@scripts/jobs $(CI_JOBS)

long:
	@scripts/jobs $(LONG_JOBS)

fmt:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo fmt --manifest-path $(lettre)/Cargo.toml --check

# Who may depend on whom, what the pure crates may not touch, and where the promises live.
architecture:
	scripts/architecture

# Long files: told from 400 lines, refused from 600.
sizes:
	scripts/sizes

# Licences, bans and sources of deny.toml. `cargo deny check` reads the same file and also asks the
# advisory database; run it where it is installed, it is not a part of `make ci`.
dependencies:
	scripts/dependencies

rules:
	promtool check rules deploy/prometheus/gatepost.rules.yml
	promtool test rules deploy/prometheus/gatepost.rules.test.yml

clippy:
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --test crash --locked -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --all-targets --locked -- -D warnings

# Most of them wait for something, so there are twice as many at a time as a small machine has processors.
tests:
	RUST_TEST_THREADS=4 cargo test --workspace

# The spool on a file system that is filled to the brim, and what it says of that.
full-disk:
	cargo build --locked --workspace --example full_disk
	scripts/full-disk $(target)/debug/examples/full_disk

# The network parser beside Python's, on 10^5 texts.
networks:
	cargo build --locked --workspace --example networks
	tests/foreign/networks.py $(target)/debug/examples/networks

# Notifications as Python's email package reads them.
notifications:
	rm -rf $(target)/notifications
	NOTIFICATIONS=$(abspath $(target)/notifications) cargo test --locked --workspace --lib -- --ignored --exact dsn::tests::samples::write_samples
	tests/foreign/notifications.py $(target)/notifications

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

release:
	cargo build --release --locked

# The systemd unit and the file of its user, as far as they can be checked without installing them.
unit: release
	scripts/unit $(gatepost)

demo:
	cargo run --release --locked -- demo --once

# Gatepost among programs that other people wrote: each client once with each protection, the upstreams and
# their faults, HAProxy, sslscan, Prometheus.
foreign: release
	tests/foreign/run $(gatepost) --report $(target)/foreign

# The gateway and its upstream are killed under load, in each mode, and nothing is lost that was
# acknowledged; the harness would have noticed; and a disk that is full is told as one.
crash: release
	$(crash) self-check --program $(abspath $(gatepost))
	$(crash) full-disk --program $(abspath $(gatepost))
	$(crash) --seconds 12 --program $(abspath $(gatepost)) --report $(abspath $(target))/crash.json

# Each bench runs once, to see that it does: not as `cargo bench` builds it, because nothing is measured.
bench-smoke:
	cargo test --locked --workspace --bench '*'

# How many instructions the steps of a message take, and a whole gateway, against benches/budgets.toml.
instructions:
	cargo bench --locked -p gatepost-benches --bench instructions

# Every seed, and seven seconds of luck for each target: a minute for all of them.
fuzz:
	scripts/fuzz 6

release-all:
	cargo build --release --locked --workspace

bench:
	cargo bench --locked -p gatepost-benches

properties:
	scripts/properties $(SECONDS_EACH)

# Every call of SQLite to the disk fails once; `make tests` tries some of them.
disk-faults:
	GATEPOST_TEST_FAULTS=all cargo test --locked -p gatepost-spool --test disk_faults -- --nocapture

fuzz-long:
	scripts/fuzz $(SECONDS_EACH)

# Every client with every protection to every upstream, and every fault; writes the page that
# docs/interoperability.md is a copy of.
foreign-long: release
	cargo clippy --locked --manifest-path $(lettre)/Cargo.toml --target-dir $(target)/lettre -- -D warnings
	cargo build --locked --manifest-path $(lettre)/Cargo.toml --target-dir $(target)/lettre
	tests/foreign/run $(gatepost) --report $(target)/foreign --long $(target)/lettre/debug/send-with-lettre

# What docs/reliability.md has in its table.
crash-long: release
	$(crash) --seconds 60 --kills $(KILLS_EACH) --program $(abspath $(gatepost)) --report $(abspath $(target))/crash-long.json

# Mixed load, and a verdict on memory and descriptors; the page has the plots. More hours say more.
soak: release-all
	$(target)/release/gatepost-loadtest soak --gatepost $(gatepost) --tls --duration $(SECONDS_EACH) --report $(target)/soak.html
