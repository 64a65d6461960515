# Container engines with pyrunc and, beside it, runc (docs/engines.md). Included by the Makefile.
#
#   make test-engines                                as root, on Debian: every engine of Debian 12 and 13, and what is
#                                                    built from Go modules: containerd 2, BuildKit, dockerd
#   make test-engines ENGINES="docker podman"        these, by their names in tests/engines/kinds.py
#   make test-engines ENGINES_DEBIAN=bookworm        the engines of this release
#   make test-engines QUICK=1                        runc only where pyrunc fails
#   PYTEST="-k pause"
#   make critest CRITEST_RUNTIME=runc                critest whole, with containerd of Debian 12 or 13 and this runtime
#   make engines-probes PODS=100 SECONDS=300         pods with a probe by exec every second: what is left of them
#   make test-guest-engines GUEST=qemu               a part of them with systemd and controllers, in the guest
#   make engines-doc                                 write the tables of docs/engines.md from the last runs

ENGINES ?= docker remapped podman rootless delegated containerd cri crio containerd2 cri2 buildkit moby
# A release whose C library is older than the host's can't run the host's launcher.
ENGINES_DEBIAN ?= $(if $(filter trixie,$(shell . /etc/os-release && echo $$VERSION_CODENAME)),trixie,bookworm trixie)

ENGINES_BIN := build/engines/bin

# Programs that Debian does not have, for the engines that are asked for: the parts of tests/engines/go/build.sh.
ENGINES_GO := $(if $(filter cri cri2,$(ENGINES)),cri-tools) $(if $(filter containerd2 cri2,$(ENGINES)),containerd) \
	$(filter buildkit moby,$(ENGINES))

$(ENGINES_BIN)/%/.built: tests/engines/go/build.sh tests/engines/go/%/go.mod | $(VENV)/.installed
	@tests/engines/go/build.sh $(BIN)/python $(ENGINES_BIN) $*

ifneq ($(QUICK),)
export PYRUNC_TEST_ENGINES_QUICK := $(QUICK)
endif

.PHONY: engines-ground test-engines engines-doc critest
engines-ground: $(VENV)/.built $(VENV)/.developer
	@PYTHON='$(PYTHON)' scripts/packages.sh engines
	@scripts/criu.sh build/criu || echo 'pyrunc: the tests of checkpoint and restore fail with every runtime without CRIU'
	@$(MAKE) --no-print-directory dist-tar

test-engines: engines-ground $(patsubst %,$(ENGINES_BIN)/%/.built,$(ENGINES_GO))
	@code=0; for release in $(ENGINES_DEBIAN); do rm -f build/engines/$$release.jsonl; \
	    PYRUNC_TEST_ENGINES=$$release PYRUNC_TEST_ENGINES_KINDS='$(ENGINES)' $(RUN_TESTS) tests/engines $(PYTEST) || code=1; done; exit $$code

engines-doc: $(VENV)/.built $(VENV)/.developer
	@$(BIN)/python -m tests.engines.page

CRITEST_RUNTIME ?= pyrunc
# cri2: with containerd 2
CRITEST_KIND ?=
critest: engines-ground $(ENGINES_BIN)/cri-tools/.built $(if $(filter cri2 pyrunc-sandbox,$(CRITEST_KIND) $(CRITEST_RUNTIME)),$(ENGINES_BIN)/containerd/.built)
	@$(BIN)/python -m tests.engines.critest $(firstword $(ENGINES_DEBIAN)) $(CRITEST_RUNTIME) $(CRITEST_KIND)

# Runs of each runtime for so many seconds, and a few minutes more.
PODS ?= 100
SECONDS ?= 300
PROBED ?= pyrunc runc
.PHONY: engines-probes
engines-probes: engines-ground $(ENGINES_BIN)/cri-tools/.built
	@$(PIP_INSTALL) $$($(BIN)/python scripts/requirements.py probes)
	@set -e; for runtime in $(PROBED); do \
	    $(BIN)/python -m tests.engines.probes $(firstword $(ENGINES_DEBIAN)) $$runtime $(PODS) $(SECONDS); done

# Docker, Podman, containerd and pods with systemd and controllers (guest.mk). The packages of the engines are in an
# image of its own, which only this target makes.
GUEST_ENGINES := catatonit conmon containerd containernetworking-plugins crun docker.io iptables podman
.PHONY: test-guest-engines
test-guest-engines: export GUEST_PACKAGES := $(GUEST_ENGINES)
test-guest-engines: export GUEST_BRINGS := $(ENGINES_BIN)/crictl
test-guest-engines: GUEST_TESTS := tests/guest/test_engines.py tests/guest/test_shim.py tests/guest/test_shim_checkpoint.py
test-guest-engines: $(ENGINES_BIN)/cri-tools/.built test-guest

# critest whole, there, with containerd 2; its images are made on the host. PYTEST="-k runc" for one of pyrunc,
# pyrunc-shim and runc.
.PHONY: guest-critest
guest-critest: export GUEST_PACKAGES := $(GUEST_ENGINES)
guest-critest: export GUEST_BRINGS := $(ENGINES_BIN)/crictl $(ENGINES_BIN)/critest build/guest/registry \
	$(addprefix $(ENGINES_BIN)/containerd/,containerd containerd-shim-runc-v2 ctr)
guest-critest: GUEST_TESTS := tests/guest/test_critest.py -s
guest-critest: $(ENGINES_BIN)/containerd/.built build/guest/registry test-guest
build/guest/registry: tests/engines/critest.py | $(ENGINES_BIN)/cri-tools/.built
	@$(MAKE) --no-print-directory engines-ground
	@$(BIN)/python -m tests.engines.critest $(firstword $(ENGINES_DEBIAN)) --images $@.new
	@rm -rf $@ && mv $@.new $@
