/* The reproducible allreduce: the schedule, messages between domains, sums along the
 * block tree. */
#include "comm/exchange.h"
#include "base/memory.h"
#include "comm_impl.h"
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A partial sum of this rank's slice: its range of blocks and its floats. */
typedef struct partial {
    dp_range range;
    float *slice;
} partial;

struct dp_exchange {
    dp_shared *shared;
    size_t floats;
    bool tree;
    /* [ranks+1] of the bucket that is exchanged; owner: the caller */
    const size_t *bound;
    dp_step_scalars *scalars; /* [ranks] of the step */
    /* [ranks] the ranges of each rank in a batch of `blocks` */
    dp_range (*ranges)[DP_MAX_PARTIALS];
    int *nranges;      /* [ranks] how many */
    int blocks;        /* of the batch that ranges and nranges are for */
    partial *partials; /* of my slice, in the tree's order */
    int npartials;
    int *merges; /* that follow each partial */
    float *recvbuf;
    size_t recvbuf_floats;
    MPI_Request *request;
    int requests, max_requests;
    /* [ranks] the member of my domain that exchanges with rank r of another one */
    int *proxy;
    int *peer; /* [domains] the member of domain d that exchanges with me */
};

enum {
    SCALARS_BYTES = (sizeof(dp_step_scalars) + DP_ALIGN - 1) / DP_ALIGN * DP_ALIGN,
    TAG_SCALARS = 1 << 14
};

size_t dp_exchange_own_bytes(size_t floats, int slabs) {
    return SCALARS_BYTES + (size_t)slabs * floats * sizeof(float);
}

static float *slab_of(const dp_exchange *ex, int member, int k) {
    return (float *)((char *)ex->shared->own[member] + SCALARS_BYTES) +
           (size_t)k * ex->floats;
}

float *dp_exchange_slab(const dp_exchange *ex, int k) {
    return slab_of(ex, ex->shared->me, k);
}

/* The proxy of domain `domain` for rank `rank` of another one: the member that exchanges
 * with it. */
static int proxy_of(const dp_shared *s, int domain, int rank) {
    int size = 0, found = -1;
    for (int r = 0; r < s->comm->size; r++) {
        size += s->domain_of[r] == domain;
    }
    int wanted = s->member_of[rank] % size;
    for (int r = 0; r < s->comm->size && found < 0; r++) {
        if (s->domain_of[r] == domain && s->member_of[r] == wanted) {
            found = r;
        }
    }
    return found;
}

dp_exchange *dp_exchange_create(dp_shared *shared, size_t floats, bool tree) {
    size_t ranks = (size_t)shared->comm->size;
    assert(floats <= INT_MAX && floats % 16 == 0);
    dp_exchange *ex = dp_alloc(1, sizeof *ex);
    ex->shared = shared;
    ex->floats = floats;
    ex->tree = tree;
    ex->scalars = dp_alloc(ranks, sizeof *ex->scalars);
    ex->ranges = dp_alloc(ranks, sizeof *ex->ranges);
    ex->nranges = dp_alloc(ranks, sizeof *ex->nranges);
    ex->partials = dp_alloc(ranks * DP_MAX_PARTIALS, sizeof *ex->partials);
    ex->merges = dp_alloc(ranks * DP_MAX_PARTIALS, sizeof *ex->merges);
    ex->proxy = dp_alloc(ranks, sizeof *ex->proxy);
    ex->peer = dp_alloc((size_t)shared->domains, sizeof *ex->peer);
    int rank = shared->comm->rank;
    for (int r = 0; r < shared->comm->size; r++) {
        ex->proxy[r] = proxy_of(shared, shared->domain_of[rank], r);
    }
    for (int d = 0; d < shared->domains; d++) {
        ex->peer[d] = proxy_of(shared, d, rank);
    }
    return ex;
}

