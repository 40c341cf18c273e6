# make demo   sets everything up and shows the main job (ARGS=--once leaves when it was shown)
# make test   sets everything up and passes every test
# make deps   what both call: finds what is needed, installs it where it may

.PHONY: demo test deps deps-demo

CARGO ?= cargo
# rustup's place, where the shell's profile was not read; and nginx's, which is not on everybody's PATH.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:/usr/sbin

demo: deps-demo
	$(CARGO) build --locked --bin resin
	@$(CARGO) run --locked --quiet --bin resin -- demo $(ARGS)

test: deps
	$(CARGO) test --locked

deps:
	@deploy/deps all

deps-demo:
	@deploy/deps demo
