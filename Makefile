# make demo   sets everything up and shows the main job (ARGS=--once leaves when it was shown)
# make test   sets everything up and passes every test
# make deps   what all call: finds what is needed, installs it where it may
# make bench  what resin costs beside other proxies (ARGS="--work forward-node --rounds 3"; ARGS=--help tells the rest)

.PHONY: demo test bench deps deps-demo deps-bench

CARGO ?= cargo
# rustup's place, where the shell's profile was not read; and nginx's, which is not on everybody's PATH.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:/usr/sbin

demo: deps-demo
	$(CARGO) build --locked --bin resin
	@$(CARGO) run --locked --quiet --bin resin -- demo $(ARGS)

test: deps
	$(CARGO) test --locked

bench: deps-bench
	$(CARGO) build --release --locked --bin resin
	@$(CARGO) run --profile harness --locked --quiet -p resin-bench -- $(ARGS)

deps:
	@deploy/deps all

deps-demo:
	@deploy/deps demo

deps-bench:
	@deploy/deps bench
