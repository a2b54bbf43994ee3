/* Linked into programs built with SAN=1: what the sanitizers are to know. */
#include <mpi.h>
#include <stdlib.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
int __lsan_is_turned_off(void);
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);
int dlclose(void *handle);

/* Open MPI leaks by itself: what it and its plug-ins allocate is not ours to free. */
const char *__lsan_default_suppressions(void) {
    return "leak:libmpi.so\n"
           "leak:libopen-rte.so\n"
           "leak:libopen-pal.so\n"
           "leak:libpmix.so\n"
           "leak:libhwloc.so\n"
           "leak:/mca_\n";
}

const char *__lsan_default_options(void) {
    return "print_suppressions=0";
}

/* Its tracer crashes or hangs now and then in a process that started MPI without
 * mpirun. */
int __lsan_is_turned_off(void) {
    int started = 0;
    MPI_Initialized(&started);
    return started && !getenv("OMPI_COMM_WORLD_SIZE");
}

/* The slow unwinder sees through libraries without frame pointers to whose leak it is. */
const char *__asan_default_options(void) {
    return "detect_leaks=1:fast_unwind_on_malloc=0:verify_asan_link_order=0:allocator_"
           "may_return_null=1"; /* as malloc may, which is what is tested */
}

const char *__ubsan_default_options(void) {
    return "print_stacktrace=1";
}

/* Plug-ins stay in memory, or a leak report at the end could not tell whose they were. */
int dlclose(void *handle) {
    (void)handle;
    return 0;
}
