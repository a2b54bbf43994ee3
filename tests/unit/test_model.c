/* The model: layers from text, tensors in the slab, and its gradients by finite
 * differences. */
#include "nn/loss.h"
#include "nn/model.h"
#include "step/batch.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static dp_model *make_on(const char *layers, dp_shape input, int outputs) {
    dp_model *model = NULL;
    dp_status s =
        dp_model_create(dp_kernels_find("auto"), layers, input, outputs, &model);
    cr_assert_eq(s, DP_OK, "%s", dp_status_message());
    return model;
}

static dp_model *make(const char *layers, int inputs, int outputs) {
    return make_on(layers, (dp_shape){inputs, 1, 1, false}, outputs);
}

Test(model, names_and_shapes_are_those_of_torch_sequential)
{
    dp_model *m = make("dense:512 relu dense:512 relu", 784, 10);
    const char *names[] = {"0.weight", "0.bias",   "2.weight",
                           "2.bias",   "4.weight", "4.bias"};
    cr_assert_eq(m->ntensors, 6);
    for (int t = 0; t < 6; t++) {
        cr_assert_str_eq(m->tensors[t].name, names[t]);
        cr_assert_eq(m->tensors[t].offset % 16, 0);
    }
    cr_assert_eq(m->tensors[4].dim[0], 10);
    cr_assert_eq(m->tensors[4].dim[1], 512);
    cr_assert_eq(m->parameters, 669706);
    cr_assert_str_eq(m->text, "dense:512 relu dense:512 relu dense:10");
    dp_model_destroy(&m);
    cr_assert_null(m);
}

Test(model, empty_layers_are_a_linear_model)
{
    dp_model *m = make("", 3, 1);
    cr_assert_eq(m->ntensors, 2);
    cr_assert_eq(m->parameters, 4);
    dp_model_destroy(&m);
}

Test(model, flatten_is_added_behind_layers_of_images_and_counted)
{
    const char *in[] = {
        "conv:4@3 relu dense:9", "relu dense:9", "dropout:0.5",
        "maxpool:2 tanh",        "layernorm",    "conv:3@8 dropout:0.1 flatten"};
    const char *out[] = {"conv:4@3 relu flatten dense:9 dense:2",
                         "relu dense:9 dense:2",
                         "dropout:0.5 dense:2",
                         "maxpool:2 tanh flatten dense:2",
                         "layernorm flatten dense:2",
                         "conv:3@8 dropout:0.1 flatten dense:2"};
    for (int i = 0; i < 6; i++) {
        dp_model *m = make_on(in[i], (dp_shape){1, 8, 8, true}, 2);
        cr_assert_str_eq(m->text, out[i]);
        for (int l = 0; l < m->nlayers; l++) {
            cr_assert_eq(m->layers[l].index, l);
        }
        dp_model_destroy(&m);
    }
}

Test(model, microbatches_are_smaller_where_activations_are_large)
{
    dp_model *mlp = make("dense:4096 relu dense:4096", 784, 10);
    dp_model *cnn = make_on("conv:24@5 relu conv:32@3", (dp_shape){1, 28, 28, true}, 10);
    cr_assert_eq(dp_net_samples(mlp, true), DP_MICROBATCH);
    cr_assert_eq(dp_net_samples(cnn, true) % DP_STRIP, 0);
    cr_assert_lt(dp_net_samples(cnn, true), DP_MICROBATCH / 2);
    dp_model_destroy(&mlp);
    dp_model_destroy(&cnn);
}

Test(model, chunks_never_cross_a_tensor)
{
    dp_model *m = make("dense:100 relu", 84, 10);
    int t = 0;
    for (int c = 0; c < m->nchunks; c++) {
        while (m->chunk[c] >= m->tensors[t].offset + m->tensors[t].count) {
            t++;
        }
        cr_assert_geq(m->chunk[c], m->tensors[t].offset);
        cr_assert_eq((m->chunk[c] - m->tensors[t].offset) % DP_CHUNK, 0);
    }
    cr_assert_eq(m->chunk[m->nchunks], m->floats);
    dp_model_destroy(&m);
}

