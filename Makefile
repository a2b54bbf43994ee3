# trainer: `make help` lists the targets.

CC       := gcc
MPICC    := mpicc
BUILD    := build
SAN      ?=
ARCH     := $(shell uname -m)
COMMIT   := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
HDF5     := $(shell pkg-config --exists hdf5 2>/dev/null && echo hdf5 || echo hdf5-serial)

# Bits must not depend on the compiler's mood: no contraction, no fast-math, FMA where written.
CFLAGS   := -std=gnu11 -O2 -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wno-unused-parameter -ffp-contract=off -fno-math-errno -fopenmp
CPPFLAGS := -Iinclude -D_GNU_SOURCE -MMD -MP $(shell pkg-config --cflags $(HDF5) 2>/dev/null)
LDLIBS   := $(shell pkg-config --libs $(HDF5) 2>/dev/null) -linih -lz -lm -lpthread

ifeq ($(SAN),1)
BUILD    := build/san
CFLAGS   += -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
endif

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

.PHONY: all clean
all: trainer

trainer: $(BUILD)/trainer
	@ln -sf $< $@

$(BUILD)/trainer: $(BUILD)/src/cli/main.o $(LIB)
	$(MPICC) $(CFLAGS) -o $@ $^ $(LDLIBS)

$(LIB): $(OBJ)
	@rm -f $@
	@ar rcs $@ $^

# The kernels are one source, compiled for each instruction set.
$(BUILD)/src/kernels/set_%.o: src/kernels/set.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -O3 $(SET_$*) -DDP_SET=$* -DDP_SET_$* -c -o $@ $<

$(BUILD)/src/comm/%.o: CC := $(MPICC)
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# Unit tests: one Criterion program a file.
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*.c))
$(BUILD)/tests/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(MPICC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(LIB) -lcriterion $(LDLIBS)

clean:
	rm -rf build trainer

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
