# The bench: the installed launcher beside the wheel, runc, crun and the floor (docs/performance.md). Included by the Makefile.
#
#   make bench                                            as root, at most 8 minutes
#   make bench BENCH="--rounds 5 --containers 50"         less
#   make bench-calls                                      what a system call costs, recorded and brokered (root, 2 minutes)
#   make bench-calls BENCH="--runsc PATH"                  beside gVisor
#   make bench-waits                                      what a start waits for, by process and call (root, 2 minutes)
#   make bench-pythons                                    the launcher on later versions of CPython (root, 4 minutes)
#   make load                                             200 containers by 16 clients (root, 2 minutes)

BENCH_BUILD := build/bench

# Python packages that only the bench needs.
$(VENV)/.bench: $(VENV)/.developer
	$(BIN)/python scripts/requirements.py bench > $(VENV)/bench.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r $(VENV)/bench.txt
	@touch $@

# The wheel as pip installs it: a virtual environment with the same modules, and the script that starts them.
$(BENCH_BUILD)/wheel: bench.mk
	rm -rf $@
	$(LAUNCHER_PYTHON) -m venv --without-pip $@
	echo '$(CURDIR)/$(BENCH_BUILD)/usr/lib/pyrunc/modules' > $@/lib/python$(LAUNCHER_VERSION)/site-packages/pyrunc.pth
	printf '%s\n' 'import sys' 'from pyrunc.__main__ import run' 'sys.exit(run())' > $@/bin/pyrunc

.PHONY: bench
bench: $(VENV)/.built $(VENV)/.bench
	@PYTHON='$(PYTHON)' scripts/packages.sh bench
	@$(MAKE) --no-print-directory install DESTDIR='$(CURDIR)/$(BENCH_BUILD)' PREFIX=/usr
	@$(MAKE) --no-print-directory $(BENCH_BUILD)/wheel
	@$(BIN)/python -m tests.bench.bench --pyrunc $(BENCH_BUILD)/usr/bin/pyrunc \
	    --wheel '$(BENCH_BUILD)/wheel/bin/python $(BENCH_BUILD)/wheel/bin/pyrunc' \
	    --peers $(CURDIR)/$(BENCH_BUILD)/peers --write docs/performance.md --plots docs $(BENCH)

.PHONY: bench-calls
bench-calls: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh bench
	@$(MAKE) --no-print-directory install DESTDIR='$(CURDIR)/$(BENCH_BUILD)' PREFIX=/usr
	@$(BIN)/python -m tests.bench.calls --pyrunc $(BENCH_BUILD)/usr/bin/pyrunc --write docs/performance.md $(BENCH)

.PHONY: bench-waits
bench-waits: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh bench
	@$(MAKE) --no-print-directory install DESTDIR='$(CURDIR)/$(BENCH_BUILD)' PREFIX=/usr
	@$(BIN)/python -m tests.bench.waits --pyrunc $(BENCH_BUILD)/usr/bin/pyrunc --peers $(CURDIR)/$(BENCH_BUILD)/peers \
	    --write docs/performance.md $(BENCH)

# The launcher of this machine, and those that are built on later releases of Debian, each with a `lib` beside it: the
# ordinary build of this machine, which compiles the seccomp filters that they lack.
.PHONY: bench-pythons
bench-pythons: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh bench
	@PYTHON='$(PYTHON)' scripts/packages.sh fresh
	@$(MAKE) --no-print-directory install DESTDIR='$(CURDIR)/$(BENCH_BUILD)' PREFIX=/usr
	@rm -rf build/fresh
	@set -e; for release in $(PYTHON_RELEASES); do $(PYTHON) scripts/fresh/run.py $$release launcher; done; \
	    for version in $$(ls build/fresh); do ln -s '$(CURDIR)/$(BENCH_BUILD)/usr/lib' build/fresh/$$version/lib; done; \
	    $(BIN)/python -m tests.bench.pythons --program $(LAUNCHER_VERSION)=$(BENCH_BUILD)/usr/bin/pyrunc \
	    $$(for version in $$(ls build/fresh); do echo --program $$version=build/fresh/$$version/bin/pyrunc; done) \
	    --write docs/performance.md $(BENCH)

.PHONY: load
load: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh bench
	@$(MAKE) --no-print-directory install DESTDIR='$(CURDIR)/$(BENCH_BUILD)' PREFIX=/usr
	@$(BIN)/python -m tests.bench.load --pyrunc $(BENCH_BUILD)/usr/bin/pyrunc --write docs/performance.md $(LOAD)
