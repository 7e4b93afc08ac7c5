# Cowbird. `make help` lists the targets.
#
# One static library per layer; each links only those below it, so that an upward call fails to link:
#   libspa.a <- libdmu.a <- libdsl.a <- libzpl.a <- the program (fuse session, commands)
# A test test/test_X*.c links exactly the libraries of its layer X (base|spa|dmu|dsl|zpl) and below.

B       ?= build
CC      ?= cc
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Werror -Wmissing-prototypes -Wshadow -Wno-unused-parameter
PKGS    := fuse3 libxxhash liblz4 libzstd zlib libcrypto
ALLCF    = -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(WARN) $(CFLAGS) -pthread \
           -Idmu/spa -Idmu -Idsl -Ifuse -Itools $(shell pkg-config --cflags $(PKGS))
BLIBS   := $(shell pkg-config --libs libxxhash liblz4 libzstd zlib libcrypto) -pthread -lm
FLIBS   := $(shell pkg-config --libs fuse3)

SPA_O   := $(patsubst %.c,$(B)/%.o,$(wildcard dmu/spa/*.c))
DMU_O   := $(patsubst %.c,$(B)/%.o,$(wildcard dmu/*.c))
DSL_O   := $(patsubst %.c,$(B)/%.o,$(wildcard dsl/*.c))
ZPL_O   := $(patsubst %.c,$(B)/%.o,$(wildcard fuse/zpl_*.c))
FUSE_O  := $(filter-out $(ZPL_O),$(patsubst %.c,$(B)/%.o,$(wildcard fuse/*.c)))
TOOL_O  := $(patsubst %.c,$(B)/%.o,$(wildcard tools/*.c))

LSPA    := $(B)/libspa.a
LDMU    := $(B)/libdmu.a $(LSPA)
LDSL    := $(B)/libdsl.a $(LDMU)
LZPL    := $(B)/libzpl.a $(LDSL)

all: $(B)/cowbird ## build everything (default)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLCF) -MMD -MP -c -o $@ $<

$(B)/libspa.a: $(SPA_O)
$(B)/libdmu.a: $(DMU_O)
$(B)/libdsl.a: $(DSL_O)
$(B)/libzpl.a: $(ZPL_O)
$(B)/lib%.a:
	@rm -f $@
	ar rcs $@ $^

$(B)/cowbird: $(TOOL_O) $(FUSE_O) $(LZPL)
	$(CC) $(CFLAGS) -o $@ $^ $(FLIBS) $(BLIBS)
	@ln -sf cowbird $(B)/zfs && ln -sf cowbird $(B)/zpool

# Test support shared by the suites lies in test/support/*.c (each linked only where a suite names it below).
CHECKL  := $(shell pkg-config --libs check)
$(B)/test_base%: $(B)/test/test_base%.o $(LSPA)
	$(CC) $(CFLAGS) -o $@ $^ $(CHECKL) $(BLIBS)
$(B)/test_spa%: $(B)/test/test_spa%.o $(B)/test/support/faultdisk.o $(LSPA)
	$(CC) $(CFLAGS) -o $@ $^ $(CHECKL) $(BLIBS)
$(B)/test_dmu%: $(B)/test/test_dmu%.o $(B)/test/support/faultdisk.o $(LDMU)
	$(CC) $(CFLAGS) -o $@ $^ $(CHECKL) $(BLIBS)
$(B)/test_dsl%: $(B)/test/test_dsl%.o $(B)/test/support/faultdisk.o $(LDSL)
	$(CC) $(CFLAGS) -o $@ $^ $(CHECKL) $(BLIBS)
$(B)/test_zpl%: $(B)/test/test_zpl%.o $(B)/test/support/faultdisk.o $(LZPL)
	$(CC) $(CFLAGS) -o $@ $^ $(CHECKL) $(BLIBS)

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: all help
.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