void dp_exchange_destroy(dp_exchange **exchange) {
    dp_exchange *ex = *exchange;
    if (ex) {
        free(ex->scalars);
        free(ex->ranges);
        free(ex->nranges);
        free(ex->partials);
        free(ex->merges);
        free(ex->proxy);
        free(ex->peer);
        free(ex->request);
        dp_memory_free(&ex->recvbuf);
        free(ex);
    }
    *exchange = NULL;
}

static size_t slice_of(const dp_exchange *ex, int rank) {
    return ex->bound[rank + 1] - ex->bound[rank];
}

/* The schedule: which ranges each rank has follows from the number of blocks alone,
 * without messages. */
static void schedule(dp_exchange *ex, int blocks) {
    if (ex->blocks == blocks) {
        return;
    }
    int ranks = ex->shared->comm->size;
    for (int r = 0; r < ranks; r++) {
        ex->nranges[r] = dp_tree_partition(blocks, ranks, r, INT_MAX, NULL);
        assert(ex->nranges[r] <= DP_MAX_PARTIALS);
        dp_tree_partition(blocks, ranks, r, INT_MAX, ex->ranges[r]);
    }
    ex->blocks = blocks;
}

static void post(dp_exchange *ex, bool send, char *data, size_t bytes, int peer,
                 int tag) {
    /* Messages below MPI's eager limit, which need no rendezvous with the receiver. Long
     * ones are cut into larger messages, enough of them to hide the handshakes. MPI
     * counts are int. */
    enum { EAGER = 60 << 10, MESSAGES = 64, LARGEST = 1 << 30 };
    size_t max_bytes = bytes / MESSAGES < EAGER ? EAGER : bytes / MESSAGES;
    max_bytes = max_bytes < LARGEST ? max_bytes : LARGEST;
    MPI_Comm world = ex->shared->comm->world;
    while (bytes > 0) {
        if (ex->requests == ex->max_requests) {
            ex->max_requests = 2 * ex->max_requests + 64;
            size_t n = (size_t)ex->max_requests;
            ex->request = dp_realloc(ex->request, n, sizeof *ex->request);
        }
        MPI_Request *request = &ex->request[ex->requests++];
        int n = (int)(bytes < max_bytes ? bytes : max_bytes);
        if (send) {
            MPI_Isend(data, n, MPI_BYTE, peer, tag, world, request);
        } else {
            MPI_Irecv(data, n, MPI_BYTE, peer, tag, world, request);
        }
        data += n;
        bytes -= (size_t)n;
    }
}

static void complete(dp_exchange *ex) {
    dp_comm_wait_all(ex->shared->comm, ex->requests, ex->request,
                     "the gradients' exchange");
    ex->requests = 0;
}

/* Merges all siblings among the partials of a domain; what is left is in `merged`, and
 * their number is returned. In my own domain the floats [at, at + n) of the slabs are
 * merged too, and merged[].slice is where they are. */
static int merge_domain(const dp_exchange *ex, int domain, size_t at, size_t n,
                        partial *merged) {
    const dp_shared *s = ex->shared;
    bool mine = domain == s->domain_of[s->comm->rank];
    dp_tree_walk walk;
    dp_tree_begin(&walk, ex->blocks);
    for (int r = 0; r < s->comm->size; r++) {
        for (int k = 0; s->domain_of[r] == domain && k < ex->nranges[r]; k++) {
            int top = walk.depth;
            merged[top].slice = mine ? slab_of(ex, s->member_of[r], k) + at : NULL;
            for (int m = dp_tree_push(&walk, ex->ranges[r][k]); m > 0; m--, top--) {
                dp_tree_add(merged[top - 1].slice, merged[top].slice, mine ? n : 0);
            }
            assert(walk.depth < DP_TREE_DEPTH * 4);
        }
    }
    for (int v = 0; v < walk.depth; v++) {
        merged[v].range = walk.range[v];
    }
    return walk.depth;
}

