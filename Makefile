# make demo   sets everything up and shows the main job (ARGS=--once leaves when it was shown)
# make test   sets everything up and passes every test
# make deps   what both call: finds what is needed, installs it where it may

.PHONY: demo test deps deps-demo

CARGO ?= cargo

demo: deps-demo
	$(CARGO) run --locked --quiet -- demo $(ARGS)

test: deps
	$(CARGO) test --locked

deps:
	@deploy/deps all

deps-demo:
	@deploy/deps demo
