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
    int merges; /* that follow it in the tree's evaluation */
} partial;

typedef struct peer {
    dp_range range[DP_MAX_PARTIALS]; /* its partials in a batch of `blocks` */
    int nranges;
    int proxy; /* the member of my domain that exchanges with it, if it is of another */
} peer;

struct dp_exchange {
    dp_shared *shared;
    size_t floats;
    bool tree;
    const size_t *bound;      /* [ranks+1] of this exchange; owner: the caller */
    dp_step_scalars *scalars; /* [ranks] of the step */
    peer *peer;               /* [ranks] */
    int blocks;               /* of the batch that peer[].range is for */
    int *proxy_there;  /* [domains] the member of domain d that exchanges with me */
    partial *partials; /* of my slice, in the tree's order */
    int npartials;
    float *recvbuf; /* partials of my slice from other domains */
    size_t recvbuf_floats;
    MPI_Request *request;
    int requests, max_requests;
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

static int my_domain(const dp_exchange *ex) {
    return ex->shared->domain_of[ex->shared->comm->rank];
}

/* Which ranges each rank has follows from the number of blocks alone, without
 * messages. */
static void schedule(dp_exchange *ex, int blocks) {
    int ranks = ex->shared->comm->size;
    if (ex->blocks == blocks) {
        return;
    }
    for (int r = 0; r < ranks; r++) {
        peer *p = &ex->peer[r];
        p->nranges = dp_tree_partition(blocks, ranks, r, INT_MAX, p->range);
        assert(p->nranges < DP_MAX_PARTIALS);
    }
    ex->blocks = blocks;
}

/* The ranges of a domain's partials after all siblings among them are merged; walk->depth
 * is their number. */
static void merge_ranges(const dp_exchange *ex, int domain, dp_tree_walk *walk) {
    const dp_shared *s = ex->shared;
    dp_tree_begin(walk, ex->blocks);
    for (int r = 0; r < s->comm->size; r++) {
        for (int k = 0; s->domain_of[r] == domain && k < ex->peer[r].nranges; k++) {
            dp_tree_push(walk, ex->peer[r].range[k]);
        }
    }
}

/* Merges my domain's partials likewise, of each the floats [at, at + n) of its slab.
 * merged[v] is where the v-th one that is left has them; returns their number. */
static int merge_own(const dp_exchange *ex, size_t at, size_t n,
                     float *merged[DP_TREE_DEPTH * 4]) {
    const dp_shared *s = ex->shared;
    dp_tree_walk walk;
    dp_tree_begin(&walk, ex->blocks);
    for (int m = 0; m < s->members; m++) {
        const peer *p = &ex->peer[s->rank_of[m]];
        for (int k = 0; k < p->nranges; k++) {
            int top = walk.depth, merges = dp_tree_push(&walk, p->range[k]);
            merged[top] = slab_of(ex, m, k) + at;
            for (; merges > 0; merges--, top--) {
                dp_tree_add(merged[top - 1], merged[top], n);
            }
        }
    }
    return walk.depth;
}

/* How many partials of my slice come from other domains. */
static size_t count_received(const dp_exchange *ex) {
    const dp_shared *s = ex->shared;
    dp_tree_walk walk;
    size_t n = 0;
    for (int d = 0; d < s->domains; d++) {
        if (d != my_domain(ex)) {
            merge_ranges(ex, d, &walk);
            n += (size_t)walk.depth;
        }
    }
    return n;
}

static dp_status set_up(dp_exchange *ex, size_t slice) {
    const dp_shared *s = ex->shared;
    int ranks = s->comm->size;
    ex->scalars = dp_alloc((size_t)ranks, sizeof *ex->scalars);
    ex->peer = dp_alloc((size_t)ranks, sizeof *ex->peer);
    ex->proxy_there = dp_alloc((size_t)s->domains, sizeof *ex->proxy_there);
    ex->partials = dp_alloc((size_t)ranks * DP_MAX_PARTIALS, sizeof *ex->partials);
    for (int r = 0; r < ranks; r++) {
        ex->peer[r].proxy = proxy_of(s, my_domain(ex), r);
    }
    for (int d = 0; d < s->domains; d++) {
        ex->proxy_there[d] = proxy_of(s, d, s->comm->rank);
    }
    /* With so many blocks no node that a rank owns is empty: no batch has more
     * partials. */
    schedule(ex, 4 * ranks);
    ex->recvbuf_floats = ex->tree ? count_received(ex) * slice : 0;
    return dp_memory_alloc(ex->recvbuf_floats, sizeof(float), (void **)&ex->recvbuf);
}

dp_status dp_exchange_create(dp_shared *shared, size_t floats, size_t slice, bool tree,
                             dp_exchange **out) {
    assert(floats <= INT_MAX && floats % 16 == 0);
    dp_exchange *ex = dp_alloc(1, sizeof *ex);
    ex->shared = shared;
    ex->floats = floats;
    ex->tree = tree;
    dp_status status = set_up(ex, slice);
    if (status != DP_OK) {
        dp_exchange_destroy(&ex);
    }
    *out = ex;
    return status;
}

void dp_exchange_destroy(dp_exchange **exchange) {
    dp_exchange *ex = *exchange;
    if (ex) {
        free(ex->scalars);
        free(ex->peer);
        free(ex->proxy_there);
        free(ex->partials);
        free(ex->request);
        dp_memory_free(&ex->recvbuf);
        free(ex);
    }
    *exchange = NULL;
}

static size_t slice_of(const dp_exchange *ex, int rank) {
    return ex->bound[rank + 1] - ex->bound[rank];
}

static void post(dp_exchange *ex, bool send, char *data, size_t bytes, int rank,
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
            MPI_Isend(data, n, MPI_BYTE, rank, tag, world, request);
        } else {
            MPI_Irecv(data, n, MPI_BYTE, rank, tag, world, request);
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

static int by_range(const void *a, const void *b) {
    const partial *x = a, *y = b;
    return (x->range.a > y->range.a) - (x->range.a < y->range.a);
}

/* Between domains: sends my domain's merged partials of the slices that I am the proxy
 * for to their owners, and receives those of my slice. */
static void exchange_domains(dp_exchange *ex, bool scalars) {
    const dp_shared *s = ex->shared;
    int rank = s->comm->rank, mine = my_domain(ex);
    dp_tree_walk walk;
    float *merged[DP_TREE_DEPTH * 4];
    size_t slice = slice_of(ex, rank);
    assert(count_received(ex) * slice <= ex->recvbuf_floats);
    float *recvbuf = ex->recvbuf;
    for (int d = 0; d < s->domains; d++) {
        if (d == mine) {
            continue;
        }
        int there = ex->proxy_there[d];
        merge_ranges(ex, d, &walk);
        for (int v = 0; v < walk.depth; v++, recvbuf += slice) {
            ex->partials[ex->npartials++] =
                (partial){.range = walk.range[v], .slice = recvbuf};
            post(ex, false, (char *)recvbuf, slice * sizeof(float), there, v);
        }
        for (int r = 0; scalars && r < s->comm->size; r++) {
            if (s->domain_of[r] == d) {
                post(ex, false, (char *)&ex->scalars[r], sizeof(dp_step_scalars), there,
                     TAG_SCALARS + r);
            }
        }
    }
    for (int r = 0; r < s->comm->size; r++) {
        if (s->domain_of[r] == mine || ex->peer[r].proxy != rank) {
            continue;
        }
        size_t n = slice_of(ex, r);
        int partials = merge_own(ex, ex->bound[r], n, merged);
        for (int v = 0; v < partials; v++) {
            post(ex, true, (char *)merged[v], n * sizeof(float), r, v);
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
    int mine = ex->peer[comm->rank].nranges;
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
    ex->partials[0] = (partial){.slice = sum + ex->bound[comm->rank]};
    ex->npartials = 1;
}

/* The batch's loss along the tree over all ranks' ranges, which are in the order of the
 * ranks; and the sums of correct predictions (integers: exact) and stop requests. */
static double reduce_scalars(const dp_exchange *ex, dp_step_scalars *scalars) {
    double stack[DP_TREE_DEPTH * 4] = {0};
    dp_tree_walk walk;
    dp_tree_begin(&walk, ex->blocks);
    scalars->correct = scalars->stop = 0;
    for (int r = 0; r < ex->shared->comm->size; r++) {
        for (int k = 0; k < ex->peer[r].nranges; k++) {
            int top = walk.depth;
            stack[top] = ex->scalars[r].loss[k];
            dp_tree_merge_sums(stack, top, dp_tree_push(&walk, ex->peer[r].range[k]));
        }
        scalars->correct += ex->scalars[r].correct;
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
        for (int k = 0; k < ex->peer[r].nranges; k++) {
            ex->partials[ex->npartials++] =
                (partial){.range = ex->peer[r].range[k],
                          .slice = slab_of(ex, m, k) + ex->bound[rank]};
        }
    }
    if (s->domains > 1) {
        exchange_domains(ex, scalars != NULL);
        qsort(ex->partials, (size_t)ex->npartials, sizeof(partial), by_range);
    }
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    for (int v = 0; v < ex->npartials; v++) {
        ex->partials[v].merges = dp_tree_push(&walk, ex->partials[v].range);
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
        for (int m = ex->partials[v].merges; m > 0; m--, depth--) {
            dp_tree_add(stack[depth - 2], stack[depth - 1], n);
        }
    }
    assert(depth == 1);
    return stack[0];
}

/* The slice of rank `owner`, to or from rank `with`. */
static void post_slice(dp_exchange *ex, bool send, const dp_sliced_array *array,
                       int owner, int with, int tag) {
    size_t begin = array->bound[owner], end = array->bound[owner + 1];
    post(ex, send, (char *)array->base + begin * array->size, (end - begin) * array->size,
         with, tag);
}

void dp_exchange_gather(dp_exchange *ex, int n, const dp_sliced_array *arrays) {
    dp_shared *s = ex->shared;
    int rank = s->comm->rank;
    for (int r = 0; r < s->comm->size; r++) {
        if (s->domain_of[r] == my_domain(ex)) {
            continue;
        }
        /* r's slices are received by its proxy in my domain; mine go to one rank of each
         * domain. */
        bool receives = ex->peer[r].proxy == rank;
        bool sends = ex->proxy_there[s->domain_of[r]] == r;
        for (int a = 0; a < n; a++) {
            if (receives) {
                post_slice(ex, false, &arrays[a], r, r, a);
            }
            if (sends) {
                post_slice(ex, true, &arrays[a], rank, r, a);
            }
        }
    }
    complete(ex);
    dp_shared_barrier(s);
}