Test(model, mistakes_in_layers_are_usage_errors_that_name_the_word)
{
    const char *bad[] = {"dense",    "dense:", "dense:x", "dense:0",
                         "dense:-3", "relu:2", "conv:3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        dp_model *m = NULL;
        dp_status s = dp_model_create(dp_kernels_find("auto"), bad[i],
                                      (dp_shape){4, 1, 1, false}, 2, &m);
        cr_assert_eq(s, DP_EUSAGE, "%s", bad[i]);
        cr_assert_null(m);
        char word[16] = {0};
        strncpy(word, bad[i], strcspn(bad[i], ":"));
        cr_assert_not_null(strstr(dp_status_message(), word), "%s: %s", bad[i],
                           dp_status_message());
    }
}

static const dp_hooks alone = {0};

static dp_pass pass_of(const dp_net *net, int N) {
    static int32_t row[64];
    for (int n = 0; n < N; n++) {
        row[n] = n;
    }
    return (dp_pass){.set = net->model->set,
                     .team = {0, 1},
                     .N = N,
                     .block = 16,
                     .training = true,
                     .seed = 7,
                     .step = 1,
                     .row = row,
                     .params = net->model->params};
}

Test(model, counts_the_floating_point_operations_of_a_step)
{
    dp_model *m = make("dense:512 relu dense:512 relu", 784, 10);
    double forward[] = {2.0 * 784 * 512, 2.0 * 512 * 512, 2.0 * 512 * 10};
    cr_assert_eq(dp_model_flops(m), 2 * forward[0] + 3 * forward[1] + 3 * forward[2]);
    dp_model_destroy(&m);
}

static double loss_of(dp_net *net, const dp_loss *loss, dp_batch *batch, int N) {
    dp_targets targets = dp_batch_targets(batch, N, 0.1F, 1);
    const dp_activation *logits = dp_net_logits(net);
    dp_net_forward(net, pass_of(net, N), &alone);
    loss->apply(net->model->set, (dp_team){0, 1}, &targets, logits->yt, logits->dzt);
    double sum = 0;
    for (int n = 0; n < N; n++) {
        sum += (double)batch->loss[n];
    }
    return sum;
}

/* Central differences of the loss sum against backward, on the largest gradients of each
 * tensor. */
static void check_gradients_on(const char *layers, const char *loss_name, dp_shape input,
                               int outputs) {
    enum { N = 21 };
    int inputs = dp_shape_size(input);
    dp_model *m = make_on(layers, input, outputs);
    dp_config config = {0};
    strcpy(config.model.init, "torch");
    config.run.seed = 5;
    cr_assert_eq(dp_model_init(m, &config), DP_OK);
    const dp_loss *loss = dp_loss_find(loss_name);
    dp_net *net = NULL;
    dp_batch *batch = NULL;
    cr_assert_eq(dp_net_create(m, N, true, &net), DP_OK);
    cr_assert_eq(dp_batch_create(N, outputs, &batch), DP_OK);
    float raw[N * 64], target[N * 8];
    int32_t label[N], row[N];
    for (int i = 0; i < N * inputs; i++) {
        raw[i] = sinf(0.7F * (float)i) * 1.5F;
    }
    for (int n = 0; n < N; n++) {
        row[n] = n;
        label[n] = (n * 5) % outputs;
        for (int o = 0; o < outputs; o++) {
            target[n * outputs + o] = (float)((n + o) % 2);
        }
    }
    dp_table table = {.n = N, .features = inputs, .raw = raw};
    table.label = loss->labels ? label : NULL;
    table.target = loss->labels ? NULL : target;
    table.ntargets = outputs;
    dp_team one = {0, 1};
    dp_scale scale = {0};
    dp_batch_load(batch, one, net, &scale, &table, row, N);
    loss_of(net, loss, batch, N);
    float *grads = aligned_alloc(64, m->floats * sizeof(float));
    dp_pass pass = pass_of(net, N);
    pass.grads = grads;
    dp_net_backward(net, pass, &alone);
    for (int t = 0; t < m->ntensors; t++) {
        const dp_tensor *tensor = &m->tensors[t];
        double worst = 0, size = 0;
        for (size_t i = 0; i < tensor->count; i++) {
            float *p = &m->params[tensor->offset + i], keep = *p;
            const float h = 4e-3F;
            *p = keep + h;
            double up = loss_of(net, loss, batch, N);
            *p = keep - h;
            double down = loss_of(net, loss, batch, N);
            *p = keep;
            double numeric = (up - down) / (2 * (double)h);
            double analytic = (double)grads[tensor->offset + i];
            worst = fmax(worst, fabs(numeric - analytic));
            size = fmax(size, fabs(analytic));
        }
        cr_assert_gt(size, 1e-3, "%s %s: the gradient is not zero", layers, tensor->name);
        cr_assert_lt(worst, 0.02 * size + 2e-3, "%s %s of %s: off by %g of %g", loss_name,
                     tensor->name, layers, worst, size);
    }
    free(grads);
    dp_batch_destroy(&batch);
    dp_net_destroy(&net);
    dp_model_destroy(&m);
}

