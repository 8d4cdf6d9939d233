# sluice: build, test, demo. `make help` lists the targets.
#
# One static library per folder of src/. A folder's include path holds only the folders that it may
# include (the `uses` lists below, which are DESIGN's arrows), so an arrow the wrong way does not compile.
# Variants: `make SAN=asan ...` and `make SAN=tsan ...` build into their own folders.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL   := /bin/bash
JOBS    ?= $(shell nproc)
SAN     ?=
O       := build$(if $(SAN),/$(SAN))
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := $(shell cat VERSION)

CC      := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
           -Wundef -Wvla -Wformat=2 -Wno-format-nonliteral
OPT     := -O2 -g -fno-omit-frame-pointer -fstack-protector-strong
ifeq ($(SAN),asan)
OPT     := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
endif
ifeq ($(SAN),tsan)
OPT     := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
endif
CFLAGS  = -std=gnu11 -D_GNU_SOURCE -DSLUICE_VERSION='"$(VERSION)"' $(WARN) $(OPT) $(EXTRA_CFLAGS)
ifeq ($(SAN),fuzz)
CC      := clang
OPT     := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
endif
ifeq ($(SAN),lint)
CC      := clang
WARN    += -Weverything $(addprefix -Wno-,$(shell sed 's/\#.*//' packaging/lint-off))
OPT     := -O0
endif
ifeq ($(SAN),)
CFLAGS += -D_FORTIFY_SOURCE=2
endif

# ---- the rooms and their arrows --------------------------------------------------------------------
ROOMS := base os wire tls acme spec core judge simulate store pack gateway fetch engine observe control api shim guardian cli
uses.base     :=
uses.os       := base
uses.wire     := base
uses.tls      := base
uses.acme     := base tls
uses.spec     := base
uses.core     := base spec
uses.judge    := base
uses.simulate := base wire spec core judge
uses.store    := base os core spec
uses.pack     := base os
uses.gateway  := base os wire tls
uses.fetch    := base os wire
uses.engine   := base os wire spec
uses.observe  := base wire core spec
uses.control  := base os wire tls acme spec core judge store pack engine observe
uses.api      := base os wire spec core judge store pack engine observe control
uses.shim     := base os wire
uses.guardian := base os wire
uses.cli      := base os wire spec core judge simulate
# main.c picks the role and includes each role's entry point.
uses.main     := base os wire spec gateway fetch control api guardian cli

srcs = $(wildcard src/$1/*.c src/$1/*/*.c)
objs = $(patsubst src/%.c,$(O)/obj/%.o,$(call srcs,$1))
lib  = $(O)/lib/$1.a

.PHONY: all
all: $(O)/sluice $(O)/hello

# Each room's include tree: links to the rooms that it may include, and to itself.
define room_rules
$(O)/inc/$1/.made: Makefile
	@rm -rf $(O)/inc/$1 && mkdir -p $(O)/inc/$1
	@for r in $1 $(uses.$1); do [ "$$$$r" = main ] || ln -sfn $(CURDIR)/src/$$$$r $(O)/inc/$1/$$$$r; done
	@touch $$@
$(O)/obj/$1/%.o: src/$1/%.c $(O)/inc/$1/.made | $(O)/packages.stamp
	@mkdir -p $$(@D)
	$$(quiet_CC)$$(CCACHE) $$(CC) $$(CFLAGS) -iquote $(O)/inc/$1 -MMD -MP -c $$< -o $$@
$(call lib,$1): $(call objs,$1)
	@mkdir -p $$(@D); rm -f $$@
	$$(quiet_AR)ar rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room_rules,$r)))

V ?=
quiet_CC = $(if $(V),,@echo "  CC    $<"; )
quiet_AR = $(if $(V),,@echo "  AR    $@"; )
quiet_LD = $(if $(V),,@echo "  LINK  $@"; )
CCACHE  := $(shell command -v ccache 2>/dev/null)

# ---- the two small static programs, embedded into the main one --------------------------------------
# The sanitizers do not work in a static program: with SAN these two are built without.
SMALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DSLUICE_VERSION='"$(VERSION)"' $(WARN) -Os -g -fstack-protector-strong \
               -ffunction-sections -fdata-sections
define small_rules
small.$1 := $(patsubst src/%.c,$(O)/small/%.o,$(foreach r,base os wire,$(call srcs,$r)) $(call srcs,$1))
$(O)/$1: $$(small.$1)
	$$(quiet_LD)$$(CC) -static -Wl,--gc-sections -s -o $$@ $$^
endef
$(O)/small/%.o: src/%.c $(O)/inc/shim/.made $(O)/inc/guardian/.made | $(O)/packages.stamp
	@mkdir -p $(@D)
	$(quiet_CC)$(CCACHE) $(CC) $(SMALL_CFLAGS) -iquote src -MMD -MP -c $< -o $@