static int by_range(const void *a, const void *b) {
    const partial *x = a, *y = b;
    return (x->range.a > y->range.a) - (x->range.a < y->range.a);
}

/* Between domains: sends my domain's merged partials of the slices that I am the proxy
 * for to their owners, and receives those of my slice. */
static void exchange_domains(dp_exchange *ex, bool scalars) {
    const dp_shared *s = ex->shared;
    int rank = s->comm->rank, mine = s->domain_of[rank];
    partial merged[DP_TREE_DEPTH * 4];
    size_t slice = slice_of(ex, rank), expected = 0;
    for (int d = 0; d < s->domains; d++) {
        expected += d != mine ? (size_t)merge_domain(ex, d, 0, 0, merged) : 0;
    }
    if (expected * slice > ex->recvbuf_floats) {
        dp_memory_free(&ex->recvbuf);
        void *p = NULL;
        if (dp_memory_alloc(expected * slice, sizeof(float), &p) != DP_OK) {
            dp_fatal(DP_EINTERNAL, "%s", dp_status_message());
        }
        ex->recvbuf = p;
        ex->recvbuf_floats = expected * slice;
    }
    float *recvbuf = ex->recvbuf;
    for (int d = 0; d < s->domains; d++) {
        if (d == mine) {
            continue;
        }
        int n = merge_domain(ex, d, 0, 0, merged), peer = ex->peer[d];
        for (int v = 0; v < n; v++, recvbuf += slice) {
            ex->partials[ex->npartials++] = (partial){merged[v].range, recvbuf};
            post(ex, false, (char *)recvbuf, slice * sizeof(float), peer, v);
        }
        for (int r = 0; scalars && r < s->comm->size; r++) {
            if (s->domain_of[r] == d) {
                post(ex, false, (char *)&ex->scalars[r], sizeof(dp_step_scalars), peer,
                     TAG_SCALARS + r);
            }
        }
    }
    for (int r = 0; r < s->comm->size; r++) {
        if (s->domain_of[r] == mine || ex->proxy[r] != rank) {
            continue;
        }
        size_t n = slice_of(ex, r);
        int partials = merge_domain(ex, mine, ex->bound[r], n, merged);
        for (int v = 0; v < partials; v++) {
            post(ex, true, (char *)merged[v].slice, n * sizeof(float), r, v);
        }
        for (int m = 0; scalars && m < s->members; m++) {
            post(ex, true, (char *)&ex->scalars[s->rank_of[m]], sizeof(dp_step_scalars),
                 r, TAG_SCALARS + s->rank_of[m]);
        }
    }
    complete(ex);
}

/* allreduce = mpi: a rank's partials are added here, the ranks' sums by MPI. */
static void reduce_by_mpi(dp_exchange *ex) {
    dp_comm *comm = ex->shared->comm;
    int mine = ex->nranges[comm->rank];
    float *sum = dp_exchange_slab(ex, 0);
    if (mine == 0) {
        memset(sum, 0, ex->floats * sizeof *sum);
    }
    for (int k = 1; k < mine; k++) {
        dp_tree_add(sum, dp_exchange_slab(ex, k), ex->floats);
    }
    MPI_Request request[2];
    MPI_Iallreduce(MPI_IN_PLACE, sum, (int)ex->floats, MPI_FLOAT, MPI_SUM, comm->world,
                   &request[0]);
    MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, ex->scalars,
                   sizeof(dp_step_scalars), MPI_BYTE, comm->world, &request[1]);
    dp_comm_wait_all(comm, 2, request, "MPI_Iallreduce");
    ex->partials[0] = (partial){{0, ex->blocks}, sum + ex->bound[comm->rank]};
    ex->npartials = 1;
}

/* The batch's loss along the tree over all ranks' ranges, which are in the order of the
 * ranks; and the sum of the stop requests. */
