# make demo   shows what pyrunc does      make test   runs everything that this machine can run
# Both set themselves up in .venv, and as root also install the Debian packages that are missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The sources of compiled code. Only a change of these needs a new installation: it is editable, so Python reads the
# sources themselves.
COMPILED := pyproject.toml setup.py pyrunc/libcontainer/plan/kinds.py pyrunc/libcontainer/spec/mount_options.py pyrunc/libcontainer/kernel/landlock.py \
	$(shell find csrc generate -name '*.[ch]' -not -name '*.gen.h' -o -name Makefile -o -name 'steps.py' -o -name '*_build.py')

# The sources of pyrunc/_generated. Its build.py has the commit, so a new commit is a change too.
SOURCES := pyproject.toml $(wildcard generate/*.py spec-schemas/*.json .git/logs/HEAD) \
	$(shell find pyrunc -name '*.py' -not -path 'pyrunc/_generated/*')

.PHONY: help build install-dev test test-launcher test-fresh test-pythons test-arm64 conformance-doc errors-doc options-doc lint format demo clean
help:
	@echo 'make demo    build pyrunc and show what it does'
	@echo 'make test    everything that this machine can run; PYTEST="-k name" for less, LONG=1 for more'
	@echo 'make test-launcher   the integration tests again, with the launcher as it is installed (root)'
	@echo 'make test-fresh  demo, install and test on fresh Debian 12 and 13 (root); DEBIAN=trixie TESTS=unit for less'
	@echo 'make test-pythons  the launcher and the tests on Debian 13 (Python 3.13) and sid (3.14) (root)'
	@echo 'make test-arm64    the C of arm64, and its init under qemu-user'
	@echo 'make test-guest    tests/guest in a Debian guest with every limit (root); GUEST=qemu for all controllers'
	@echo 'make conformance-doc   run the tests that docs/conformance.md names, and write how they went (root)'
	@echo 'make errors-doc  write docs/errors.md, what is said of mistakes, anew (root)'
	@echo 'make options-doc  write docs/mount-options.md from the tables in spec/mount_options.py'
	@echo 'make test-engines  containerd, Docker and Podman with pyrunc and, beside it, runc (root, Debian)'
	@echo 'make test-guest-engines  Docker, Podman and containerd with systemd and every limit, in the guest (root)'
	@echo 'make critest    critest of Kubernetes with containerd; CRITEST_RUNTIME=runc for the one beside it (root)'
	@echo 'make guest-critest  the same with systemd and every limit, in the guest; PYTEST="-k pyrunc-shim" for one (root)'
	@echo 'make engines-probes  100 pods with a probe every second, with pyrunc, then with runc; counts what is left (root)'
	@echo 'make engines-doc  write the tables of docs/engines.md from the last runs'
	@echo 'make test-shim  containerd-shim-pyrunc-v2, by a client of the tests and by containerd (root)'
	@echo 'make conformance   the conformance suite of runtime-tools, beside runc (root)'
	@echo 'make lint    ruff, clang-format, shellcheck, codespell, mypy; make format lets them change files'
	@echo 'make bench   compare the launcher with runc, crun and the floor, and write docs/performance.md (root, 8 minutes)'
	@echo 'make bench-calls  what a system call costs, recorded and brokered, and in gVisor if it is there (root)'
	@echo 'make bench-waits  what a start waits for: the kernel'"'"'s trace, by process and call (root, 2 minutes)'
	@echo 'make bench-pythons  the launcher on CPython 3.13 and 3.14 beside this one (root, 4 minutes)'
	@echo 'make bench-shim  the shim beside containerd'"'"'s own (root, 8 minutes)'
	@echo 'make load    200 containers by 16 clients, beside runc and crun (root, 2 minutes)'
	@echo 'make build   build for the sources in place, as .venv/bin/pyrunc'
	@echo 'make launcher, make install PREFIX=, make uninstall    the installed command (docs/launcher.md)'
	@echo 'make dist, make wheel   packages: a .deb, a tar, a wheel for pip; make wheel-arm64 (root)'
	@echo 'make clean   remove what was built'

build install-dev: $(VENV)/.built

PIP_INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check

# Python packages that the build and pyrunc need.
$(VENV)/.installed: pyproject.toml scripts/packages.sh scripts/requirements.py
	@PYTHON='$(PYTHON)' scripts/packages.sh build
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python scripts/requirements.py build > $(VENV)/requirements.txt
	$(PIP_INSTALL) -r $(VENV)/requirements.txt
	@touch $@

# Further packages that developers need.
$(VENV)/.developer: $(VENV)/.installed
	$(BIN)/python scripts/requirements.py dev > $(VENV)/dev.txt
	$(PIP_INSTALL) -r $(VENV)/dev.txt
	@touch $@

$(VENV)/.compiled: $(VENV)/.installed $(COMPILED)
	$(PIP_INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

# Half a second, after any change of a module.
$(VENV)/.built: $(VENV)/.compiled $(SOURCES)
	@$(BIN)/python generate/validators.py
	@$(BIN)/python generate/spec_types.py
	@$(BIN)/python generate/core_stub.py
	@$(BIN)/python generate/argv.py
	@$(BIN)/python generate/shim_messages.py
	@$(BIN)/python generate/steps.py pyrunc/_generated/steps.py
	@touch $@

# Several tests run at a time; one worker runs a group of tests (tests/conftest.py). JOBS=0: one after the other, for
# --pdb.
JOBS ?= $(shell nproc)
RUN_TESTS := $(BIN)/python -m pytest -n $(JOBS)

# As CI runs the tests: longer loops, and sweeps that leave nothing out (tests/support/effort.py). The slowest tests are
# listed.
ifneq ($(LONG),)
export PYRUNC_TEST_LONG := $(LONG)
RUN_TESTS += --durations=30 --durations-min=5
endif

test: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh test
	@scripts/criu.sh build/criu || echo 'pyrunc: the tests of checkpoint and restore are skipped without CRIU'
	@$(RUN_TESTS) $(PYTEST)

# The ordinary build and the launcher must behave the same. The tests left out drive neither of them.
test-launcher: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh test
	@scripts/criu.sh build/criu || echo 'pyrunc: the tests of checkpoint and restore are skipped without CRIU'
	@$(MAKE) --no-print-directory install PREFIX=/usr DESTDIR='$(CURDIR)/build/launcher/root'
	@PYRUNC_TEST_RUNTIME='$(CURDIR)/build/launcher/root/usr/bin/pyrunc' $(RUN_TESTS) tests/integration \
	    --ignore-glob='*/test_launcher_*' --ignore=tests/integration/test_init_steps.py $(PYTEST)

# The steps of a contributor on a new machine: scripts/fresh/run.py, for one release after the other.
DEBIAN ?= bookworm trixie
TESTS ?= full
test-fresh:
	@PYTHON='$(PYTHON)' scripts/packages.sh fresh
	@set -e; for release in $(DEBIAN); do $(PYTHON) scripts/fresh/run.py $$release $(TESTS) $(PYTEST); done

# The versions of Python after Debian 12's: tests of the launcher with its snapshot, and of what depends on the version.
# For a Python of this machine: make test VENV=build/venv-3.12 PYTHON=python3.12 LAUNCHER_PYTHON=python3.12.
PYTHON_RELEASES ?= trixie sid
test-pythons:
	@$(MAKE) --no-print-directory test-fresh DEBIAN='$(PYTHON_RELEASES)' TESTS=python

# The C for arm64, by a cross compiler; qemu-user runs the init.
test-arm64: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh arm64
	@PYRUNC_TEST_ARM64=1 $(RUN_TESTS) tests/unit/test_arm64.py tests/unit/test_init.py $(PYTEST)

# Run the tests that docs/conformance.md names, and note their results; for those of the guest see docs/testing.md.
conformance-doc: $(VENV)/.built $(VENV)/.developer
	@$(BIN)/python scripts/conformance_doc.py run

# Write the page of error messages; look at the difference before committing it.
errors-doc: $(VENV)/.built $(VENV)/.developer
	PYRUNC_ERRORS_DOC=1 $(BIN)/python -m pytest -q tests/integration/test_errors_doc.py -k "what_is_said"
	git --no-pager diff --stat -- docs/errors.md

# The list of mount options.
options-doc:
	@$(PYTHON) scripts/options_doc.py

# Runs each tool of scripts/lint.py, or some: TOOLS="ruff mypy".
lint: $(VENV)/.built $(VENV)/.developer
	@$(BIN)/python scripts/lint.py $(TOOLS)

# Has ruff and clang-format change the files.
format: $(VENV)/.developer
	@$(BIN)/python scripts/lint.py --fix

# If this user can't run the demo, say so before building anything.
demo:
	@scripts/demo.sh --check
	@PYTHON='$(PYTHON)' scripts/packages.sh demo
	@$(MAKE) --no-print-directory $(VENV)/.built
	@scripts/demo.sh $(BIN)/pyrunc

clean:
	$(MAKE) -C csrc/init clean
	$(MAKE) -C csrc/pause clean
	rm -rf $(VENV) build dist pyrunc.egg-info pyrunc/_generated pyrunc/_core.pyi pyrunc/*.so tests/bench/out
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

include launcher/launcher.mk
include guest.mk
include bench.mk
include conformance.mk
include engines.mk
include shim.mk
