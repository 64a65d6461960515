# The guest: a Debian with systemd and real cgroup v2 controllers, booted for tests/guest. Included by the Makefile.
#
#   make test-guest               by User-Mode Linux where a probe shows that it runs here, else by QEMU
#   make test-guest GUEST=uml     by User-Mode Linux: cpu, io, memory, pids
#   make test-guest GUEST=qemu    by QEMU's software emulation: every controller, AppArmor, CRIU; much slower
#   PYTEST="-k name"  GUEST_TESTS=tests/integration  GUEST_SECONDS=600
#   GUEST_PACKAGES: more Debian packages in the image. GUEST_BRINGS: files for /pyrunc/brought of the guest

GUEST ?= auto
GUEST_TESTS ?= tests/guest

# The guest has the host's Debian release, and so the same Python.
GUEST_PYTHON := /usr/bin/python3

.PHONY: test-guest
test-guest:
	@PYTHON=$(GUEST_PYTHON) scripts/packages.sh guest
	@$(GUEST_PYTHON) scripts/guest/run.py $(GUEST) $(GUEST_TESTS) $(PYTEST)
