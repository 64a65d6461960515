# containerd's shim: its tests and its bench (docs/testing.md, docs/shim.md). Included by the Makefile.
#
#   make test-shim                                   as root: the installed shim, with and without Debian's containerd
#   make test-shim SHIM="python -m pyrunc.shim"      the ordinary build
#   make test-shim SHIM=/usr/bin/containerd-shim-runc-v2 SHIM_FORM=1.6      another shim, which shows what is usual
#   PYTEST="-k terminal"

SHIM ?= $(CURDIR)/build/launcher/root/usr/bin/containerd-shim-pyrunc-v2
SHIM_FORM ?= 2.3

.PHONY: test-shim
test-shim: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh shim
	@scripts/criu.sh build/criu || echo 'pyrunc: the tests of checkpoint and restore are skipped without CRIU'
	@$(MAKE) --no-print-directory install PREFIX=/usr DESTDIR=$(CURDIR)/build/launcher/root
	@PYRUNC_TEST_SHIM='$(SHIM)' PYRUNC_TEST_SHIM_FORM='$(SHIM_FORM)' \
	    $(BIN)/python -m tests.shim.inside $(RUN_TESTS) tests/shim $(PYTEST)

# make bench-shim BENCH="--rounds 5 --pods 10"    less
.PHONY: bench-shim
bench-shim: $(VENV)/.built $(VENV)/.developer $(ENGINES_BIN)/containerd/.built
	@PYTHON='$(PYTHON)' scripts/packages.sh bench
	@PYTHON='$(PYTHON)' scripts/packages.sh shim
	@$(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/$(BENCH_BUILD) PREFIX=/usr
	@$(BIN)/python -m tests.shim.inside $(BIN)/python -m tests.bench.shim \
	    --pyrunc $(BENCH_BUILD)/usr/bin/pyrunc --newer $(ENGINES_BIN)/containerd/containerd-shim-runc-v2 --write docs/performance.md $(BENCH)
