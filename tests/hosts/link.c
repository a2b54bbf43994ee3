/* What a message costs between the first and the last rank, for scripts/bench/hosts.py, which
 * builds it. Prints seconds of a 1-byte message one way, seconds from one small message to the
 * next of many, and bytes/s each way of large messages both ways at once. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 2000, WINDOW = 64, MANY = 50, SMALL = 64, LARGE = 1 << 20 };

static char out[LARGE], in[LARGE];

static double latency(int me, int peer) {
    double start = MPI_Wtime();
    for (int i = 0; i < ROUNDS; i++) {
        if (me == 0) {
            MPI_Send(out, 1, MPI_BYTE, peer, 0, MPI_COMM_WORLD);
        }
        MPI_Recv(in, 1, MPI_BYTE, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (me != 0) {
            MPI_Send(out, 1, MPI_BYTE, peer, 0, MPI_COMM_WORLD);
        }
    }
    return (MPI_Wtime() - start) / ROUNDS / 2;
}

/* Many messages under way, both ways, as in an exchange of all with all. */
static double gap(int peer) {
    double start = MPI_Wtime();
    for (int i = 0; i < MANY; i++) {
        MPI_Request request[2 * WINDOW];
        for (int k = 0; k < WINDOW; k++) {
            MPI_Irecv(in + k * SMALL, SMALL, MPI_BYTE, peer, k, MPI_COMM_WORLD,
                      &request[k]);
            MPI_Isend(out + k * SMALL, SMALL, MPI_BYTE, peer, k, MPI_COMM_WORLD,
                      &request[WINDOW + k]);
        }
        MPI_Waitall(2 * WINDOW, request, MPI_STATUSES_IGNORE);
    }
    return (MPI_Wtime() - start) / MANY / WINDOW;
}

/* At least `seconds` long; the first rank says when it is enough. */
static double bandwidth(int me, int peer, double seconds) {
    double start = MPI_Wtime();
    long rounds = 0;
    int go = 1;
    while (go) {
        MPI_Sendrecv(out, LARGE, MPI_BYTE, peer, 1, in, LARGE, MPI_BYTE, peer, 1,
                     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        rounds++;
        go = MPI_Wtime() - start < seconds;
        if (me == 0) {
            MPI_Send(&go, 1, MPI_INT, peer, 2, MPI_COMM_WORLD);
        } else {
            MPI_Recv(&go, 1, MPI_INT, peer, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        }
    }
    return (double)rounds * LARGE / (MPI_Wtime() - start);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int me = 0, ranks = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (ranks > 1 && (me == 0 || me == ranks - 1)) {
        int peer = me == 0 ? ranks - 1 : 0;
        latency(me, peer); /* connects */
        double one_way = latency(me, peer), next = gap(peer);
        bandwidth(me, peer, 0.3); /* a limit's allowance of bytes at once is used up */
        double bytes = bandwidth(me, peer, 1);
        if (me == 0) {
            printf("%.9f %.9f %.0f\n", one_way, next, bytes);
        }
    }
    MPI_Finalize();
    return 0;
}
