# The guest: a Debian with systemd and real cgroup v2 controllers, booted for tests/guest. Included by the Makefile.
#
#   make test-guest               by User-Mode Linux where a probe shows that it runs here, else by QEMU
#   make test-guest GUEST=uml     by User-Mode Linux: cpu, io, memory, pids
#   make test-guest GUEST=qemu    by QEMU's software emulation: every controller, AppArmor, CRIU; much slower
#   PYTEST="-k name"  GUEST_TESTS=tests/integration  GUEST_SECONDS=600
#   make test-guest-engines       Docker, Podman and containerd with systemd and controllers (tests/guest/test_engines.py)

GUEST ?= auto
GUEST_TESTS ?= tests/guest

# The guest has the host's Debian release, and so the same Python.
GUEST_PYTHON := /usr/bin/python3

.PHONY: test-guest
test-guest:
	@PYTHON=$(GUEST_PYTHON) scripts/packages.sh guest
	@$(GUEST_PYTHON) scripts/guest/run.py $(GUEST) $(GUEST_TESTS) $(PYTEST)

# The packages of the engines are in an image of its own, which only this target makes.
.PHONY: test-guest-engines
test-guest-engines: export GUEST_PACKAGES := catatonit conmon containerd crun docker.io iptables podman
test-guest-engines: GUEST_TESTS := tests/guest/test_engines.py
test-guest-engines: test-guest
