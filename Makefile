.PHONY: help test race lint fuzz bench demo ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-7s %s\n", $$1, $$2 }' Makefile

test: ## run the tests of all modules
	go test work

race: ## the same under the race detector
	CGO_ENABLED=1 go test -race work

lint: ## run the pinned golangci-lint, built on first use
	bash .ci/run lint

fuzz: ## run each fuzz target for 20 s; FUZZTIME=5m for longer
	bash .ci/run fuzz

bench: ## run every benchmark that has a budget, beside its floor; some minutes
	go run ./internal/budgets

demo: ## run the demo against a WeChat in the process
	go run ./cmd/wxqrcode demo

ci: ## run every check that a pull request must pass
	bash .ci/run
