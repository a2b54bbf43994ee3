/* The schedule in characters, for trainer check. */
#include "base/log.h"
#include "cli.h"
#include "data/sampler.h"
#include "nn/schedule.h"
#include <stdio.h>
#include <string.h>

enum { WIDTH = 60, HEIGHT = 8 };

/* v[WIDTH], over the run, on an axis from lo to hi. */
static void draw(const double *v, double lo, double hi, long long epochs) {
    for (int row = HEIGHT - 1; row >= 0; row--) {
        char line[WIDTH + 1], label[24] = "";
        for (int c = 0; c < WIDTH; c++) {
            int level = (int)((v[c] - lo) / (hi - lo) * (HEIGHT - 1) + 0.5);
            line[c] = level == row ? '*' : ' ';
        }
        line[WIDTH] = '\0';
        for (int end = WIDTH; end > 0 && line[end - 1] == ' '; end--) {
            line[end - 1] = '\0';
        }
        if (row == HEIGHT - 1 || row == 0) {
            snprintf(label, sizeof label, "%.4g", row == 0 ? lo : hi);
        }
        dp_log("%10s |%s", label, line);
    }
    char axis[WIDTH + 1];
    memset(axis, '-', WIDTH);
    axis[WIDTH] = '\0';
    dp_log("%10s +%s", "", axis);
    dp_log("%10s  %-*s%*lld", "epoch", WIDTH / 2, "0", WIDTH / 2, epochs);
}

static void draw_if_it_changes(const char *what, const double *v, bool from_0,
                               const dp_config *config) {
    double lo = v[0], hi = v[0];
    for (int c = 1; c < WIDTH; c++) {
        lo = v[c] < lo ? v[c] : lo;
        hi = v[c] > hi ? v[c] : hi;
    }
    if (lo < hi) {
        dp_log("%s", what);
        draw(v, from_0 ? 0 : lo, hi, (long long)config->train.epochs);
    }
}

void dp_cli_schedule(const dp_session *session) {
    const dp_config *config = &session->config;
    int64_t steps =
        dp_sampler_steps(session->data->train_n, session->batch, config->train.drop_last);
    int64_t total = steps * config->train.epochs;
    double lr[WIDTH], momentum[WIDTH];
    for (int c = 0; c < WIDTH; c++) {
        double middle = (double)total * (c + 0.5) / WIDTH;
        dp_rates rates = dp_schedule_rates(config, (int64_t)middle, steps);
        lr[c] = rates.lr;
        momentum[c] = rates.momentum;
    }
    dp_log("schedule %s, %lld steps in %lld epochs: lr %g at first, %g at last",
           config->optimizer.schedule, (long long)total, (long long)config->train.epochs,
           dp_schedule_rates(config, 0, steps).lr,
           dp_schedule_rates(config, total - 1, steps).lr);
    dp_schedule_check(config);
    draw_if_it_changes("learning rate", lr, true, config);
    draw_if_it_changes("momentum", momentum, false, config);
}