static void check_gradients(const char *layers, const char *loss_name, int inputs,
                            int outputs) {
    check_gradients_on(layers, loss_name, (dp_shape){inputs, 1, 1, false}, outputs);
}

/* What a backward pass reports: in order, each slice once, when its gradients are
 * whole. */
typedef struct reports {
    const dp_net *net;
    const float *grads; /* NaN where nothing has been written */
    int n;
} reports;

static void look(void *context, dp_team team, const dp_slice *slice) {
    reports *r = context;
    cr_assert_eq(slice, &r->net->slice[r->n++]);
    size_t end = slice->offset + slice->count;
    for (int t = 0; t < r->net->model->ntensors; t++) {
        const dp_tensor *tensor = &r->net->model->tensors[t];
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            cr_assert(i < slice->offset || i >= end || isfinite(r->grads[i]), "%s",
                      tensor->name);
        }
    }
}

Test(net, reports_gradients_when_they_are_whole_and_makes_the_same_in_slices)
{
    enum { N = 21 };
    dp_model *m = make("tanh dense:100 relu dense:90 gelu", 130, 10);
    dp_config config = {0};
    strcpy(config.model.init, "torch");
    cr_assert_eq(dp_model_init(m, &config), DP_OK);
    dp_net *net = NULL;
    cr_assert_eq(dp_net_create(m, N, true, &net), DP_OK);
    const dp_activation *logits = dp_net_logits(net);
    for (int i = 0; i < 130 * 64; i++) {
        net->activations[0].yt[i] = sinf(0.7F * (float)i);
    }
    float *grads[3];
    for (int run = 0; run < 3; run++) {
        dp_net_cut(net, run == 0 ? 0 : 1000);
        cr_assert_eq(net->nslices, run == 0 ? 4 : 7);
        grads[run] = aligned_alloc(64, m->floats * sizeof(float));
        memset(grads[run], 0xff, m->floats * sizeof(float));
        dp_pass pass = pass_of(net, N);
        pass.grads = grads[run];
        reports r = {.net = net, .grads = grads[run]};
        dp_hooks hooks = {.context = &r, .ready = look, .gradients_first = run == 2};
        dp_net_forward(net, pass, &alone);
        memcpy(logits->dzt, logits->yt, dp_strip_floats(N, 10) * sizeof(float));
        dp_net_backward(net, pass, &hooks);
        cr_assert_eq(r.n, net->nslices);
        for (int t = 0; t < m->ntensors; t++) {
            size_t at = m->tensors[t].offset, bytes = m->tensors[t].count * sizeof(float);
            cr_assert_eq(memcmp(grads[run] + at, grads[0] + at, bytes), 0);
        }
    }
    for (int run = 0; run < 3; run++) {
        free(grads[run]);
    }
    dp_net_destroy(&net);
    dp_model_destroy(&m);
}

static const dp_tensor *tensor_of(const dp_model *m, const char *name) {
    for (int t = 0; t < m->ntensors; t++) {
        if (strcmp(m->tensors[t].name, name) == 0) {
            return &m->tensors[t];
        }
    }
    cr_assert_fail("no tensor %s", name);
    return NULL;
}

