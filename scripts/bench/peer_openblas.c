/* OpenBLAS on the step's GEMM shapes. */
#include <cblas.h>
#undef I /* of complex.h, which cblas.h brings */
#include "peer.h"

static void prepare(problem *p, int kind, int threads) {
    (void)p;
    (void)kind;
    openblas_set_num_threads(threads);
}

static void multiply(problem *p, int kind, int threads, int calls) {
    (void)threads;
    for (int c = 0; c < calls; c++) {
        if (kind == FORWARD) {
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->N, p->O, p->I, 1,
                        p->X, p->I, p->W, p->I, 0, p->out, p->O);
        } else if (kind == DINPUT) {
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, p->N, p->I, p->O, 1,
                        p->dY, p->O, p->W, p->I, 0, p->out, p->I);
        } else {
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, p->O, p->I, p->N, 1,
                        p->dY, p->O, p->X, p->I, 0, p->out, p->I);
        }
    }
}

static float element(const problem *p, int kind, int row, int column) {
    return p->out[(size_t)row * (kind == FORWARD ? p->O : p->I) + column];
}

int main(int argc, char **argv) {
    table("OpenBLAS", false, argc > 1 ? atof(argv[1]) : 0.05);
    return 0;
}
