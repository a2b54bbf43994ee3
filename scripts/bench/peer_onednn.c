/* oneDNN on the step's GEMM shapes: its matmul, with the layouts that it likes best for
 * the weights; they are reordered beforehand. */
#include "peer.h"
#include <oneapi/dnnl/dnnl.h>

static void must(dnnl_status_t status) {
    if (status != dnnl_success) {
        fprintf(stderr, "oneDNN failed with %d\n", status);
        exit(1);
    }
}

static struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t product;
    dnnl_memory_t a, b, c;
} now;

static dnnl_memory_desc_t matrix(int rows, int columns, int transposed) {
    dnnl_memory_desc_t d;
    dnnl_dims_t dims = {rows, columns};
    must(dnnl_memory_desc_init_by_tag(&d, 2, dims, dnnl_f32,
                                      transposed ? dnnl_ba : dnnl_ab));
    return d;
}

static void prepare(problem *p, int kind, int threads) {
    omp_set_num_threads(threads);
    if (!now.engine) {
        must(dnnl_engine_create(&now.engine, dnnl_cpu, 0));
        must(dnnl_stream_create(&now.stream, now.engine, dnnl_stream_default_flags));
    }
    if (now.product) {
        dnnl_primitive_destroy(now.product);
        dnnl_memory_destroy(now.a), dnnl_memory_destroy(now.b),
            dnnl_memory_destroy(now.c);
    }
    int m = kind == DWEIGHT ? p->O : p->N, n = kind == FORWARD ? p->O : p->I;
    int k = kind == FORWARD ? p->I : kind == DINPUT ? p->O : p->N;
    dnnl_memory_desc_t a = matrix(m, k, kind == DWEIGHT), c = matrix(m, n, 0);
    dnnl_memory_desc_t plain_b = matrix(k, n, kind == FORWARD), best_b;
    dnnl_dims_t dims = {k, n};
    must(dnnl_memory_desc_init_by_tag(&best_b, 2, dims, dnnl_f32, dnnl_format_tag_any));
    dnnl_matmul_desc_t op;
    must(dnnl_matmul_desc_init(&op, &a, &best_b, NULL, &c));
    dnnl_primitive_desc_t pd;
    must(dnnl_primitive_desc_create(&pd, &op, NULL, now.engine, NULL));
    const dnnl_memory_desc_t *b =
        dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    must(dnnl_primitive_create(&now.product, pd));
    float *from_a = kind == FORWARD ? p->X : p->dY,
          *from_b = kind == DWEIGHT ? p->X : p->W;
    must(dnnl_memory_create(&now.a, &a, now.engine, from_a));
    must(dnnl_memory_create(&now.b, b, now.engine, DNNL_MEMORY_ALLOCATE));
    must(dnnl_memory_create(&now.c, &c, now.engine, p->out));
    dnnl_memory_t source;
    must(dnnl_memory_create(&source, &plain_b, now.engine, from_b));
    dnnl_primitive_desc_t how;
    dnnl_primitive_t reorder;
    must(dnnl_reorder_primitive_desc_create(&how, &plain_b, now.engine, b, now.engine,
                                            NULL));
    must(dnnl_primitive_create(&reorder, how));
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, now.b}};
    must(dnnl_primitive_execute(reorder, now.stream, 2, args));
    must(dnnl_stream_wait(now.stream));
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(how);
    dnnl_primitive_desc_destroy(pd);
    dnnl_memory_destroy(source);
}

static void multiply(problem *p, int kind, int threads, int calls) {
    (void)p;
    (void)kind;
    (void)threads;
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, now.a}, {DNNL_ARG_WEIGHTS, now.b}, {DNNL_ARG_DST, now.c}};
    for (int c = 0; c < calls; c++) {
        must(dnnl_primitive_execute(now.product, now.stream, 3, args));
    }
}

static float element(const problem *p, int kind, int row, int column) {
    return p->out[(size_t)row * (kind == FORWARD ? p->O : p->I) + column];
}

int main(int argc, char **argv) {
    table("oneDNN", false, argc > 1 ? atof(argv[1]) : 0.05);
    return 0;
}
