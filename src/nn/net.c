/* A net: which of the model's layers are called, which of them do the activation behind
 * them as well (fuse), and in which slices (dp_net_cut); the activations of a microbatch,
 * carved from one slab; and the two passes, which call layers, barriers and hooks in
 * order. */
#include "nn/net.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>

/* The next `floats` of the slab; while there is no slab yet, only counts them. */
static float *carve(dp_net *net, size_t *used, size_t floats) {
    float *p = net->slab ? net->slab + *used : NULL;
    *used += (floats + 15) / 16 * 16;
    return p;
}

/* Of 4 bytes each, or 1. */
static void carve_lit(dp_net *net, size_t *used, int F) {
    size_t strips = ((size_t)net->capacity + DP_STRIP - 1) / DP_STRIP;
    size_t wide = ((size_t)F + 15) / 16 * 16;
    net->lit = (dp_lit){.strips = (int)strips,
                        .terms = (void *)carve(net, used, strips),
                        .term = (void *)carve(net, used, 2 * strips * (size_t)F),
                        .seen = (void *)carve(net, used, (strips + 1) * wide / 4),
                        .dark = (void *)carve(net, used, strips * (1 + wide / 16)),
                        .feature = (void *)carve(net, used, wide),
                        .squeeze = (void *)carve(net, used, wide / 4),
                        .expand = (void *)carve(net, used, wide / 4),
                        .first = (void *)carve(net, used, wide / 4),
                        .first_16 = (void *)carve(net, used, wide / 16)};
}

static size_t carve_activations(dp_net *net, bool training) {
    size_t used = 0;
    for (int i = 0; i < net->nactivations; i++) {
        dp_activation *s = &net->activations[i];
        size_t strips = dp_strip_floats(net->capacity, s->F);
        const dp_layer_kind *reader = i < net->nlayers ? net->layers[i].kind : NULL;
        /* A compact input goes through its rows in evaluation too. */
        bool compact = i == 0 && reader->skips_zeros;
        bool gradient = training && reader && !net->layers[i].frozen;
        bool rows = (gradient && reader->reads_rows) || compact;
        s->yt = carve(net, &used, strips);
        s->zt = s->act && s->act->needs_z ? carve(net, &used, strips) : NULL;
        s->y =
            rows ? carve(net, &used, (size_t)net->capacity * (size_t)dp_ld(s->F)) : NULL;
        s->dzt = training && i > net->lowest ? carve(net, &used, strips) : NULL;
    }
    if (net->layers[0].kind->skips_zeros) {
        dp_activation *input = &net->activations[0];
        input->lit = &net->lit;
        carve_lit(net, &used, input->F);
    }
    if (training) {
        for (int l = 0; l < net->nlayers; l++) {
            dp_layer *layer = &net->layers[l];
            size_t floats = dp_strip_floats(net->capacity, layer->scratch);
            layer->kept = floats > 0 ? carve(net, &used, floats) : NULL;
        }
    }
    return used;
}

/* An activation right behind a layer that can do it on its way becomes that layer's, and
 * what it joins. Layers that do nothing are left out. */
static void fuse(dp_net *net, bool training) {
    const dp_model *model = net->model;
    for (int l = 0; l < model->nlayers; l++) {
        dp_layer *layer = &net->layers[net->nlayers];
        *layer = model->layers[l];
        if (!layer->kind->forward || (layer->kind->training_only && !training)) {
            continue;
        }
        if (layer->kind->fuses && l + 1 < model->nlayers && model->layers[l + 1].act) {
            layer->act = model->layers[++l].act;
        }
        const dp_layer *last = layer;
        if (layer->kind->join && l + 1 < model->nlayers &&
            layer->kind->join(layer, &model->layers[l + 1],
                              training && net->nlayers > 0)) {
            last = &model->layers[++l];
        }
        net->activations[net->nlayers + 1] =
            (dp_activation){.F = dp_shape_size(last->out), .act = layer->act};
        layer->below = &net->activations[net->nlayers];
        layer->above = &net->activations[++net->nlayers];
    }
    net->nactivations = net->nlayers + 1;
    net->lowest = dp_model_lowest_trained(net->layers, net->nlayers);
}

/* At most DP_NET_SLICES slices of about 2 * least floats each, and whole strips of 16
 * outputs: every call has a fixed cost. */
static int count_slices(const dp_layer *layer, size_t least) {
    size_t floats = 2 * least > DP_CHUNK ? 2 * least : DP_CHUNK;
    bool cut = least > 0 && layer->ntensors > 0 && !layer->frozen;
    size_t n = cut ? layer->tensor[0].count / floats : 1;
    n = n < DP_NET_SLICES ? n : DP_NET_SLICES;
    n = n < (size_t)layer->rows / 16 ? n : (size_t)layer->rows / 16;
    return n > 1 ? (int)n : 1;
}

