#include "run/doctor.h"
#include "base/log.h"
#include "step/step.h"

static const char *many(int n) {
    return n == 1 ? "" : "s";
}

/* Binding: threads that a mask squeezes onto fewer cores, or cores that it leaves idle. */
static bool bound_too_narrow(const dp_session *s, int ranks_here) {
    int allowed = dp_comm_allowed_cores(s->comm);
    int mask = dp_comm_mask_cores(s->comm);
    int squeezed = (int)dp_comm_max(s->comm, s->threads > mask && mask < allowed);
    if (squeezed) {
        dp_warn(
            "%d thread%s of a rank share%s %d core%s, because the launcher binds each "
            "rank to "
            "so many: add --bind-to none to mpirun (or --map-by slot:PE=%d; with srun "
            "--cpus-per-task=%d), or set parallel.threads=%d",
            s->threads, many(s->threads), s->threads == 1 ? "s" : "", mask, many(mask),
            s->threads, s->threads, mask);
        return true;
    }
    if (mask < allowed / ranks_here && s->threads * ranks_here < allowed) {
        dp_warn(
            "%d of %d cores are idle, because the launcher binds each rank to %d: add "
            "--bind-to none to mpirun (or --map-by slot:PE=%d)",
            allowed - s->threads * ranks_here, allowed, mask, allowed / ranks_here);
    }
    return false;
}

/* OpenMP binds the threads of each rank from the first of its cores on. Where ranks have the same ones,
 * they meet on the first. */
static bool bound_together(const dp_session *s, int ranks_here, int cores) {
    int first = dp_comm_first_cores(s->comm);
    int together = first < (ranks_here < cores ? ranks_here : cores);
    if (dp_comm_max(s->comm, together) > 0) {
        dp_warn("OMP_PROC_BIND or OMP_PLACES binds threads of %d ranks to the same %d "
                "core%s: unset "
                "both, or bind ranks to cores of their own (mpirun --map-by slot:PE=%d)",
                ranks_here, first, many(first), s->threads);
        return true;
    }
    return false;
}

static void look_at_crowding(const dp_session *s, int ranks_here, int cores) {
    if (!dp_comm_crowded(s->comm)) {
        return;
    }
    int fit = cores / ranks_here;
    if (ranks_here == 1) {
        dp_warn("%d threads on %d core%s: set parallel.threads=%d", s->threads, cores,
                many(cores), cores);
        return;
    }
    if (s->threads > 1) {
        dp_warn("%d ranks x %d threads on %d core%s: set parallel.threads=%d, or start "
                "fewer ranks",
                ranks_here, s->threads, cores, many(cores), fit > 1 ? fit : 1);
    } else {
        dp_warn("%d ranks on %d core%s take turns: mpirun -np %d is faster here",
                ranks_here, cores, many(cores), cores);
    }
    if (!dp_comm_yields()) {
        dp_warn("waiting ranks keep shared cores busy: export "
                "OMPI_MCA_mpi_yield_when_idle=1");
    }
}

static void look_at_blocks(const dp_session *s, int ranks) {
    int idle = 0, block = (int)s->config.parallel.block;
    double uneven = dp_step_unevenness(s->batch, block, ranks, &idle);
    int blocks = (s->batch + block - 1) / block;
    if (idle > 0) {
        dp_warn("%d of %d ranks have no samples: a batch of %d is %d block%s of %d; "
                "start at most "
                "%d ranks, or raise train.batch_size",
                idle, ranks, s->batch, blocks, many(blocks), block, blocks);
    } else if (uneven > 1.001) {
        dp_log("        %d blocks on %d ranks: the busiest computes %.2f times its even "
               "share",
               blocks, ranks, uneven);
    }
}

void dp_doctor(const dp_session *s) {
    int ranks = dp_comm_size(s->comm), nodes = dp_comm_nodes(s->comm);
    int ranks_here = dp_comm_node_size(s->comm), cores = dp_comm_node_cores(s->comm);
    double all_cores[1] = {(double)cores / ranks_here};
    dp_comm_sum(s->comm, all_cores, 1);
    int total = (int)(all_cores[0] + 0.5);
    dp_log("launch  %d rank%s x %d thread%s on %d node%s, %d core%s, %s kernels", ranks,
           many(ranks), s->threads, many(s->threads), nodes, many(nodes), total,
           many(total), s->set->name);
    if (!bound_too_narrow(s, ranks_here) && !bound_together(s, ranks_here, cores)) {
        look_at_crowding(s, ranks_here, cores);
    }
    look_at_blocks(s, ranks);
}
