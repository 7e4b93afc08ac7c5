# Cowbird. `make help` lists the targets.
#
# One static library per layer; each links only those below it, so that an upward call fails to link:
#   libspa.a <- libdmu.a <- libdsl.a <- libzpl.a <- the program (fuse session, commands)
# A test test/test_X*.c links exactly the libraries of its layer X (base|spa|dmu|dsl|zpl) and below, and of
# test/support/ the files whose headers it, or one of those files, includes. New files in these folders are found by themselves.

B       ?= build
CC      ?= cc
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
WARN    := -Wall -Wextra -Werror -Wmissing-prototypes -Wshadow -Wno-unused-parameter
PKGS    := fuse3 libxxhash liblz4 libzstd zlib libcrypto
PKGCF   := $(shell pkg-config --cflags $(PKGS))
INC     := -Idmu/spa -Idmu -Idsl -Ifuse -Itools
ALLCF    = -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(WARN) $(CFLAGS) -pthread $(INC) $(PKGCF)
BLIBS   := $(shell pkg-config --libs libxxhash liblz4 libzstd zlib libcrypto) -pthread -lm
FLIBS   := $(shell pkg-config --libs fuse3)
CHECKL  := $(shell pkg-config --libs check 2>/dev/null)

SPA_O   := $(patsubst %.c,$(B)/%.o,$(wildcard dmu/spa/*.c))
DMU_O   := $(patsubst %.c,$(B)/%.o,$(wildcard dmu/*.c))
DSL_O   := $(patsubst %.c,$(B)/%.o,$(wildcard dsl/*.c))
ZPL_O   := $(patsubst %.c,$(B)/%.o,$(wildcard fuse/zpl_*.c fuse/zil*.c))
FUSE_O  := $(filter-out $(ZPL_O),$(patsubst %.c,$(B)/%.o,$(wildcard fuse/*.c)))
TOOL_O  := $(patsubst %.c,$(B)/%.o,$(wildcard tools/*.c))

LSPA    := $(B)/libspa.a
LDMU    := $(B)/libdmu.a $(LSPA)
LDSL    := $(B)/libdsl.a $(LDMU)
LZPL    := $(B)/libzpl.a $(LDSL)

all: $(B)/cowbird $(B)/libcowbird.a ## build everything (default)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $<"; $(CC) $(ALLCF) -MMD -MP -c -o $@ $<

$(B)/libspa.a: $(SPA_O)
$(B)/libdmu.a: $(DMU_O)
$(B)/libdsl.a: $(DSL_O)
$(B)/libzpl.a: $(ZPL_O)
$(B)/libcowbird.a: $(SPA_O) $(DMU_O) $(DSL_O) $(ZPL_O)
$(B)/lib%.a:
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(B)/cowbird: $(TOOL_O) $(FUSE_O) $(LZPL)
	$(CC) $(CFLAGS) -o $@ $^ $(FLIBS) $(BLIBS)
	@ln -sf cowbird $(B)/zfs && ln -sf cowbird $(B)/zpool

# ---- tests ----------------------------------------------------------------------------------------------------------

L_base  := $(LSPA)
L_spa   := $(LSPA)
L_dmu   := $(LDMU)
L_dsl   := $(LDSL)
L_zpl   := $(LZPL)
TESTS   := $(patsubst test/%.c,%,$(wildcard test/test_*.c))
UNIT    := $(addprefix $(B)/,$(TESTS))
SUPPORT := $(patsubst test/support/%.c,%,$(wildcard test/support/*.c))
$(B)/test/%.o: INC += -Itest -Itest/support

layer    = $(firstword $(subst _, ,$(patsubst test_%,%,$(1))))
includes = $(shell sed -n 's|^ *\# *include *"\(.*/\)*\([a-z0-9_]*\)\.h".*|\2|p' $(1))
HEADS   := $(basename $(notdir $(wildcard test/support/*.h)))
direct   = $(filter $(HEADS),$(call includes,$(1)))
support  = $(filter $(SUPPORT),$(foreach s,$(call direct,$(1)),$(s) $(call direct,$(wildcard test/support/$(s).[ch]))))
define unit_rule
$(B)/$(1): $(B)/test/$(1).o $(B)/test/support/markpoint.o $(patsubst %,$(B)/test/support/%.o,$(sort $(call support,test/$(1).c))) \
    $(or $(L_$(call layer,$(1))),$(LZPL))
	$$(CC) $$(CFLAGS) -Wl,--wrap=_mark_point -o $$@ $$^ $$(CHECKL) $$(BLIBS)
endef
$(foreach t,$(TESTS),$(eval $(call unit_rule,$(t))))

# Helper programs of the scripts: test/tools/X.c is $(B)/tool_X, linked with everything below the fuse session.
TOOLS   := $(patsubst test/tools/%.c,$(B)/tool_%,$(wildcard test/tools/*.c))
$(B)/tool_%: $(B)/test/tools/%.o $(LZPL)
	$(CC) $(CFLAGS) -o $@ $^ $(BLIBS)

check: all unit-bins $(TOOLS) check-layers ## run every test; the last line counts them
	@test/run.sh $(B)

unit: unit-bins ## run the unit tests (Check) only
	@test/run.sh --unit $(B)

soak: all unit-bins $(TOOLS) ## the same tests for hours: 50 times the steps, more seeds
	@test/run.sh --soak $(B)

unit-bins: $(UNIT)

check-layers: ## no #include points up the layers
	@test/layers.sh

SAN_ENV := UNIT_LIMIT=1800 CK_TIMEOUT_MULTIPLIER=10 COWBIRD_EFFORT=20 ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 \
           UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 TSAN_OPTIONS=die_after_fork=0:halt_on_error=1

asan: ## unit tests under the address and undefined-behaviour sanitizers
	+@$(SAN_ENV) $(MAKE) --no-print-directory unit B=build/asan \
	    CFLAGS='-O1 -g -fno-omit-frame-pointer -Wno-error -fsanitize=address,undefined -fno-sanitize-recover=undefined'

tsan: ## unit tests under the thread sanitizer
	+@$(SAN_ENV) setarch -R $(MAKE) --no-print-directory unit B=build/tsan \
	    CFLAGS='-O1 -g -fno-omit-frame-pointer -Wno-error -fsanitize=thread'

bench: all $(B)/tool_fletcher ## compare Cowbird, zfs-fuse and libfuse's passthrough (PASSTHROUGH=binary)
	@test/bench/bench.sh

demo: all ## a pool, files, snapshots, send and receive, explained step by step
	@test/demo.sh

# Each target test/fuzz/fuzz_X.c runs under clang's libFuzzer, from test/fuzz/corpus/X (make fuzz), or goes through that
# corpus once, as $(B)/replay_X (make check). What fuzzing finds lies in build/fuzz/X-*.
FUZZ    := $(patsubst test/fuzz/fuzz_%.c,%,$(wildcard test/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60
FUZZ_CF := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
FUZZ_O  := test/fuzz/walk.o test/fuzz/image.o test/support/faultdisk.o
fuzz: ## fuzz every reader of foreign bytes for FUZZ_SECONDS each (clang)
	@mkdir -p build/fuzz
	@echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return 0; }' | \
	    clang -fsanitize=fuzzer,address,undefined -x c -o build/fuzz/probe - 2>/dev/null || \
	    { echo "make fuzz needs clang with its fuzzer runtime (libclang_rt.fuzzer); it is not here"; exit 1; }
	+@$(MAKE) --no-print-directory fuzz-run B=build/fuzz CC=clang CFLAGS='$(FUZZ_CF)'
fuzz-run: $(addprefix $(B)/fuzz_,$(FUZZ))
	@for f in $(FUZZ); do echo "fuzz: $$f, $(FUZZ_SECONDS) s"; mkdir -p $(B)/corpus/$$f; \
	    ASAN_OPTIONS=quarantine_size_mb=16 \
	    $(B)/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -timeout=20 -max_len=65536 \
	        -artifact_prefix=$(B)/$$f- -print_final_stats=1 $(B)/corpus/$$f test/fuzz/corpus/$$f >$(B)/$$f.log 2>&1 && \
	        { grep '^stat::number_of_executed_units' $(B)/$$f.log; continue; }; \
	    tail -n 60 $(B)/$$f.log; exit 1; done
$(B)/fuzz_%: $(B)/test/fuzz/fuzz_%.o $(addprefix $(B)/,$(FUZZ_O)) $(LZPL)
	$(CC) $(CFLAGS) -fsanitize=fuzzer -o $@ $^ $(BLIBS)
$(B)/replay_%: $(B)/test/fuzz/fuzz_%.o $(B)/test/fuzz/replay.o $(addprefix $(B)/,$(FUZZ_O)) $(LZPL)
	$(CC) $(CFLAGS) -o $@ $^ $(BLIBS)
$(B)/tool_fuzzseed: BLIBS += -Wl,--wrap=zio_compress_data
$(B)/test/fuzz/image.o: test/fuzz/pool.img
check: $(addprefix $(B)/replay_,$(FUZZ))

# ---- the rest -------------------------------------------------------------------------------------------------------

CODE    := $(wildcard dmu/spa/*.[ch] dmu/*.[ch] dsl/*.[ch] fuse/*.[ch] tools/*.[ch] test/*.[ch] test/*/*.[ch])
SCRIPTS := $(wildcard .ci/run test/*.sh test/*/*.sh tools/*.sh)

install: all ## install under PREFIX (/usr/local); the names zfs and zpool go to PREFIX/lib/cowbird
	install -D $(B)/cowbird $(DESTDIR)$(PREFIX)/bin/cowbird
	install -d $(DESTDIR)$(PREFIX)/lib/cowbird
	ln -sf ../../bin/cowbird $(DESTDIR)$(PREFIX)/lib/cowbird/zfs
	ln -sf ../../bin/cowbird $(DESTDIR)$(PREFIX)/lib/cowbird/zpool

format: ## clang-format over all C files
	clang-format -i $(CODE)

lint: ## clang-tidy and shellcheck
	shellcheck -x $(SCRIPTS)
	@printf '%s\n' $(filter %.c,$(CODE)) | xargs -P "$$(nproc)" -n 1 sh -c \
	    'clang-tidy --quiet "$$0" -- $(ALLCF) -Itest -Itest/support 2>/dev/null'

clean: ## remove what was built (not the fetched programs)
	rm -rf $(filter-out build/peers,$(wildcard build/*))

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: all check soak unit unit-bins check-layers asan tsan bench demo fuzz fuzz-run install format lint clean help
.SECONDARY:
-include $(wildcard $(foreach d,dmu/spa dmu dsl fuse tools test test/support test/tools test/fuzz,$(B)/$(d)/*.d))