Test(freeze, keeps_the_order_of_tensors_and_gives_frozen_ones_no_chunk)
{
    dp_model *m = make("dense:80 relu dense:90 tanh", 70, 10);
    cr_assert_eq(dp_model_freeze(m, ""), DP_OK);
    cr_assert_eq(m->trained, m->parameters);
    size_t floats = m->floats;
    double flops = dp_model_flops(m);
    cr_assert_eq(dp_model_freeze(m, "0 4"), DP_OK);
    cr_assert_eq(m->floats, floats);
    cr_assert_eq(m->trained, 80 * 90 + 90);
    cr_assert_str_eq(m->tensors[0].name, "0.weight");
    cr_assert_eq(tensor_of(m, "2.weight")->offset, 0);
    cr_assert_eq(m->nchunks, 3); /* 4096 and 3104 weights, 90 biases */
    size_t end = m->chunk[m->nchunks];
    for (int t = 0; t < m->ntensors; t++) {
        bool frozen = m->tensors[t].name[0] != '2';
        cr_assert_eq(m->tensors[t].offset >= end, frozen, "%s", m->tensors[t].name);
    }
    /* forward: all; gradient: the middle; input gradient: the top */
    double middle = 2.0 * 80 * 90, top = 2.0 * 90 * 10;
    cr_assert_float_eq(dp_model_flops(m), flops - 2.0 * 70 * 80 - middle - top, 0.1);
    dp_model_destroy(&m);
}

Test(freeze, computes_no_gradient_below_the_lowest_trained_layer)
{
    enum { N = 21 };
    static const char *const frozen[] = {"", "1", "1 3", "3", "5"};
    static const int lowest[] = {1, 2, 3, 1, 1};
    for (int f = 0; f < 5; f++) {
        dp_model *m = make("tanh dense:40 relu dense:30 gelu", 50, 10);
        cr_assert_eq(dp_model_freeze(m, frozen[f]), DP_OK);
        dp_config config = {0};
        strcpy(config.model.init, "torch");
        cr_assert_eq(dp_model_init(m, &config), DP_OK);
        dp_net *net = NULL;
        cr_assert_eq(dp_net_create(m, N, true, &net), DP_OK);
        cr_assert_eq(net->lowest, lowest[f]);
        for (int i = 0; i < net->nactivations; i++) {
            cr_assert_eq(net->activations[i].dzt != NULL, i > lowest[f]);
        }
        const dp_activation *logits = dp_net_logits(net);
        for (int i = 0; i < 50 * 64; i++) {
            net->activations[0].yt[i] = sinf(0.7F * (float)i);
        }
        float *grads = aligned_alloc(64, m->floats * sizeof(float));
        memset(grads, 0xff, m->floats * sizeof(float));
        dp_pass pass = pass_of(net, N);
        pass.grads = grads;
        dp_net_forward(net, pass, &alone);
        memcpy(logits->dzt, logits->yt, dp_strip_floats(N, 10) * sizeof(float));
        dp_net_backward(net, pass, &alone);
        for (int t = 0; t < m->ntensors; t++) {
            const dp_tensor *tensor = &m->tensors[t];
            bool is = strchr(frozen[f], tensor->name[0]) != NULL;
            for (size_t i = 0; i < tensor->count; i++) {
                cr_assert_eq(isnan(grads[tensor->offset + i]) != 0, is, "%s, freeze %s",
                             tensor->name, frozen[f]);
            }
        }
        free(grads);
        dp_net_destroy(&net);
        dp_model_destroy(&m);
    }
}

Test(freeze, refuses_what_cannot_be_frozen)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"1",
         "layer 1 relu has no parameters; those with parameters are 0 dense, 2 dense"},
        {"0 3", "layer 3 does not exist; those with parameters are 0 dense, 2 dense"},
        {"2 0", "nothing is left to train; leave out one of 0 dense, 2 dense"},
    };
    for (int i = 0; i < 3; i++) {
        dp_model *m = make("dense:4 relu", 5, 2);
        cr_assert_eq(dp_model_freeze(m, cases[i].text), DP_EUSAGE);
        cr_assert_not_null(strstr(dp_status_message(), cases[i].says), "%s",
                           dp_status_message());
        dp_model_destroy(&m);
    }
}

