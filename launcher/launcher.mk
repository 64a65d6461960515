# The launcher: CPython embedded, pyrunc's hot modules frozen in (docs/launcher.md). Included by the Makefile.
#
#   make launcher                    build/launcher/pyrunc
#   make install PREFIX= DESTDIR=    PREFIX/bin/pyrunc, the ordinary build in PREFIX/lib/pyrunc, and in PREFIX/share
#                                    manual pages and shell completion
#   make uninstall PREFIX= DESTDIR=  remove all of that
#   make dist                        build/dist/: a tar that needs nothing of the host but a kernel, and a .deb
#   make wheel                       build/dist/: a wheel whose `pyrunc` is the launcher
#   make wheel-arm64                 the same for arm64, on an emulated Debian (root)

# The interpreter whose library is linked. It also runs the ordinary build of an installation.
LAUNCHER_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) $(PYTHON))

LAUNCHER_BUILD := build/launcher
LAUNCHER := $(LAUNCHER_BUILD)/pyrunc

# Version, header and standard library directories, directory and file of the static library, directory of the shared
# one, and the system's libraries that a static link needs.
LAUNCHER_FACTS := $(shell $(LAUNCHER_PYTHON) -IS -c 'import sysconfig as s; v = s.get_config_var; \
    print(v("VERSION"), v("INCLUDEPY"), s.get_path("stdlib"), v("LIBPL"), v("LIBDIR"), v("LIBS"), v("SYSLIBS"))')
LAUNCHER_VERSION := $(word 1,$(LAUNCHER_FACTS))
LAUNCHER_LIBPL := $(word 4,$(LAUNCHER_FACTS))
LAUNCHER_ARCHIVE := $(LAUNCHER_LIBPL)/libpython$(LAUNCHER_VERSION).a

# The shared library. Unlike DT_RUNPATH, a program's DT_RPATH applies to the libraries of its libraries too (ld.so(8)).
LAUNCHER_SHARED := -L$(word 5,$(LAUNCHER_FACTS)) -lpython$(LAUNCHER_VERSION) -Wl,--disable-new-dtags

comma := ,

# The versions for which `make test-pythons` tests the launcher and its snapshot: a snapshot depends on the
# interpreter's own structures (launcher/snapshot.c).
LAUNCHER_PROVED := 3.11 3.12 3.13 3.14

# Static if the version is tested and a static library is there. Else shared and without a snapshot: each process starts
# the whole interpreter.
LAUNCHER_LINK ?= $(if $(and $(filter $(LAUNCHER_PROVED),$(LAUNCHER_VERSION)),$(wildcard $(LAUNCHER_ARCHIVE))),static,shared)
LAUNCHER_SNAPSHOT ?= $(and $(filter static,$(LAUNCHER_LINK)),$(filter $(LAUNCHER_PROVED),$(LAUNCHER_VERSION)))

MACHINE := $(shell uname -m)

# The versions whose start works without the parts that launcher/trims leaves out. LAUNCHER_TRIMS= leaves nothing out.
LAUNCHER_TRIMMED := 3.11 3.13 3.14
LAUNCHER_TRIMS ?= $(and $(filter static,$(LAUNCHER_LINK)),$(filter $(LAUNCHER_TRIMMED),$(LAUNCHER_VERSION)))

# The C libraries whose start launcher/trims/start.c knows. LAUNCHER_START= uses the library's own.
LAUNCHER_STARTS := glibc-2.36-x86_64 glibc-2.41-x86_64 glibc-2.43-x86_64
LAUNCHER_START ?= $(and $(filter static,$(LAUNCHER_LINK)),$(filter $(LAUNCHER_STARTS),$(subst $() ,-,$(shell getconf GNU_LIBC_VERSION 2>/dev/null))-$(MACHINE)))

