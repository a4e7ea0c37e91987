.PHONY: run test test-fast bench ci

run: # serve on http://localhost:3000; the database is in data/
	go run . serve --views . --log-level debug

test: # everything, with Chromium and the real proxies where they are installed
	go test ./...

test-fast: # without them
	go test -short ./...

bench:
	go test -run '^$$' -bench . ./db ./handlers

ci: # what must pass before a change is merged; installs what is missing on Debian
	.ci/run