static void cut_layer(dp_net *net, int l, size_t least) {
    const dp_layer *layer = &net->layers[l];
    const dp_tensor *first = layer->tensor, *last = first + layer->ntensors - 1;
    int n = count_slices(layer, least);
    for (int k = 0; k < n; k++) {
        dp_slice *slice = &net->slice[net->nslices++];
        *slice = (dp_slice){.layer = l, .begin = 0, .end = layer->out.C};
        if (k > 0) {
            slice->begin = slice[-1].end;
        }
        if (k < n - 1) {
            slice->end = (k + 1) * (layer->rows / 16) / n * 16;
        }
        if (layer->ntensors > 0 && !layer->frozen) {
            size_t row = layer->rows > 0 ? first->count / (size_t)layer->rows : 0;
            size_t end = k < n - 1 ? first->offset + (size_t)slice->end * row
                                   : last->offset + last->count;
            slice->offset = first->offset + (size_t)slice->begin * row;
            slice->count = end - slice->offset;
        }
    }
}

void dp_net_cut(dp_net *net, size_t least) {
    net->nslices = 0;
    for (int l = net->nlayers - 1; l >= 0; l--) {
        cut_layer(net, l, least);
    }
}

int dp_net_samples(const dp_model *model, bool training) {
    const size_t cache = 32 << 20;   /* of all cores */
    size_t most = 4 * model->floats; /* reading the parameters again has its price, too */
    size_t sample = (size_t)dp_shape_size(model->input);
    for (int l = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        size_t floats = (size_t)dp_shape_size(layer->out) + (size_t)layer->scratch;
        sample += layer->kind->forward ? floats * (training ? 2 : 1) : 0;
    }
    most = most > cache / sizeof(float) ? most : cache / sizeof(float);
    int n = DP_MICROBATCH;
    while (n > DP_STRIP && (size_t)n * sample > most) {
        n /= 2;
    }
    return n;
}

dp_status dp_net_create(const dp_model *model, int capacity, bool training,
                        dp_net **out) {
    size_t layers = (size_t)model->nlayers;
    dp_net *net = dp_alloc(1, sizeof *net);
    net->layers = dp_alloc(layers, sizeof *net->layers);
    net->activations = dp_alloc(layers + 1, sizeof *net->activations);
    net->slice = dp_alloc(layers * DP_NET_SLICES, sizeof *net->slice);
    net->model = model;
    net->capacity = capacity;
    net->activations[0].F = dp_shape_size(model->input);
    fuse(net, training);
    dp_net_cut(net, 0);
    size_t floats = carve_activations(net, training);
    dp_status s = dp_memory_alloc(floats, sizeof *net->slab, (void **)&net->slab);
    if (s != DP_OK) {
        dp_net_destroy(&net);
        return s;
    }
    net->bytes = floats * sizeof(float);
    carve_activations(net, training);
    *out = net;
    return DP_OK;
}

void dp_net_destroy(dp_net **net) {
    if (*net) {
        free((*net)->layers);
        free((*net)->activations);
        free((*net)->slice);
        dp_memory_free(&(*net)->slab);
        free(*net);
    }
    *net = NULL;
}

static void barrier(const dp_pass *pass, const dp_hooks *hooks) {
    if (hooks->barrier) {
        hooks->barrier(hooks->context, pass->team);
    }
}

/* One slice of a layer's pass. */
static void call(void (*what)(const dp_layer *, const dp_pass *), const dp_net *net,
                 const dp_slice *slice, dp_pass *pass) {
    pass->begin = slice->begin;
    pass->end = slice->end;
    what(&net->layers[slice->layer], pass);
}

void dp_net_forward(const dp_net *net, dp_pass pass, const dp_hooks *hooks) {
    for (int i = net->nslices - 1; i >= 0; i--) {
        const dp_slice *slice = &net->slice[i];
        const dp_layer *layer = &net->layers[slice->layer];
        const dp_activation *above = layer->above;
        if (hooks->need) {
            hooks->need(hooks->context, pass.team, slice);
        }
        barrier(&pass, hooks);
        call(layer->kind->forward, net, slice, &pass);
        if (!layer->kind->writes_rows && above->y && slice->begin == 0) {
            barrier(&pass, hooks);
            pass.set->rows(pass.team, pass.N, above);
        }
    }
}

