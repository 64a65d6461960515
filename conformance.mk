# The conformance suite of opencontainers/runtime-tools against pyrunc and, beside it, runc (docs/testing.md). Included
# by the Makefile.
#
#   make conformance                                as root
#   make conformance RUNTIME=/usr/bin/pyrunc        another runtime in the place of the ordinary build
#   make conformance CONFORMANCE="kill start"       these tests only

RUNTIME ?= $(BIN)/pyrunc

CONFORMANCE_BUILD := build/conformance

$(CONFORMANCE_BUILD)/.built: $(addprefix tests/conformance/,build.sh go.mod go.sum) | $(VENV)/.installed
	rm -rf $(CONFORMANCE_BUILD)
	@tests/conformance/build.sh $(BIN)/python $(CONFORMANCE_BUILD)
	@touch $@

.PHONY: conformance
conformance: $(VENV)/.built $(CONFORMANCE_BUILD)/.built
	@PYTHON='$(PYTHON)' scripts/packages.sh conformance
	@$(BIN)/python -m tests.conformance.run --suite $(CONFORMANCE_BUILD) --runtime '$(RUNTIME)' $(CONFORMANCE)