$(eval $(call small_rules,shim))
$(eval $(call small_rules,guardian))

$(O)/obj/embedded.o: src/embedded.S $(O)/shim $(O)/guardian
	@mkdir -p $(@D)
	$(quiet_CC)$(CC) -c -DSHIM_FILE='"$(O)/shim"' -DGUARDIAN_FILE='"$(O)/guardian"' $< -o $@

# ---- the binary ------------------------------------------------------------------------------------
LIBS_STATIC := -Wl,-Bstatic -l:libuv_a.a -lsqlite3 -ljansson -lfyaml -lnghttp2 -lssl -lcrypto -lseccomp -Wl,-Bdynamic -lm -ldl -lpthread
LINK_ORDER  := api cli simulate control acme observe engine pack store judge core spec gateway fetch guardian shim tls wire os base
$(O)/inc/main/.made: Makefile
	@rm -rf $(O)/inc/main && mkdir -p $(O)/inc/main
	@for r in $(uses.main); do ln -sfn $(CURDIR)/src/$$r $(O)/inc/main/$$r; done
	@touch $@
$(O)/obj/main.o: src/main.c $(O)/inc/main/.made VERSION | $(O)/packages.stamp
	@mkdir -p $(@D)
	$(quiet_CC)$(CCACHE) $(CC) $(CFLAGS) -iquote $(O)/inc/main -MMD -MP -c $< -o $@
BIN_LIBS := $(foreach r,$(filter-out shim guardian,$(LINK_ORDER)),$(call lib,$r))
$(O)/sluice: $(O)/obj/main.o $(O)/obj/embedded.o $(BIN_LIBS)
	$(quiet_LD)$(CC) $(OPT) -o $@ $(O)/obj/main.o $(O)/obj/embedded.o -Wl,--start-group $(BIN_LIBS) -Wl,--end-group $(LIBS_STATIC)

# ---- the example app and the load generator ----------------------------------------------------------
$(O)/hello: examples/hello/hello.c | $(O)/packages.stamp
	@mkdir -p $(@D)
	$(quiet_CC)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -g -o $@ $< -lpthread
$(O)/load: $(wildcard tests/load/*.c tests/load/*.h) | $(O)/packages.stamp
	@mkdir -p $(@D)
	$(quiet_CC)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -g -o $@ $(filter %.c,$^) -lpthread

# ---- packages --------------------------------------------------------------------------------------
$(O)/packages.stamp: packaging/build-packages
	@mkdir -p $(@D)
	@packaging/install-packages packaging/build-packages
	@touch $@
$(O)/%-packages.stamp: packaging/%-packages
	@mkdir -p $(@D)
	@packaging/install-packages $<
	@touch $@

# ---- tests -----------------------------------------------------------------------------------------
# tests/unit/ROOM/test_NAME.c is one cmocka program, linked with that room and what it uses.
UNIT_SRCS := $(wildcard tests/unit/*/test_*.c)
UNIT_BINS := $(patsubst tests/unit/%.c,$(O)/unit/%,$(UNIT_SRCS))
define unit_rules
$(O)/unit/$1/%: tests/unit/$1/%.c $(foreach r,$1 $(uses.$1),$(call lib,$r)) | $(O)/test-packages.stamp
	@mkdir -p $$(@D)
	$$(quiet_LD)$$(CCACHE) $$(CC) $$(CFLAGS) -Wno-missing-prototypes -iquote $(O)/inc/$1 -iquote tests/unit -MMD -MP -o $$@ $$< \
	    -Wl,--start-group $(foreach r,$1 $(uses.$1),$(call lib,$r)) -Wl,--end-group -lcmocka $(LIBS_STATIC)
endef
$(foreach r,$(ROOMS),$(eval $(call unit_rules,$r)))
.PHONY: unit unit-bins $(addprefix unit-,$(ROOMS))
unit-bins: $(UNIT_BINS)
unit: unit-bins
	@tests/run-unit $(UNIT_BINS)
$(foreach r,$(ROOMS),$(eval unit-$r: $(filter $(O)/unit/$r/%,$(UNIT_BINS)) ; @tests/run-unit $(filter $(O)/unit/$r/%,$(UNIT_BINS))))

# For upgrades: a binary whose snapshots and metrics have another format, as another version's may.
OTHER := $(O)/other-format
OTHER_OBJS := $(addprefix $(OTHER)/obj/,wire/snapshot.o wire/metrics.o gateway/gateway.o)
OTHER_HEADERS := $(addprefix $(OTHER)/inc/wire/,snapshot.h metrics.h)
$(OTHER)/inc/wire/%.h: src/wire/%.h
	@mkdir -p $(@D)
	@sed 's/_FORMAT = /&1000 + /' $< > $@
