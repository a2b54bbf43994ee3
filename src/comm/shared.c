/* Shared-memory segments of a host's ranks, domains, and their barrier. */
#include "comm/shared.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "base/memory.h"
#include "comm_impl.h"
#include <assert.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct dp_barrier_flag {
    dp_event phase;
    _Atomic int cpu; /* that the member was on when it set `phase` */
    char rest[DP_ALIGN - sizeof(dp_event) - sizeof(int)]; /* no two in a cache line */
};

static size_t page_aligned(size_t bytes) {
    const size_t page = 4096;
    return (bytes + page - 1) / page * page;
}

/* A segment of `bytes` that the host's ranks map, or NULL on all of them. Its pages are
 * allocated now: with a full /dev/shm a later access would be a SIGBUS in the middle of
 * training. */
static void *map_segment(dp_comm *comm, size_t bytes) {
    char name[64] = "";
    int rank = 0, fd = -1;
    MPI_Comm_rank(comm->node, &rank);
    if (rank == 0) {
        snprintf(name, sizeof name, "/trainer-%ld-%ld", (long)getpid(),
                 (long)(dp_clock() * 1e6));
        fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
        if (fd >= 0 && posix_fallocate(fd, 0, (off_t)bytes) != 0) {
            close(fd);
            fd = -1;
            shm_unlink(name);
        }
        name[0] = fd >= 0 ? name[0] : '\0';
    }
    MPI_Bcast(name, sizeof name, MPI_CHAR, 0, comm->node);
    if (rank != 0 && name[0]) {
        fd = shm_open(name, O_RDWR, 0600);
    }
    void *map = MAP_FAILED;
    if (fd >= 0) {
        map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    int mapped = map != MAP_FAILED, all = 0;
    MPI_Allreduce(&mapped, &all, 1, MPI_INT, MPI_MIN, comm->node);
    if (rank == 0 && name[0]) {
        shm_unlink(name);
    }
    if (mapped && !all) {
        munmap(map, bytes);
    }
    return all ? map : NULL;
}

/* The segment of this host's ranks, where it has several: their flags, the common memory,
 * and each one's own. */
static void map_memory(dp_shared *s, size_t common, size_t own) {
    dp_comm *comm = s->comm;
    size_t ranks = (size_t)comm->topology.node_size;
    size_t flags = page_aligned(ranks * sizeof(struct dp_barrier_flag));
    unsigned long size = page_aligned(own), *sizes = dp_alloc(ranks, sizeof size);
    MPI_Allgather(&size, 1, MPI_UNSIGNED_LONG, sizes, 1, MPI_UNSIGNED_LONG, comm->node);
    s->map_bytes = flags + page_aligned(common);
    for (size_t m = 0; m < ranks; m++) {
        s->map_bytes += sizes[m];
    }
    s->map = ranks > 1 ? map_segment(comm, s->map_bytes) : NULL;
    if (s->map) {
        s->flag = s->map;
        s->common = (char *)s->map + flags;
        char *at = (char *)s->common + page_aligned(common);
        for (size_t m = 0; m < ranks; at += sizes[m++]) {
            s->own[m] = at;
        }
    }
    free(sizes);
}

static dp_status private_memory(dp_shared *s, size_t common, size_t own) {
    DP_TRY(dp_memory_alloc(common, 1, &s->common));
    return dp_memory_alloc(own, 1, &s->own[0]);
}

/* The ranks that map a segment are a domain; any other rank is one by itself. */
static void find_domains(dp_shared *s) {
    dp_comm *comm = s->comm;
    size_t ranks = (size_t)comm->size;
    s->domain_of = dp_alloc(ranks, sizeof(int));
    s->member_of = dp_alloc(ranks, sizeof(int));
    s->rank_of = dp_alloc(ranks, sizeof(int));
    int lowest = comm->rank;
    if (s->map) {
        MPI_Allreduce(&comm->rank, &lowest, 1, MPI_INT, MPI_MIN, comm->node);
    }
    MPI_Allgather(&lowest, 1, MPI_INT, s->domain_of, 1, MPI_INT, comm->world);
    for (int r = 0; r < comm->size; r++) {
        int first = s->domain_of[r]; /* its lowest rank, which has its number already */
        s->domain_of[r] = first == r ? s->domains++ : s->domain_of[first];
        for (int q = 0; q < r; q++) {
            s->member_of[r] += s->domain_of[q] == s->domain_of[r];
        }
    }
    for (int r = 0; r < comm->size; r++) {
        if (s->domain_of[r] == s->domain_of[comm->rank]) {
            s->rank_of[s->members++] = r;
        }
    }
    s->me = s->member_of[comm->rank];
}

dp_status dp_shared_create(dp_comm *comm, size_t common, size_t own, dp_shared **out) {
    dp_shared *s = dp_alloc(1, sizeof *s);
    s->comm = comm;
    s->own = dp_alloc((size_t)comm->topology.node_size, sizeof *s->own);
    map_memory(s, common, own);
    find_domains(s);
    double refused = !s->map && comm->topology.node_size > 1;
    if (dp_comm_max(comm, refused) > 0 && !comm->shm_warned) {
        comm->shm_warned = true;
        dp_warn(
            "too little shared memory on a host (%zu MiB asked for in /dev/shm): its "
            "ranks use private copies and MPI, which is slower; the results are the same",
            s->map_bytes >> 20);
    }
    dp_status status = s->map ? DP_OK : private_memory(s, common, own);
    status = dp_comm_agree(comm, status);
    if (status != DP_OK) {
        dp_shared_destroy(&s);
    }
    *out = s;
    return status;
}

void dp_shared_destroy(dp_shared **shared) {
    dp_shared *s = *shared;
    if (s) {
        if (s->map) {
            munmap(s->map, s->map_bytes);
        } else {
            dp_memory_free(&s->common);
            dp_memory_free(&s->own[0]);
        }
        free(s->domain_of);
        free(s->member_of);
        free(s->rank_of);
        free(s->own);
        free(s);
    }
    *shared = NULL;
}

void dp_shared_barrier(dp_shared *s) {
    if (!s->map) {
        return;
    }
    const double interval = 0.1; /* seconds between two checks of the watchdog */
    uint32_t phase = ++s->phase;
    int here = sched_getcpu();
    s->flag[s->me].cpu = here;
    dp_event_set(&s->flag[s->me].phase, phase);
    dp_watchdog watchdog = dp_watchdog_start(s->comm, "the gradients' exchange");
    for (int m = 0; m < s->members; m++) {
        dp_event *other = &s->flag[m].phase;
        uint32_t now = atomic_load_explicit(&other->count, memory_order_acquire);
        /* The difference, since phases may wrap. */
        while ((int32_t)(now - phase) < 0) {
            dp_watchdog_check(&watchdog);
            now = dp_event_wait(other, now, s->flag[m].cpu != here, interval);
        }
    }
}
