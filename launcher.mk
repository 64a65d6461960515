# The launcher: CPython embedded, pyrunc's hot modules frozen in (docs/launcher.md). Included by the Makefile.
#
#   make launcher                    build/launcher/pyrunc
#   make install PREFIX= DESTDIR=    PREFIX/bin/pyrunc, and the ordinary build in PREFIX/lib/pyrunc
#   make dist                        build/dist/: a tar that needs nothing of the host but a kernel, and a .deb

# The interpreter whose library is linked, and which runs the ordinary build of an installation.
LAUNCHER_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)

LAUNCHER_BUILD := build/launcher
LAUNCHER := $(LAUNCHER_BUILD)/pyrunc
LAUNCHER_VAR = $(shell $(LAUNCHER_PYTHON) -IS -c 'import sysconfig; print(sysconfig.get_config_var("$(1)"))')
LAUNCHER_VERSION := $(call LAUNCHER_VAR,VERSION)
LAUNCHER_STDLIB := $(shell $(LAUNCHER_PYTHON) -IS -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
LAUNCHER_ARCHIVE := $(call LAUNCHER_VAR,LIBPL)/libpython$(LAUNCHER_VERSION).a

# Static where there is a library to link; else shared, which starts the whole interpreter and takes twice the time.
LAUNCHER_LINK ?= $(if $(wildcard $(LAUNCHER_ARCHIVE)),static,shared)

LAUNCHER_CFLAGS := -std=gnu11 -O2 -Wall -Wextra -Werror -I$(call LAUNCHER_VAR,INCLUDEPY) -Icsrc
LAUNCHER_SOURCES := launcher.c importer.c ffi.c json.c native.c prctl.c
ifeq ($(LAUNCHER_LINK),static)
LAUNCHER_SOURCES += $(if $(filter 3.11,$(LAUNCHER_VERSION)),slim.c)
LAUNCHER_LIBS := -static -no-pie $(LAUNCHER_ARCHIVE) $(call LAUNCHER_VAR,LIBS) $(call LAUNCHER_VAR,SYSLIBS)
else
LAUNCHER_CFLAGS += -DPYRUNC_STDLIB='L"$(LAUNCHER_STDLIB)"'
LAUNCHER_LIBS := -L$(call LAUNCHER_VAR,LIBDIR) -Wl,-rpath,$(call LAUNCHER_VAR,LIBDIR) -lpython$(LAUNCHER_VERSION)
endif
LAUNCHER_OBJECTS := $(patsubst %.c,$(LAUNCHER_BUILD)/%.o,$(LAUNCHER_SOURCES) frozen.gen.c bindings.gen.c)
LAUNCHER_MODULES := $(shell find pyrunc -name '*.py')

.PHONY: launcher
launcher: $(LAUNCHER)

# A static glibc warns of functions that would load shared objects (getpwnam …); none of them is reached.
$(LAUNCHER): $(LAUNCHER_OBJECTS)
	$(CC) -Wl,--no-warnings -Wl,--gc-sections -o $@ $^ $(LAUNCHER_LIBS)

$(LAUNCHER_BUILD)/%.o: csrc/%.c $(wildcard csrc/*.h) launcher.mk | $(LAUNCHER_BUILD)
	$(CC) $(LAUNCHER_CFLAGS) -c -o $@ $<

$(LAUNCHER_BUILD)/%.gen.o: $(LAUNCHER_BUILD)/%.gen.c csrc/importer.h csrc/ffi.h
	$(CC) $(LAUNCHER_CFLAGS) -c -o $@ $<

$(LAUNCHER_BUILD)/frozen.gen.c: generate/freeze.py $(LAUNCHER_MODULES) | $(LAUNCHER_BUILD)
	$(LAUNCHER_PYTHON) -IS -X no_debug_ranges $< $@

$(LAUNCHER_BUILD)/bindings.gen.c: generate/bindings.py csrc/native.h | $(LAUNCHER_BUILD)
	$(LAUNCHER_PYTHON) -IS $< $@

$(LAUNCHER_BUILD):
	mkdir -p $@
