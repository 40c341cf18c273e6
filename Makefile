# make demo   sets everything up and shows the main job (ARGS=--once leaves when it was shown)
# make test   sets everything up and passes every test
# make deps   what all call: finds what is needed, installs it where it may
# make bench  what resin costs beside other proxies (ARGS="--work forward-node --rounds 3"; ARGS=--help tells the rest)
# make bench-compare A=a.json B=b.json   what has changed between two results, and what is noise
# make bench-smoke   counts system calls and allocations per request, and fails where they are more than was recorded
#                    (ARGS=--write records them)

.PHONY: demo test bench bench-compare bench-smoke deps deps-demo deps-bench

CARGO ?= cargo
# rustup's place, where the shell's profile was not read; and nginx's, which is not on everybody's PATH.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:/usr/sbin

demo: deps-demo
	$(CARGO) build --locked --bin resin
	@$(CARGO) run --locked --quiet --bin resin -- demo $(ARGS)

test: deps
	$(CARGO) test --locked

# Counts need an allocator that counts, and no optimisation.
COUNTING = $(CARGO) build --locked --bin resin --features count-allocations
BENCH = $(CARGO) run --profile harness --locked --quiet -p resin-bench --

bench: deps-bench
	$(CARGO) build --release --locked --bin resin
	$(COUNTING)
	@$(BENCH) --counting target/debug/resin $(ARGS)

bench-compare:
	@$(BENCH) compare $(A) $(B) $(ARGS)

bench-smoke: deps
	$(COUNTING)
	$(CARGO) build --locked -p resin-bench
	@$(CARGO) run --locked --quiet -p resin-bench -- smoke $(ARGS)

deps:
	@deploy/deps all

deps-demo:
	@deploy/deps demo

deps-bench:
	@deploy/deps bench