LAUNCHER_CFLAGS := -std=gnu11 -O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wall -Wextra -Werror -I$(word 2,$(LAUNCHER_FACTS)) -Ilauncher -Icsrc/native
LAUNCHER_SOURCES := launcher.c importer.c ffi.c json.c prctl.c wire/encode.c wire/record.c $(patsubst csrc/%,%,$(wildcard csrc/native/*.c))
ifeq ($(LAUNCHER_LINK),static)
LAUNCHER_CFLAGS += -fno-pie
LAUNCHER_LIBS := -static -no-pie $(LAUNCHER_ARCHIVE) $(wordlist 6,99,$(LAUNCHER_FACTS))
else
LAUNCHER_LIBS := $(LAUNCHER_SHARED) -Wl,-rpath,'$$ORIGIN/../lib/pyrunc/lib' -Wl,-rpath,$(word 5,$(LAUNCHER_FACTS))
endif
ifneq ($(LAUNCHER_TRIMS),)
LAUNCHER_SOURCES += trims/core.c trims/slim.c
LAUNCHER_CFLAGS += -DPYRUNC_TRIMS
else ifeq ($(LAUNCHER_LINK),static)
LAUNCHER_SOURCES += absent.c
endif
ifneq ($(LAUNCHER_START),)
LAUNCHER_SOURCES += trims/start.c
endif
# How the linker places code, constants and variables.
LAUNCHER_SCRIPTS := launcher/text$(if $(filter-out 3.11 3.12,$(LAUNCHER_VERSION)),-3.13).ld launcher/rodata.ld launcher/snapshot.ld
ifneq ($(LAUNCHER_SNAPSHOT),)
LAUNCHER_SOURCES += snapshot.c heap.c specialise.c
LAUNCHER_CFLAGS += -DPYRUNC_SNAPSHOT
LAUNCHER_LDFLAGS := $(LAUNCHER_SCRIPTS:%=-Wl,-T,%) $(patsubst %,-Wl$(comma)--wrap=%,malloc calloc realloc free)
endif
LAUNCHER_OBJECTS := $(patsubst %.c,$(LAUNCHER_BUILD)/%.o,$(LAUNCHER_SOURCES) frozen.gen.c bindings.gen.c)
LAUNCHER_MODULES := $(shell find pyrunc -name '*.py')

# Each linked program is run once before anything else uses it.
LAUNCHER_CHECK = $(LAUNCHER_PYTHON) -IS packaging/check.py

# A second make, since the packages that the first command installs decide how the launcher is linked.
.PHONY: launcher
launcher:
	@PYTHON='$(LAUNCHER_PYTHON)' scripts/packages.sh build
	@$(MAKE) --no-print-directory $(LAUNCHER)
	@$(LAUNCHER_CHECK) $(LAUNCHER)

# A static glibc warns of functions that would load shared objects (getpwnam …); the launcher calls none of them.
LAUNCHER_LINKED := $(LAUNCHER)$(if $(LAUNCHER_SNAPSHOT),.linked)
LAUNCHER_LINK_PROGRAM = $(CC) -Wl,--no-warnings -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack $(LAUNCHER_LDFLAGS)
$(LAUNCHER_LINKED): $(LAUNCHER_OBJECTS) $(LAUNCHER_SCRIPTS)
	$(LAUNCHER_LINK_PROGRAM) -o $@ $(LAUNCHER_OBJECTS) $(LAUNCHER_LIBS)

# The program that tells which blocks of its heap a command uses (heap.c).
LAUNCHER_WATCHED := $(filter %/heap.o %/snapshot.o,$(LAUNCHER_OBJECTS))
$(LAUNCHER).watched: $(LAUNCHER_OBJECTS) $(LAUNCHER_WATCHED:.o=.watched.o) $(LAUNCHER_SCRIPTS)
	$(LAUNCHER_LINK_PROGRAM) -Wl,--wrap=pthread_sigmask -o $@ $(filter-out $(LAUNCHER_WATCHED),$(LAUNCHER_OBJECTS)) $(LAUNCHER_WATCHED:.o=.watched.o) $(LAUNCHER_LIBS)
$(LAUNCHER_BUILD)/%.watched.o: launcher/%.c $(wildcard launcher/*.h) launcher/launcher.mk | $(LAUNCHER_BUILD)
	$(CC) $(LAUNCHER_CFLAGS) -DPYRUNC_WATCH -c -o $@ $<

# The order of the snapshot's blocks and the table of the pages that commands write to, from an earlier build of the
# same sources. They are measured, and may differ between two builds that are equal otherwise (pages.py).
LAUNCHER_PAGES ?=

# The snapshot has nothing of the machine that builds it: no environment, no terminal, no time zone.
ifneq ($(LAUNCHER_SNAPSHOT),)
$(LAUNCHER): $(LAUNCHER_LINKED) $(if $(LAUNCHER_PAGES),,$(LAUNCHER).watched) launcher/pages.py
	$(if $(LAUNCHER_PAGES),tail -c +5121 $(LAUNCHER_PAGES) > $(LAUNCHER).order,$(LAUNCHER_PYTHON) -IS launcher/pages.py order $(LAUNCHER).watched $(LAUNCHER).order)
	env -i TZ=UTC0 $< < $(LAUNCHER).order > $(LAUNCHER).section
	objcopy --update-section .snapshot=$(LAUNCHER).section $< $(LAUNCHER).woken
	$(if $(LAUNCHER_PAGES),head -c 5120 $(LAUNCHER_PAGES) > $(LAUNCHER).table,$(LAUNCHER_PYTHON) -IS launcher/pages.py table $(LAUNCHER).woken $(LAUNCHER).order $(LAUNCHER).table)
	objcopy --update-section .written_pages=$(LAUNCHER).table $(LAUNCHER).woken $@
	cat $(LAUNCHER).table $(LAUNCHER).order > $(LAUNCHER).pages
endif

$(LAUNCHER_BUILD)/%.o: launcher/%.c $(wildcard launcher/*.h launcher/trims/*.h) launcher/launcher.mk | $(LAUNCHER_BUILD)/trims
	$(CC) $(LAUNCHER_CFLAGS) -c -o $@ $<

$(LAUNCHER_BUILD)/native/%.o: csrc/native/%.c $(wildcard csrc/native/*.h) csrc/init/join.h launcher/launcher.mk | $(LAUNCHER_BUILD)/native
	$(CC) $(LAUNCHER_CFLAGS) -c -o $@ $<

$(LAUNCHER_BUILD)/wire/%.o: csrc/wire/%.c $(wildcard csrc/wire/*.h) csrc/init/decode.h launcher/launcher.mk | $(LAUNCHER_BUILD)/wire
	$(CC) $(LAUNCHER_CFLAGS) -c -o $@ $<

# The build in place makes pyrunc/_generated, the header with the steps and the init's image.
$(LAUNCHER_BUILD)/wire/encode.o $(LAUNCHER_BUILD)/native/image.o $(LAUNCHER_BUILD)/frozen.gen.c: $(VENV)/.built

# Each table in a section of its own, by which rodata.ld places it.
$(LAUNCHER_BUILD)/%.gen.o: $(LAUNCHER_BUILD)/%.gen.c launcher/importer.h launcher/ffi.h launcher/launcher.mk
	$(CC) $(LAUNCHER_CFLAGS) -fdata-sections -c -o $@ $<

$(LAUNCHER_BUILD)/frozen.gen.c: launcher/freeze.py launcher/specialise.py $(LAUNCHER_MODULES) | $(LAUNCHER_BUILD)
	$(LAUNCHER_PYTHON) -IS -X no_debug_ranges $< $@ $(LAUNCHER_FREEZE)

$(LAUNCHER_BUILD)/bindings.gen.c: launcher/bindings.py csrc/native/native.h | $(LAUNCHER_BUILD)
	$(LAUNCHER_PYTHON) -IS $< $@

$(LAUNCHER_BUILD) $(LAUNCHER_BUILD)/native $(LAUNCHER_BUILD)/trims $(LAUNCHER_BUILD)/wire:
	mkdir -p $@

# ---- installation: the launcher, and the ordinary build in a directory of its own --------------------------------

PREFIX ?= /usr/local
PACKAGE_VERSION = $(shell $(LAUNCHER_PYTHON) -IS -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
LAUNCHER_TREE = $(LAUNCHER_PYTHON) -IS packaging/tree.py --launcher $(LAUNCHER) --modules $(LAUNCHER_BUILD)/modules
LAUNCHER_SHARE = $(LAUNCHER_PYTHON) -ISB packaging/share.py --modules $(LAUNCHER_BUILD)/modules --version $(PACKAGE_VERSION)

# The files that share.py writes, below PREFIX/share.
SHARED := man/man8/pyrunc.8 man/man8/containerd-shim-pyrunc-v2.8 man/man8/pyrunc-*.8 bash-completion/completions/pyrunc zsh/site-functions/_pyrunc \
	fish/vendor_completions.d/pyrunc.fish

# pyrunc and its dependencies, built by the interpreter that will import them and for it: a wheel in pip's cache may
# come from another interpreter, and would contain the directory of its libraries. What setuptools has left in build/ is
# removed first: it would add modules that no longer exist, and objects that contain this directory's name.
$(LAUNCHER_BUILD)/modules: $(LAUNCHER_MODULES) pyproject.toml setup.py $(wildcard csrc/*/*.[ch] generate/*.py spec-schemas/*)
	rm -rf $@ $(LAUNCHER_BUILD)/venv build/lib build/lib.* build/temp.* build/bdist.*
	$(LAUNCHER_PYTHON) -m venv $(LAUNCHER_BUILD)/venv
	CFLAGS='-g0 $(CFLAGS)' $(LAUNCHER_BUILD)/venv/bin/python -m pip install -q --no-cache-dir --no-compile --target $@ .
	touch $@

.PHONY: install
install: launcher
	@$(MAKE) --no-print-directory $(LAUNCHER_BUILD)/modules
	$(LAUNCHER_TREE) '$(or $(DESTDIR),/)' '$(PREFIX)'
	$(LAUNCHER_SHARE) '$(DESTDIR)$(PREFIX)'

.PHONY: uninstall
uninstall:
	rm -rf '$(DESTDIR)$(PREFIX)/lib/pyrunc'
	rm -f '$(DESTDIR)$(PREFIX)/bin/pyrunc' '$(DESTDIR)$(PREFIX)/bin/containerd-shim-pyrunc-v2' $(patsubst %,'$(DESTDIR)$(PREFIX)'/share/%,$(SHARED))

# The bundled interpreter needs only the C library, and finds the libraries of its extensions beside it. If the launcher
# is linked with the shared libpython, this interpreter is too, and tree.py copies the library.
LAUNCHER_INTERPRETER := -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib'
# Debian's libpython3.13.a lacks the SHA-2 functions that its own _sha2 calls, so no whole interpreter can be linked of it.
ifneq ($(and $(filter static,$(LAUNCHER_LINK)),$(filter 3.11,$(LAUNCHER_VERSION))),)
$(LAUNCHER_BUILD)/python3: $(LAUNCHER_ARCHIVE) launcher/launcher.mk
	$(CC) -no-pie -Wl,--build-id=none -o $@ $(LAUNCHER_LIBPL)/python.o -Wl,--whole-archive $< -Wl,--no-whole-archive -rdynamic \
	    $(LAUNCHER_INTERPRETER) -Wl,-Bstatic -lexpat -lz -Wl,-Bdynamic -lm
else
$(LAUNCHER_BUILD)/python3: $(LAUNCHER_LIBPL)/python.o launcher/launcher.mk
	$(CC) -o $@ $< $(LAUNCHER_SHARED) $(LAUNCHER_INTERPRETER)
endif

# All files in a package have the time of the last commit, so that two builds are equal. The variable is not exported to
# other commands: with it, Python's compiled modules have a digest in place of a time, which makes imports slower.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
DATED = SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH)

# The maintainer and the homepage that a package names. Who publishes packages sets them: make dist wheel
# MAINTAINER='Name <address>' HOMEPAGE=https://… Debian demands a maintainer; the address of the default is nobody's.
MAINTAINER ?= the pyrunc developers <pyrunc@pyrunc.invalid>
HOMEPAGE ?=

DIST := build/dist
DIST_NAME = pyrunc-$(PACKAGE_VERSION)-$(MACHINE)

# Of the packages of this version, and of the wheel.
DIST_SUMS = cd $(DIST) && sha256sum $$(ls -d $(DIST_NAME).* pyrunc-*.whl 2> /dev/null) > SHA256SUMS

.PHONY: dist dist-tar dist-deb dist-sbom
dist: launcher
	@$(MAKE) --no-print-directory dist-tar dist-deb dist-sbom
	$(if $(LAUNCHER_SNAPSHOT),cp $(LAUNCHER).pages $(DIST)/$(DIST_NAME).pages)
	$(DIST_SUMS)

# The tools that build and describe packages, for the interpreter that is linked: pyproject.toml's extra `dist`.
$(LAUNCHER_BUILD)/tools: pyproject.toml
	rm -rf $@
	$(LAUNCHER_PYTHON) -m venv $@
	$(LAUNCHER_PYTHON) scripts/requirements.py dist > $@/requirements.txt
	$@/bin/python -m pip install -q --disable-pip-version-check -r $@/requirements.txt
	touch $@

# For pip: any CPython from 3.11 on, on any Linux with this C library or a later one. Its `pyrunc` is the launcher.
.PHONY: wheel
wheel: launcher
	@$(MAKE) --no-print-directory $(LAUNCHER_BUILD)/tools
	@test '$(LAUNCHER_LINK)' = static || { echo 'pyrunc: a wheel needs a launcher that is linked statically' >&2; exit 1; }
	$(DATED) $(LAUNCHER_BUILD)/tools/bin/python packaging/wheel.py --launcher $(LAUNCHER) --work build/wheel \
	    --maintainer '$(MAINTAINER)' --homepage '$(HOMEPAGE)' $(DIST)
	$(DIST_SUMS)

# The launcher's snapshot is made by running it, so this is `make wheel` where qemu-user runs all programs, not a cross
# compilation. The wheel is installed and used there.
.PHONY: wheel-arm64
wheel-arm64:
	@PYTHON='$(PYTHON)' scripts/packages.sh emulated
	$(PYTHON) scripts/fresh/arm64.py 'make wheel && python3 -m venv /opt/e && \
	    /opt/e/bin/pip install -q --disable-pip-version-check build/dist/*.whl && cd / && \
	    /opt/e/bin/pyrunc --version && /opt/e/bin/pyrunc features | grep ociVersionMax'

# For any Linux with this C library or a later one: unpack it anywhere, run bin/pyrunc.
dist-tar: $(LAUNCHER) $(LAUNCHER_BUILD)/modules $(LAUNCHER_BUILD)/python3
	rm -rf $(DIST)/$(DIST_NAME)
	$(LAUNCHER_TREE) --strip --bundle $(LAUNCHER_BUILD)/python3 $(DIST) /$(DIST_NAME)
	$(LAUNCHER_SHARE) $(DIST)/$(DIST_NAME)
	cp README.md LICENSE $(DIST)/$(DIST_NAME)/
	tar -C $(DIST) --sort=name --mtime=@$(SOURCE_DATE_EPOCH) --owner=0 --group=0 --numeric-owner --mode=go-w,u+w,a+rX \
	    -czf $(DIST)/$(DIST_NAME).tar.gz $(DIST_NAME)

# For Debian: the ordinary build runs on the Python of the release that this is built on.
dist-deb: $(LAUNCHER) $(LAUNCHER_BUILD)/modules
	rm -rf $(DIST)/deb
	$(LAUNCHER_TREE) --strip --sources $(DIST)/deb /usr
	$(LAUNCHER_SHARE) --debian $(DIST)/deb/usr
	find $(DIST)/deb -name __pycache__ -prune -exec rm -rf {} +
	$(DATED) $(LAUNCHER_PYTHON) -IS packaging/deb.py --link $(LAUNCHER_LINK) --version $(PACKAGE_VERSION) \
	    --maintainer '$(MAINTAINER)' --homepage '$(HOMEPAGE)' $(DIST)/deb
	chmod -R go-w,u+w,a+rX $(DIST)/deb
	$(DATED) dpkg-deb --root-owner-group --build $(DIST)/deb $(DIST)/$(DIST_NAME).deb

# The list of what is in the tar and the .deb, as CycloneDX.
dist-sbom: $(LAUNCHER_BUILD)/modules $(LAUNCHER_BUILD)/tools
	$(DATED) $(LAUNCHER_BUILD)/tools/bin/python packaging/sbom.py --link $(LAUNCHER_LINK) --version $(PACKAGE_VERSION) \
	    --modules $(LAUNCHER_BUILD)/modules $(DIST)/$(DIST_NAME).cdx.json
