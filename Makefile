.PHONY: help test race lint fuzz bench load profile mutate release demo ci

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

load: ## put the callback under load and check every answer
	go run ./internal/load

profile: ## show where the three hot paths spend time and allocations
	bash .ci/profile

mutate: ## change the library in one place at a time; its tests should fail; an hour
	bash .ci/mutate

release: ## rehearse a release, up to go install as a new user
	go run ./checks/release

demo: ## run the demo against the simulator
	go run ./cmd/wxqrcode demo

ci: ## run every check that a pull request must pass
	bash .ci/run
