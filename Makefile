# trainer: `make help` lists the targets; `make V=1` shows the commands.

# TSAN=1: clang's OpenMP (libomp-dev) is the one that its sanitizer knows.
CC       := $(if $(filter 1,$(TSAN)),clang,gcc)
MPICC    := mpicc
# The MPI wrappers compile and link with the same compiler, or two OpenMP runtimes would meet.
export OMPI_CC  := $(CC)
export MPICH_CC := $(CC)
BUILD    := build
SAN      ?=
COV      ?=
TSAN     ?=
NP       ?=
PREFIX   ?= /usr/local
DESTDIR  ?=
PYTHON   ?= $(firstword $(wildcard /usr/bin/python3) python3)
export PYTHON
ARCH     := $(shell uname -m)
COMMIT   := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
HDF5     := $(shell pkg-config --exists hdf5-serial 2>/dev/null && echo hdf5-serial || echo hdf5)

# Bits must not depend on the compiler's mood: no contraction, no fast-math, FMA where written.
OPT      := -O2
CFLAGS   := -std=gnu11 $(OPT) -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wpointer-arith -Wno-unused-parameter -ffp-contract=off -fno-math-errno -fopenmp
CPPFLAGS := -Iinclude -D_GNU_SOURCE -MMD -MP $(shell pkg-config --cflags $(HDF5) 2>/dev/null)
LDLIBS   := $(shell pkg-config --libs $(HDF5) 2>/dev/null) -linih -lz -lm -lpthread

ifeq ($(SAN),1)
BUILD    := build/san
CFLAGS   += -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
KERNEL_O := -O1 # with sanitizers, -O3 takes minutes
SAN_OBJ  := $(BUILD)/tests/sanitize.o
endif

ifeq ($(TSAN),1)
BUILD    := build/tsan
CFLAGS   += -fsanitize=thread
KERNEL_O := -O1
endif

ifeq ($(COV),1)
BUILD    := build/cov
CFLAGS   += --coverage -fprofile-update=atomic
KERNEL_O := -O1
endif

KERNEL_O ?= -O3
SETS     := portable
ifeq ($(ARCH),x86_64)
SETS     += avx2 avx512
endif
SET_avx2     := -mavx2 -mfma
SET_avx512   := -mavx512f -mavx512dq -mavx512vl -mavx512bw -mavx2 -mfma -mprefer-vector-width=512
SET_portable :=