static double reduce_scalars(const dp_exchange *ex, dp_step_scalars *scalars) {
    double stack[DP_TREE_DEPTH * 4] = {0};
    dp_tree_walk walk;
    dp_tree_begin(&walk, ex->blocks);
    scalars->stop = 0;
    for (int r = 0; r < ex->shared->comm->size; r++) {
        for (int k = 0; k < ex->nranges[r]; k++) {
            int top = walk.depth;
            stack[top] = ex->scalars[r].loss[k];
            for (int m = dp_tree_push(&walk, ex->ranges[r][k]); m > 0; m--, top--) {
                stack[top - 1] += stack[top];
            }
        }
        scalars->stop += ex->scalars[r].stop;
    }
    assert(walk.depth == 1);
    return stack[0];
}

double dp_exchange_reduce(dp_exchange *ex, const size_t *bound, int blocks,
                          dp_step_scalars *scalars) {
    dp_shared *s = ex->shared;
    int rank = s->comm->rank;
    schedule(ex, blocks);
    ex->bound = bound;
    ex->npartials = 0;
    if (scalars) {
        memcpy(s->own[s->me], scalars, sizeof *scalars);
        ex->scalars[rank] = *scalars;
    }
    if (!ex->tree) {
        assert(scalars && bound[0] == 0 && bound[s->comm->size] == ex->floats);
        reduce_by_mpi(ex);
        return reduce_scalars(ex, scalars);
    }
    dp_shared_barrier(s);
    for (int m = 0; m < s->members; m++) {
        int r = s->rank_of[m];
        if (scalars) {
            memcpy(&ex->scalars[r], s->own[m], sizeof *scalars);
        }
        for (int k = 0; k < ex->nranges[r]; k++) {
            ex->partials[ex->npartials++] =
                (partial){ex->ranges[r][k], slab_of(ex, m, k) + ex->bound[rank]};
        }
    }
    if (s->domains > 1) {
        exchange_domains(ex, scalars != NULL);
        qsort(ex->partials, (size_t)ex->npartials, sizeof(partial), by_range);
    }
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    for (int v = 0; v < ex->npartials; v++) {
        ex->merges[v] = dp_tree_push(&walk, ex->partials[v].range);
    }
    assert(walk.depth == 1);
    return scalars ? reduce_scalars(ex, scalars) : 0;
}

const float *dp_exchange_sum(dp_exchange *ex, size_t begin, size_t end) {
    size_t offset = begin - ex->bound[ex->shared->comm->rank], n = end - begin;
    float *stack[DP_TREE_DEPTH * 4];
    int depth = 0;
    for (int v = 0; v < ex->npartials; v++) {
        stack[depth++] = ex->partials[v].slice + offset;
        for (int m = ex->tree ? ex->merges[v] : 0; m > 0; m--, depth--) {
            dp_tree_add(stack[depth - 2], stack[depth - 1], n);
        }
    }
    assert(depth == 1);
    return stack[0];
}

void dp_exchange_gather(dp_exchange *ex, int n, const dp_slices *arrays) {
    dp_shared *s = ex->shared;
    int rank = s->comm->rank, mine = s->domain_of[rank];
    for (int r = 0; s->domains > 1 && r < s->comm->size; r++) {
        if (s->domain_of[r] == mine) {
            continue;
        }
        /* r's slices are received by its proxy in my domain; mine go to one rank of each
         * domain. */
        bool receives = ex->proxy[r] == rank;
        bool sends = ex->peer[s->domain_of[r]] == r;
        for (int a = 0; a < n; a++) {
            char *base = arrays[a].base;
            size_t size = arrays[a].size;
            const size_t *bound = arrays[a].bound;
            if (receives) {
                post(ex, false, base + bound[r] * size, (bound[r + 1] - bound[r]) * size,
                     r, a);
            }
            if (sends) {
                post(ex, true, base + bound[rank] * size,
                     (bound[rank + 1] - bound[rank]) * size, r, a);
            }
        }
    }
    complete(ex);
    dp_shared_barrier(s);
}