/* The input gradient, by z: the activation below is passed too. */
static void input_gradient(const dp_layer *layer, dp_pass *pass, const dp_hooks *hooks) {
    const dp_activation *below = layer->below;
    pass->begin = 0;
    pass->end = layer->out.C;
    layer->kind->backward(layer, pass);
    if (!layer->kind->fuses && below->act) {
        barrier(pass, hooks);
        size_t at = 0;
        size_t n =
            dp_layer_thread_range(pass->team, dp_strip_floats(pass->N, below->F), &at);
        below->act->backward(below->zt ? below->zt + at : NULL, below->yt + at,
                             below->dzt + at, n);
    }
}

/* Whether each thread can make the gradients of some rows of its own, as those that it
 * computes in the forward pass. */
static bool has_own_rows(const dp_net *net, const dp_slice *slice, dp_team team) {
    const dp_layer *layer = &net->layers[slice->layer];
    return layer->kind->gradient && layer->rows >= team.n * 16 && slice->begin == 0 &&
           slice->end == layer->rows;
}

/* The gradients of this thread's rows, with few samples some rows at a time: they are
 * still in the cache when they are reported. */
static void own_rows(const dp_layer *layer, dp_pass pass, const dp_hooks *hooks) {
    enum { CACHED = 3 << 13, FEW = 1 << 17 }; /* floats: of gradients, of inputs */
    const dp_tensor *first = layer->tensor;
    dp_team team = pass.team;
    int groups = (layer->rows + 15) / 16;
    int begin = groups * team.id / team.n * 16,
        end = groups * (team.id + 1) / team.n * 16;
    end = end < layer->rows ? end : layer->rows;
    size_t row = first->count / (size_t)layer->rows, from = first->offset + begin * row;
    bool few = (size_t)pass.N * (size_t)layer->below->F <= FEW;
    int step = few ? (int)(CACHED / row) / 16 * 16 : end - begin;
    step = step > 16 ? step : 16;
    pass.team = (dp_team){0, 1};
    if (!few) {
        pass.updated[0] = NULL; /* it would have left the cache again */
    }
    for (int r = begin; r < end; r += step) {
        pass.begin = r;
        pass.end = r + step < end ? r + step : end;
        layer->kind->gradient(layer, &pass);
        hooks->made(hooks->context, team, from, first->offset + (size_t)r * row,
                    first->offset + (size_t)pass.end * row);
    }
}

/* A barrier, after which the slices [*reported, made) are complete. */
static void report(const dp_net *net, const dp_pass *pass, const dp_hooks *hooks,
                   int *reported, int made) {
    barrier(pass, hooks);
    for (; *reported < made; (*reported)++) {
        if (hooks->ready) {
            hooks->ready(hooks->context, pass->team, &net->slice[*reported]);
        }
    }
}

void dp_net_backward(const dp_net *net, dp_pass pass, const dp_hooks *hooks) {
    int reported = 0, made = 0;
    for (int l = net->nlayers - 1; l >= net->lowest; l--) {
        const dp_layer *layer = &net->layers[l];
        bool input = l > net->lowest, at_once = hooks->ready && hooks->gradients_first;
        report(net, &pass, hooks, &reported, made);
        if (input && !hooks->gradients_first) {
            input_gradient(layer, &pass, hooks);
        }
        for (; made < net->nslices && net->slice[made].layer == l; made++) {
            if (hooks->made && !layer->frozen &&
                has_own_rows(net, &net->slice[made], pass.team)) {
                if (input) {
                    barrier(&pass, hooks);
                }
                own_rows(layer, pass, hooks);
            } else if (layer->kind->gradient && !layer->frozen) {
                call(layer->kind->gradient, net, &net->slice[made], &pass);
            }
            if (at_once) {
                report(net, &pass, hooks, &reported, made + 1);
            }
        }
        if (input && hooks->gradients_first) {
            input_gradient(layer, &pass, hooks);
        }
    }
    report(net, &pass, hooks, &reported, net->nslices);
}

double dp_net_skipped(const dp_net *net, int N) {
    const dp_lit *lit = net->activations[0].lit;
    int F = net->activations[0].F;
    double terms = 0;
    for (int s = 0; lit && s * DP_STRIP < N; s++) {
        int left = N - s * DP_STRIP, samples = left < DP_STRIP ? left : DP_STRIP;
        int gradient = net->layers[0].frozen ? 0 : F - lit->columns;
        terms += (double)samples * (F - lit->terms[s] + gradient);
    }
    return terms * net->layers[0].flops / F;
}

int dp_net_bad_layer(const dp_net *net, int N) {
    for (int l = 0; l < net->nlayers; l++) {
        const dp_activation *a = &net->activations[l + 1];
        for (int n = 0; n < N; n++) {
            for (int f = 0; f < a->F; f++) {
                if (!isfinite(dp_activation_at(a, n, f))) {
                    return l;
                }
            }
        }
    }
    return net->nlayers;
}
