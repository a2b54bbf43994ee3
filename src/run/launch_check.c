/* The launch check: binding, oversubscription, balance. */
#include "run/launch_check.h"
#include "base/log.h"
#include "step/step.h"

static const char *plural(int n) {
    return n == 1 ? "" : "s";
}

/* Binding: threads that share fewer cores because of an affinity mask, or cores that it
 * leaves idle. */
static bool check_binding(const dp_session *s, int ranks_here) {
    int allowed = dp_comm_topology(s->comm)->allowed_cores;
    int mask = dp_comm_topology(s->comm)->bound_cores;
    int oversubscribed = (int)dp_comm_max(s->comm, s->threads > mask && mask < allowed);
    if (oversubscribed) {
        dp_warn("%d thread%s of a rank share%s %d core%s, because the launcher binds "
                "each rank to so many: add --bind-to none to mpirun (or --map-by "
                "slot:PE=%d; with srun --cpus-per-task=%d), or set parallel.threads=%d",
                s->threads, plural(s->threads), s->threads == 1 ? "s" : "", mask,
                plural(mask), s->threads, s->threads, mask);
        return true;
    }
    if (mask < allowed / ranks_here && s->threads * ranks_here < allowed) {
        dp_warn("%d of %d cores are idle, because the launcher binds each rank to %d: "
                "add --bind-to none to mpirun (or --map-by slot:PE=%d)",
                allowed - s->threads * ranks_here, allowed, mask, allowed / ranks_here);
    }
    return false;
}

/* OpenMP binds the threads of each rank from the first of its cores on: ranks that have
 * the same cores share the first of them. */
static bool bound_together(const dp_session *s, int ranks_here, int cores) {
    int first = dp_comm_topology(s->comm)->first_cores;
    int together = first < (ranks_here < cores ? ranks_here : cores);
    if (dp_comm_max(s->comm, together) > 0) {
        dp_warn("OMP_PROC_BIND or OMP_PLACES binds threads of %d ranks to the same %d "
                "core%s: unset both, or bind ranks to cores of their own (mpirun "
                "--map-by slot:PE=%d)",
                ranks_here, first, plural(first), s->threads);
        return true;
    }
    return false;
}

static void check_oversubscription(const dp_session *s, int ranks_here, int cores) {
    if (!dp_comm_topology(s->comm)->oversubscribed) {
        return;
    }
    int fit = cores / ranks_here;
    if (ranks_here == 1) {
        dp_warn("%d threads on %d core%s: set parallel.threads=%d", s->threads, cores,
                plural(cores), cores);
        return;
    }
    if (s->threads > 1) {
        dp_warn("%d ranks x %d threads on %d core%s: set parallel.threads=%d, or start "
                "fewer ranks",
                ranks_here, s->threads, cores, plural(cores), fit > 1 ? fit : 1);
    } else {
        dp_warn("%d ranks on %d core%s take turns: mpirun -np %d is faster here",
                ranks_here, cores, plural(cores), cores);
    }
    if (!dp_comm_yields_when_idle()) {
        dp_warn("waiting ranks keep shared cores busy: export "
                "OMPI_MCA_mpi_yield_when_idle=1");
    }
}

static void check_balance(const dp_session *s, int ranks) {
    int idle = 0, block = (int)s->config.parallel.block;
    double uneven = dp_step_imbalance(s->batch, block, ranks, &idle);
    int blocks = (s->batch + block - 1) / block;
    if (idle > 0) {
        dp_warn("%d of %d ranks have no samples: a batch of %d is %d block%s of %d; "
                "start at most %d ranks, or raise train.batch_size",
                idle, ranks, s->batch, blocks, plural(blocks), block, blocks);
    } else if (uneven > 1.001) {
        dp_log("        %d blocks on %d ranks: the busiest computes %.2f times its even "
               "share",
               blocks, ranks, uneven);
    }
}

void dp_launch_check(const dp_session *s) {
    const dp_topology *topology = dp_comm_topology(s->comm);
    int ranks = dp_comm_size(s->comm), nodes = topology->nodes;
    int ranks_here = topology->node_size, cores = topology->node_cores;
    double all_cores[1] = {(double)cores / ranks_here};
    dp_comm_sum(s->comm, all_cores, 1);
    int total = (int)(all_cores[0] + 0.5);
    dp_log("launch  %d rank%s x %d thread%s on %d node%s, %d core%s, %s kernels", ranks,
           plural(ranks), s->threads, plural(s->threads), nodes, plural(nodes), total,
           plural(total), s->set->name);
    if (!check_binding(s, ranks_here) && !bound_together(s, ranks_here, cores)) {
        check_oversubscription(s, ranks_here, cores);
    }
    check_balance(s, ranks);
}
