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
ifeq ($(SAN),)
CFLAGS += -D_FORTIFY_SOURCE=2
endif

# ---- the rooms and their arrows --------------------------------------------------------------------
ROOMS := base os wire spec core judge store pack gateway engine observe control api shim guardian cli
uses.base     :=
uses.os       := base
uses.wire     := base
uses.spec     := base
uses.core     := base spec
uses.judge    := base
uses.store    := base os core spec
uses.pack     := base os
uses.gateway  := base os wire
uses.engine   := base os wire spec
uses.observe  := base wire core spec
uses.control  := base os wire spec core judge store pack engine observe
uses.api      := base os wire spec core judge store pack engine observe control
uses.shim     := base os wire
uses.guardian := base os wire
uses.cli      := base os wire spec
# main.c picks the role and includes each role's entry point.
uses.main     := base os wire spec gateway control api guardian cli

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
LIBS_STATIC := -Wl,-Bstatic -luv -lsqlite3 -ljansson -lfyaml -Wl,-Bdynamic -lm -ldl -lpthread
LINK_ORDER  := api cli control observe engine pack store judge core spec gateway guardian shim wire os base
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
$(O)/test-packages.stamp: packaging/test-packages
	@mkdir -p $(@D)
	@packaging/install-packages packaging/test-packages
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

.PHONY: clean
clean:
	rm -rf build

-include $(shell find $(O)/obj $(O)/small $(O)/unit -name '*.d' 2>/dev/null)