SRC      := $(filter-out src/kernels/set.c src/cli/main.c,$(wildcard src/*/*.c))
OBJ      := $(SRC:%.c=$(BUILD)/%.o) $(SETS:%=$(BUILD)/src/kernels/set_%.o)
LIB      := $(BUILD)/libtrainer.a
# The kernels' specification, for tests and benchmark.
REF      := $(BUILD)/tests/ref.o

# Objects are made anew when the commands that make them change; one file knows the commit.
FLAGS    := $(CC) $(MPICC) $(CPPFLAGS) $(CFLAGS) $(LDLIBS) $(KERNEL_O) $(foreach set,$(SETS),$(SET_$(set)))
write_if_new = @mkdir -p $(@D); echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
# For a make of our own: all cores, unless the user's says how many.
JOBS      = --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
Q        := $(if $(V),,@)

.PHONY: all run test check coverage torture soak mutants tsan portability fuzz bench bench-check man install uninstall format lint info clean help test-programs FORCE
all: trainer $(BUILD)/trainer.pc ## build ./trainer (the default)

# ./trainer is the last one that was built: the usual one, or SAN=1's.
trainer: $(BUILD)/trainer FORCE
	@[ "$$(readlink $@)" = $< ] || ln -sf $< $@

$(BUILD)/trainer: $(BUILD)/src/cli/main.o $(SAN_OBJ) $(LIB)
	@echo "  LINK $@"
	$(Q)$(MPICC) $(CFLAGS) -o $@ $^ $(LDLIBS)

# What a program that uses the library is compiled with; install adds where it lies.
$(BUILD)/trainer.pc: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' 'Cflags: -I$${prefix}/include/trainer -fopenmp $(shell pkg-config --cflags $(HDF5) 2>/dev/null)' \
	    'Libs: -L$${prefix}/lib -ltrainer -fopenmp $(LDLIBS)' >$@

$(LIB): $(OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/flags: FORCE
	@command -v $(MPICC) >/dev/null || { \
	    echo "No $(MPICC) here: scripts/install-deps.sh installs what is missing." >&2; exit 1; }
	$(call write_if_new,$(FLAGS))

$(BUILD)/commit: FORCE
	$(call write_if_new,$(COMMIT))

$(OBJ) $(REF) $(SAN_OBJ) $(BUILD)/src/cli/main.o: $(BUILD)/flags
$(BUILD)/src/base/version.o: $(BUILD)/commit
$(BUILD)/src/base/version.o: CPPFLAGS += -DDP_COMMIT='"$(COMMIT)"'

# The kernels are one source, compiled for each instruction set.
$(BUILD)/src/kernels/set_%.o: src/kernels/set.c
	@mkdir -p $(@D) && echo "  CC   $@"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(KERNEL_O) $(SET_$*) -DDP_SET=$* -DDP_SET_$* -c -o $@ $<

# A CC of the command line would win over a target's own CC.
COMPILE  := $(CC)
$(BUILD)/src/comm/%.o $(SAN_OBJ): COMPILE := $(MPICC)
$(BUILD)/%.o: %.c
	@mkdir -p $(@D) && echo "  CC   $@"
	$(Q)$(COMPILE) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# Tests: one Criterion program a file in tests/unit, one program for mpirun a file in tests/mpi.
UNIT     := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*.c))
MULTI    := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/mpi/*.c))
$(BUILD)/tests/unit/%: tests/unit/%.c $(REF) $(SAN_OBJ) $(LIB)
	@mkdir -p $(@D) && echo "  LINK $@"
	$(Q)$(MPICC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(REF) $(SAN_OBJ) $(LIB) -lcriterion $(LDLIBS)
$(BUILD)/tests/mpi/%: tests/mpi/%.c $(SAN_OBJ) $(LIB)
	@mkdir -p $(@D) && echo "  LINK $@"
	$(Q)$(MPICC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(SAN_OBJ) $(LIB) $(LDLIBS)
# T=csv: only the programs whose name contains csv.
NAMED     = $(if $(T),$(foreach p,$1,$(if $(findstring $(T),$(notdir $p)),$p)),$1)
test-programs: $(BUILD)/trainer $(BUILD)/trainer.pc $(call NAMED,$(UNIT) $(MULTI))

BENCH    := $(BUILD)/bench/gemm
$(BUILD)/bench/%: scripts/bench/%.c $(LIB)
	@mkdir -p $(@D) && echo "  LINK $@"
	$(Q)$(MPICC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(SAN_OBJ) $(LIB) $(LDLIBS)

# What install-deps.sh brings is seen by the make that starts after it.
run: ## install what is missing, get MNIST, train configs/mlp.ini on it (NP=ranks)
	@scripts/install-deps.sh
	@$(MAKE) $(JOBS) all
	@scripts/train-mnist.sh $(if $(NP),-n $(NP))

# Without what only some tests need the others still run.
test: ## install what is missing, run every test (SAN=1: the quick ones, with sanitizers)
	@scripts/install-deps.sh --all || scripts/install-deps.sh
	@$(MAKE) $(JOBS) test-programs
	@BUILD=$(BUILD) tests/run.sh $(if $(filter 1,$(SAN)),quick,all) $(T)

check: ## run the quick tests, under a minute (T=csv: only those whose name contains csv)
	@$(MAKE) $(JOBS) test-programs
	@BUILD=$(BUILD) tests/run.sh quick $(T)

coverage: ## say which lines and branches of src the quick tests reach (gcovr): build/cov/index.html
	@scripts/install-deps.sh gcovr
	@$(MAKE) $(JOBS) COV=1 test-programs
	@find build/cov -name '*.gcda' -delete
	@BUILD=build/cov tests/run.sh quick >build/cov/tests.log || tail -n 3 build/cov/tests.log
	@gcovr --filter src/ --exclude-throw-branches --html-details build/cov/index.html --txt build/cov/lines.txt \
	    --print-summary build/cov

torture: all ## kill runs N times (500) at random, SEED fixes how, and see that nothing is lost
	@TRAINER=$(abspath $(BUILD)/trainer) $(PYTHON) tests/torture.py $(if $(N),-n $(N)) \
	    $(if $(SEED),--seed $(SEED))

soak: all ## train for MINUTES (30) beside a reader, and see that nothing grows or slows down
	@TRAINER=$(abspath $(BUILD)/trainer) $(PYTHON) tests/soak.py $(if $(MINUTES),--minutes $(MINUTES))

mutants: ## change the code in N (200) random places, and count what the quick tests notice; SEED fixes which
	@$(PYTHON) tests/mutate.py $(if $(N),-n $(N)) $(if $(SEED),--seed $(SEED))

build/tsan/race: tests/race.c build/tsan/libtrainer.a
	$(Q)$(MPICC) $(CPPFLAGS) $(CFLAGS) -o $@ $^ $(LDLIBS)

tsan: ## look for races between threads, with clang's thread sanitizer
	@scripts/install-deps.sh clang libomp-dev
	@$(MAKE) $(JOBS) TSAN=1 build/tsan/trainer build/tsan/race
	@tests/tsan.sh

portability: ## build with other compilers, MPIs and machines (qemu), and see that the bits are the same
	@tests/portability.sh

# With clang's libFuzzer, whose runtime is in libclang-rt-dev; of the kernels the portable ones alone.
FUZZ     := -std=gnu11 -O1 -g -ffp-contract=off -fno-math-errno -fopenmp -DDP_PORTABLE_ONLY \
            -fsanitize=address,undefined -fno-sanitize-recover=undefined
build/fuzz/fuzz: tests/fuzz/fuzz.c build/fuzz/libtrainer.a
	@echo "  LINK $@"
	$(Q)$(MPICC) $(CPPFLAGS) $(FUZZ) -fsanitize=fuzzer -o $@ $< build/fuzz/libtrainer.a $(LDLIBS)

fuzz: ## feed made-up files and configs to the parsers, T seconds (30) for each kind; SEED fixes how
	@$(MAKE) $(JOBS) CC=clang ARCH=none BUILD=build/fuzz CFLAGS="$(FUZZ) -fsanitize=fuzzer-no-link" build/fuzz/fuzz
	@tests/fuzz/run.sh build/fuzz/fuzz $(or $(T),30) $(or $(SEED),1)
	@$(MAKE) $(JOBS) SAN=1 build/san/trainer
	@TRAINER=build/san/trainer $(PYTHON) tests/fuzz/structured.py --seconds $(or $(T),30) --seed $(or $(SEED),1)

bench: all $(BENCH) ## measure speed beside the machine's peak and the peers that are installed
	@BUILD=$(BUILD) scripts/bench/run.sh

bench-check: all ## compare the instructions of a step with the committed ones (valgrind)
	@BUILD=$(BUILD) $(PYTHON) scripts/bench/check.py

man: all ## write the manual page, build/trainer.1
	@TRAINER=$(BUILD)/trainer $(PYTHON) scripts/shell.py man >$(BUILD)/trainer.1
	@echo $(BUILD)/trainer.1

install: all ## install under PREFIX (/usr/local): program, scripts, library, completion, manual; DESTDIR comes before
	@BUILD=$(BUILD) PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh

uninstall: ## take away what install has put there
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh --uninstall

format: ## lay out the C code as .clang-format says
	@scripts/lint.sh --format

lint: ## look for mistakes in layout, includes, C, shell and Python
	@scripts/lint.sh

info: ## print what was found here: compiler, MPI, libraries, cores, data
	@CC=$(CC) MPICC=$(MPICC) HDF5=$(HDF5) BUILD=$(BUILD) scripts/info.sh

clean: ## remove what was built (runs/ and data/ stay)
	rm -rf build trainer

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 13

%.d: ; # written by the compiler, never made
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
