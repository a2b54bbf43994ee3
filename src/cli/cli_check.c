#include "base/log.h"
#include "cli.h"
#include "run/doctor.h"
#include "run/session.h"
#include "run/step.h"
#include "run/train.h"
#include <stdio.h>
#include <stdlib.h>

/* Each layer's input and output shape at the global batch, its parameters and their
 * tensors: what PyTorch's shapes would be. */
static void print_layers(const dp_session *session) {
    const dp_model *model = session->model;
    const char *row = "%-4s %-10s %14s %14s %11s  %s";
    dp_log(row, "", "layer", "input", "output", "parameters", "tensors");
    for (int l = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        char index[12], input[32], output[32], parameters[24], tensors[128] = "";
        size_t count = 0, used = 0;
        for (int k = 0; k < layer->ntensors; k++) {
            const dp_tensor *t = &layer->tensor[k];
            count += t->count;
            used += (size_t)snprintf(tensors + used, sizeof tensors - used,
                                     t->ndim == 2 ? "%s%s [%d,%d]" : "%s%s [%d]",
                                     k > 0 ? ", " : "", t->name, t->dim[0], t->dim[1]);
        }
        snprintf(index, sizeof index, "%d", l);
        snprintf(input, sizeof input, "[%d,%d]", session->batch, layer->I);
        snprintf(output, sizeof output, "[%d,%d]", session->batch, layer->O);
        snprintf(parameters, sizeof parameters, "%zu", count);
        dp_log(row, index, layer->act ? layer->act->name : layer->kind->name, input,
               output, parameters, tensors);
    }
    dp_log("%-4s %-10s %14s %14s %11zu", "", "in all", "", "", model->parameters);
}

static dp_status print_memory(const dp_session *session) {
    dp_stepper *stepper = NULL;
    dp_status s = dp_stepper_create(session->comm, &session->config, session->data,
                                    session->model, session->loss, &session->scale,
                                    session->batch, session->threads, &stepper);
    if (s == DP_OK) {
        double mib = 1024.0 * 1024.0;
        dp_log("memory  a rank: data %.1f MiB, parameters %.1f MiB, activations, "
               "gradients and "
               "optimizer %.1f MiB",
               (double)dp_dataset_bytes(session->data) / mib,
               (double)(session->model->floats * sizeof(float)) / mib,
               (double)dp_stepper_bytes(stepper) / mib);
    }
    dp_stepper_destroy(&stepper);
    return s;
}

/* What an epoch takes at the share of the FMA peak that the kernels reach on large layers. The
 * peak is measured here and now, on all ranks at once. */
static void print_speed(const dp_session *session) {
    const double share = 0.8;
    const dp_model *model = session->model;
    double flop = 0;
    for (int l = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        /* forward, weight gradient and, but for the first, input gradient */
        double gemms = l == 0 ? 2 : 3;
        flop += layer->ntensors > 0 ? gemms * 2 * (double)layer->I * (double)layer->O : 0;
    }
    flop *= session->data->train_n;
    int threads = session->threads * dp_comm_node_size(session->comm);
    int cores = dp_comm_node_cores(session->comm);
    double busy = threads > cores ? (double)cores / dp_comm_node_size(session->comm)
                                  : (double)session->threads;
    double peak = busy * dp_kernels_peak(session->set, 0.1);
    dp_comm_sum(session->comm, &peak, 1);
    dp_log("speed   %.1f GFLOP an epoch; FMA peak %.0f GFLOP/s on all ranks: about %.2f "
           "s an epoch "
           "at %.0f%% of it",
           flop * 1e-9, peak, flop * 1e-9 / (share * peak), 100 * share);
}

dp_status dp_cli_check(dp_comm *comm, int argc, char **argv) {
    dp_config config = {0};
    dp_session *session = NULL;
    char *text = NULL;
    dp_status s = dp_cli_config(comm, argc, argv, &config);
    if (s == DP_OK) {
        s = dp_session_create(comm, &config, &session);
    }
    if (s == DP_OK) {
        s = dp_comm_agree(comm, dp_config_text(&config, &text));
    }
    if (s == DP_OK) {
        dp_log("%s", text);
        dp_session_header(session);
        dp_doctor(session);
        print_layers(session);
        s = dp_train_check(session);
    }
    if (s == DP_OK) {
        s = print_memory(session);
    }
    if (s == DP_OK) {
        print_speed(session);
    }
    if (s == DP_OK) {
        dp_log("ok: nothing was trained");
    }
    free(text);
    dp_session_destroy(&session);
    return s;
}
