/* What a message costs between hosts, for scripts/bench/hosts.py, which builds it. Rank r
 * talks to rank ranks-1-r, all pairs at once, as in an exchange. Prints for rank 0:
 * seconds of a 1-byte message one way, seconds from one small message to the next of
 * many, and bytes/s each way of large messages both ways at once; of several rounds the
 * best, as others' work only adds. */
#include <mpi.h>
#include <stdio.h>

enum { ROUNDS = 10, PINGS = 100, WINDOW = 64, SMALL = 64, LARGE = 1 << 18 };

static char out[LARGE], in[LARGE];
static int me, peer;

static void ping(void) {
    for (int i = 0; i < PINGS; i++) {
        if (me < peer) {
            MPI_Send(out, 1, MPI_BYTE, peer, 0, MPI_COMM_WORLD);
        }
        MPI_Recv(in, 1, MPI_BYTE, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (me > peer) {
            MPI_Send(out, 1, MPI_BYTE, peer, 0, MPI_COMM_WORLD);
        }
    }
}

static void flood(void) {
    MPI_Request request[2 * WINDOW];
    for (int k = 0; k < WINDOW; k++) {
        MPI_Irecv(in + k * SMALL, SMALL, MPI_BYTE, peer, k, MPI_COMM_WORLD, &request[k]);
    }
    for (int k = 0; k < WINDOW; k++) {
        MPI_Isend(out + k * SMALL, SMALL, MPI_BYTE, peer, k, MPI_COMM_WORLD,
                  &request[WINDOW + k]);
    }
    MPI_Waitall(2 * WINDOW, request, MPI_STATUSES_IGNORE);
}

static int messages = 1;

static void stream(void) {
    for (int i = 0; i < messages; i++) {
        MPI_Sendrecv(out, LARGE, MPI_BYTE, peer, 1, in, LARGE, MPI_BYTE, peer, 1,
                     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
}

static double seconds(void (*work)(void)) {
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    work();
    return MPI_Wtime() - start;
}

static double best(void (*work)(void)) {
    double least = seconds(work);
    for (int i = 1; i < ROUNDS; i++) {
        double t = seconds(work);
        least = t < least ? t : least;
    }
    return least;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int ranks = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    peer = ranks - 1 - me;
    if (ranks % 2 == 0) {
        seconds(ping); /* connects */
        double latency = best(ping) / PINGS / 2, gap = best(flood) / WINDOW;
        /* Rounds of 0.1 s and more, in which a limit's allowance at once counts
         * little. */
        for (int more = 1; more;) {
            more = seconds(stream) < 0.1;
            MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD);
            messages *= more ? 2 : 1;
        }
        double bytes = (double)messages * LARGE / best(stream);
        if (me == 0) {
            printf("%.9f %.9f %.0f\n", latency, gap, bytes);
        }
    }
    MPI_Finalize();
    return 0;
}