$(OTHER)/obj/%.o: src/%.c $(OTHER_HEADERS) $(O)/sluice
	@mkdir -p $(@D)
	$(quiet_CC)$(CCACHE) $(CC) $(CFLAGS) -iquote $(OTHER)/inc -iquote src -c $< -o $@
.PRECIOUS: $(OTHER)/inc/wire/%.h
$(OTHER)/sluice: $(OTHER_OBJS)
	$(quiet_LD)$(CC) $(OPT) -o $@ $(O)/obj/main.o $(O)/obj/embedded.o $^ -Wl,--start-group $(BIN_LIBS) -Wl,--end-group $(LIBS_STATIC)

# tests/sim: the real control, store and core over a simulated world, which takes the names of libuv,
# the engine, pack and the clocks. What the controller calls the kernel for itself is wrapped.
SIM_OBJS := $(patsubst tests/sim/%.c,$(O)/sim/%.o,$(wildcard tests/sim/*.c))
SIM_WRAP := bind getrandom statvfs unixsock_connect unixsock_send write_all
SIM_LIBS := $(foreach r,control acme observe engine store judge core spec tls wire os base,$(call lib,$r))
$(O)/sim/%.o: tests/sim/%.c tests/sim/sim.h $(O)/inc/control/.made | $(O)/packages.stamp
	@mkdir -p $(@D)
	$(quiet_CC)$(CCACHE) $(CC) $(CFLAGS) -Wno-missing-prototypes -iquote $(O)/inc/control -iquote tests/sim -MMD -MP -c $< -o $@
SIM_LINK := $(SIM_OBJS) $(foreach f,$(SIM_WRAP),-Wl,--wrap=$f) -Wl,--start-group $(SIM_LIBS) -Wl,--end-group \
            -Wl,-Bstatic -lsqlite3 -ljansson -lfyaml -lssl -lcrypto -Wl,-Bdynamic -lm -ldl -lpthread
$(O)/sim/sim: $(SIM_OBJS) $(SIM_LIBS)
	$(quiet_LD)$(CC) $(OPT) -o $@ $(SIM_LINK)

# ---- what people type ------------------------------------------------------------------------------
.PHONY: demo e2e test bench lint tsan fuzz sim soak install help
demo: $(O)/sluice $(O)/hello $(O)/load $(O)/demo-packages.stamp ## shows the whole loop in under a minute: good canary, bad canary
	@demo/run

# The load generator is never built with a sanitizer: it measures, it is not what is tested.
e2e: $(O)/sluice build/hello build/load $(O)/test-packages.stamp ## end-to-end tests; E2E='tests/e2e/test_cli.py -k usage' picks some
	@SLUICE_BUILD=$(O) tests/run-e2e $(E2E)
ifneq ($(SAN),)
build/hello build/load:
	@$(MAKE) --no-print-directory SAN= $@
endif

test: ## unit and end-to-end tests, with the normal build and under ASan + UBSan
	@tests/run-all

soak: $(O)/sluice $(O)/hello $(O)/load $(O)/test-packages.stamp ## 24 minutes of deploys under mixed load; long kill storms; 200 canaries of good releases, 120 of bad ones
	@SLUICE_SOAK=1 SLUICE_BUILD=$(O) /usr/bin/python3 -m pytest -q -s -p no:cacheprovider tests/e2e/test_soak.py
	@SLUICE_SOAK=1 SLUICE_BUILD=$(O) tests/run-e2e tests/e2e/test_killstorm.py
	@SLUICE_SOAK=1 SLUICE_BUILD=$(O) /usr/bin/python3 -m pytest -q -s -p no:cacheprovider tests/e2e/test_judge.py

tsan: ## the threads of gateway and store, and a short end-to-end run, under ThreadSanitizer
	@$(MAKE) --no-print-directory SAN=tsan unit-gateway unit-store unit-wire
	@$(MAKE) --no-print-directory SAN=tsan e2e E2E="tests/e2e/test_deploy.py -k 'test_deploy_and_rollback_under_load or test_websocket_lives'"

# bench/NAME.c measures one room from inside, the scripts the whole from outside.
BENCH_ROOMS := core judge spec base
BENCH_BINS  := $(patsubst bench/%.c,$(O)/bench/%,$(wildcard bench/*.c))
$(O)/bench/%: bench/%.c $(foreach r,$(BENCH_ROOMS),$(call lib,$r))
	@mkdir -p $(@D)
	$(quiet_LD)$(CC) $(CFLAGS) -Wno-missing-prototypes -iquote src -o $@ $(filter %.c,$^) \
	    -Wl,--start-group $(foreach r,$(BENCH_ROOMS),$(call lib,$r)) -Wl,--end-group $(LIBS_STATIC)
$(O)/bench/judge: bench/compare/rules.c bench/compare/svg.c bench/compare/compare.h
bench: $(O)/sluice $(O)/hello $(O)/load $(BENCH_BINS) $(O)/bench-packages.stamp ## gateway against HAProxy and nginx; deploys and memory; the core's tick
	@for b in $(BENCH_BINS); do echo "== $$b"; $$b || exit 1; done
	@bench/gateway
	@bench/deploy

# Everything is compiled once more, by clang with its warnings; then the form, then clang-tidy.
LINT_C := $(shell find src tests fuzz bench examples -name '*.c' 2>/dev/null | sort)
LINT_H := $(shell find src tests fuzz -name '*.h' 2>/dev/null | sort)
lint: $(O)/lint-packages.stamp $(O)/packages.stamp $(O)/test-packages.stamp ## clang, clang-format, clang-tidy, no "../" in includes
	@tests/run-lint includes $(LINT_C) $(LINT_H)
	@tests/run-lint format $(LINT_C) $(LINT_H)
	@$(MAKE) --no-print-directory -k -j$(JOBS) SAN=lint lint-build
	@tests/run-lint tidy $(filter src/%,$(LINT_C))
.PHONY: lint-build
lint-build: $(foreach r,$(ROOMS),$(call lib,$r)) $(O)/obj/main.o

# fuzz/fuzz_NAME.c, each for FUZZ_SECONDS; seeds in fuzz/corpus/NAME, what is found new stays in build/.
FUZZ_SECONDS ?= 60
FUZZ_ROOMS   := gateway os tls judge core spec acme wire base
FUZZ_NAMES   := $(patsubst fuzz/fuzz_%.c,%,$(wildcard fuzz/fuzz_*.c))
fuzz: $(O)/fuzz-packages.stamp $(O)/packages.stamp ## fuzzers of what reads from outside, FUZZ_SECONDS=60 each
	@$(MAKE) --no-print-directory -j$(JOBS) SAN=fuzz fuzz-bins
	@tests/run-fuzz $(FUZZ_SECONDS) $(FUZZ_NAMES)
.PHONY: fuzz-bins
fuzz-bins: $(FUZZ_NAMES:%=$(O)/fuzz_%)
$(O)/fuzz_%: fuzz/fuzz_%.c $(foreach r,$(FUZZ_ROOMS),$(call lib,$r))
	$(quiet_LD)$(CC) $(CFLAGS) -Wno-missing-prototypes -fsanitize=fuzzer -iquote src -o $@ $< \
	    -Wl,--start-group $(foreach r,$(FUZZ_ROOMS),$(call lib,$r)) -Wl,--end-group $(LIBS_STATIC)

# Simulated rollouts with faults, from seeds: the whole controller in a simulated world (tests/sim), the
# core's random test, the judge's gates. The mutants show that the simulator can fail.
SEEDS     ?= 1000000
SIM_RUNS  := $(O)/unit/core/test_random $(addprefix $(O)/unit/judge/,test_simulation test_promotion test_repeats)
sim: $(O)/sim/sim $(SIM_RUNS) sim-mutants ## simulated rollouts with faults, SEEDS=1000000 of them; build/sim/sim --seed K only that one
	@$(O)/sim/sim --seeds 1-$(SEEDS) --jobs $(JOBS)
	@SLUICE_SEEDS=$(SEEDS) $(O)/unit/core/test_random
	@for t in $(filter-out %/test_random,$(SIM_RUNS)); do SLUICE_JUDGE_RUNS=$(SEEDS) $$t || exit 1; done
.PHONY: sim-seeds sim-mutants
sim-seeds: $(O)/sim/sim
	@$(O)/sim/sim --seeds 1-$(SEEDS) --jobs $(JOBS)
sim-mutants: $(O)/sim/sim
	@SIM_CC='$(CC) $(CFLAGS)' SIM_LINK='$(CC) $(OPT) $(SIM_LINK)' tests/sim/mutants $(O) $(MUTANTS)

# DESTDIR and PREFIX as everywhere.
install: $(O)/sluice ## installs the binary, the systemd unit and the manual page; PREFIX, DESTDIR
	install -D -m 755 $(O)/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	@mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local/bin|$(PREFIX)/bin|g' packaging/sluice.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/sluice.service
	$(if $(wildcard packaging/sluice.1),install -D -m 644 packaging/sluice.1 $(DESTDIR)$(PREFIX)/share/man/man1/sluice.1)

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | sort | awk -F'\t' '{ printf "  make %-9s %s\n", $$1, $$2 }'
	@echo "  SAN=asan|tsan builds a variant into its own folder; V=1 shows the commands"

.PHONY: clean
clean:
	rm -rf build

-include $(shell find $(O)/obj $(O)/small $(O)/unit $(O)/sim -name '*.d' 2>/dev/null)