Test(gradient, cross_entropy_matches_finite_differences)
{
    check_gradients("", "cross_entropy", 7, 5);
    check_gradients("dense:9 tanh", "cross_entropy", 7, 5);
    check_gradients("dense:9 gelu dense:6 softplus", "cross_entropy", 7, 5);
}

Test(gradient, mse_and_bce_match_finite_differences)
{
    check_gradients("dense:9 sigmoid", "mse", 4, 3);
    check_gradients("dense:6 tanh", "bce", 3, 1);
}

Test(gradient, activations_alone_and_in_a_row_match)
{
    check_gradients("tanh dense:6 tanh sigmoid", "mse", 5, 2);
    check_gradients("softplus gelu dense:4", "mse", 5, 2);
}

Test(gradient, of_every_layer_of_images_matches)
{
    dp_shape grey = {1, 6, 7, true}, colour = {3, 4, 4, true};
    check_gradients_on("conv:3@3+1 tanh avgpool:2 conv:2@2/2 sigmoid", "cross_entropy",
                       grey, 4);
    check_gradients_on("layernorm conv:4@3 gelu layernorm dense:6 layernorm tanh", "mse",
                       grey, 3);
    check_gradients_on("conv:5@4 tanh dropout:0.4 dense:7 softplus", "cross_entropy",
                       colour, 4);
    check_gradients_on("dropout:0.2 conv:4@1 tanh avgpool:3/1 tanh", "bce", colour, 2);
}

/* relu has a kink: differences across it are not the derivative, so it is checked by its
 * rule (maxpool, too: test_conv.c). */
Test(gradient, relu_passes_where_the_output_is_positive)
{
    const dp_act *relu = dp_act_find(dp_kernels_find("auto"), "relu");
    _Alignas(64) float y[16], d[16];
    for (int i = 0; i < 16; i++) {
        y[i] = i % 2 ? 1.5F : 0.0F;
        d[i] = (float)i;
    }
    relu->backward(NULL, y, d, 16);
    for (int i = 0; i < 16; i++) {
        cr_assert_eq(d[i], i % 2 ? (float)i : 0.0F);
    }
}

Test(init, torch_draws_stay_within_one_over_sqrt_inputs)
{
    dp_model *m = make("dense:200 relu", 100, 10);
    dp_config config = {0};
    config.run.seed = 42;
    strcpy(config.model.init, "torch");
    cr_assert_eq(dp_model_init(m, &config), DP_OK);
    double sum = 0, square = 0, most = 0;
    for (size_t i = 0; i < m->tensors[0].count; i++) {
        double v = (double)m->params[i];
        sum += v;
        square += v * v;
        most = fmax(most, fabs(v));
    }
    double n = (double)m->tensors[0].count;
    cr_assert_leq(most, 0.1);
    cr_assert_gt(most, 0.0999);
    cr_assert_lt(fabs(sum / n), 0.0015);
    cr_assert_float_eq(sqrt(square / n), 0.1 / sqrt(3), 6e-4);
    cr_assert_neq(m->params[m->tensors[1].offset], 0.0F, "torch draws biases too");
    dp_model_destroy(&m);
}

Test(init, constant_takes_one_number_or_all)
{
    dp_model *m = make("", 2, 1);
    dp_config config = {0};
    strcpy(config.model.init, "constant");
    strcpy(config.model.init_weight, "0.3367, 0.1288");
    strcpy(config.model.init_bias, "0.2345");
    cr_assert_eq(dp_model_init(m, &config), DP_OK);
    cr_assert_eq(m->params[0], 0.3367F);
    cr_assert_eq(m->params[1], 0.1288F);
    cr_assert_eq(m->params[m->tensors[1].offset], 0.2345F);
    strcpy(config.model.init_weight, "1 2 3");
    cr_assert_eq(dp_model_init(m, &config), DP_EUSAGE);
    cr_assert_not_null(strstr(dp_status_message(), "3 numbers"));
    dp_model_destroy(&m);
}
