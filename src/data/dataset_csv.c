/* The CSV reader: which column is what, and its cells. */
#include "base/log.h"
#include "base/memory.h"
#include "csv_text.h"
#include "reader.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct csv {
    dp_csv_text text;
    const char *path;
    int header_line;
    int ncolumns;
    char **name; /* [ncolumns], into text */
    int *role; /* [ncolumns] k: the table's column k, features then targets; -1: not used
                */
} csv;

/* ---- cells ---- */

static dp_status bad_cell(const csv *f, int line, int c, const char *cell,
                          const char *why) {
    return dp_fail(DP_EDATA, "%s:%d: column '%s': '%.*s' %s", f->path, line, f->name[c],
                   (int)(strcspn(cell, "\r\n") < 40 ? strcspn(cell, "\r\n") : 40), cell,
                   why);
}

static dp_status read_value(const csv *f, int line, int c, const char *cell, float *out) {
    double v = 0;
    if (!*cell) {
        return dp_fail(DP_EDATA, "%s:%d: column '%s' is empty", f->path, line,
                       f->name[c]);
    }
    if (!dp_csv_number(&f->text, cell, &v)) {
        return bad_cell(f, line, c, cell,
                        strchr(cell, ',') ? "is not a number (write 1.5, not 1,5)"
                                          : "is not a number");
    }
    *out = (float)v;
    return isfinite(*out) ? DP_OK
                          : bad_cell(f, line, c, cell, "is too large for a float");
}

/* A class, by its number or its name in data.classes; of bce's two, or of many. */
static dp_status read_label(const csv *f, const dp_read_request *request, int line, int c,
                            const char *cell, int32_t *out) {
    int named =
        dp_names_find(request->nclass_name, request->class_name, cell, strlen(cell));
    bool binary = request->kind == DP_BINARY;
    double v = named;
    if (!*cell) {
        return dp_fail(DP_EDATA, "%s:%d: column '%s' is empty", f->path, line,
                       f->name[c]);
    }
    bool number = named >= 0 || dp_csv_number(&f->text, cell, &v);
    if (!number || (binary && v != 0 && v != 1)) {
        return bad_cell(f, line, c, cell,
                        request->nclass_name > 0
                            ? binary ? "is neither 0 nor 1 nor in data.classes"
                                     : "is neither a class number nor in data.classes"
                        : binary
                            ? "is neither 0 nor 1, which loss.name = bce takes: list the "
                              "names of 0 and 1 in data.classes"
                            : "is not a class number: list the names in data.classes");
    }
    if (v != floor(v) || v < 0 || v >= DP_MAX_CLASSES) {
        return bad_cell(f, line, c, cell,
                        "is not a class number (0, 1, 2, ...); for other numbers set "
                        "loss.name = mse");
    }
    if (request->schema.classes > 0 && v >= request->schema.classes) {
        char why[80];
        snprintf(why, sizeof why, "is out of range: there are %d classes, 0 to %d",
                 request->schema.classes, request->schema.classes - 1);
        return bad_cell(f, line, c, cell, why);
    }
    *out = (int32_t)v;
    return DP_OK;
}

/* ---- header ---- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The name that two columns have, or NULL; sorted, since there may be very many. */
static dp_status find_duplicate(const csv *f, const char **duplicate) {
    size_t n = (size_t)f->ncolumns;
    char **sorted = NULL;
    dp_status status = dp_memory_resize(&sorted, n * sizeof *sorted);
    if (status != DP_OK) {
        return status;
    }
    memcpy(sorted, f->name, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 1; i < n; i++) {
        *duplicate = strcmp(sorted[i - 1], sorted[i]) == 0 ? sorted[i] : *duplicate;
    }
    free(sorted);
    return DP_OK;
}

static dp_status check_names(const csv *f) {
    int numbers = 0;
    for (int c = 0; c < f->ncolumns; c++) {
        double v;
        if (!f->name[c][0]) {
            return dp_fail(DP_EDATA, "%s:%d: column %d has no name", f->path,
                           f->header_line, c + 1);
        }
        numbers += dp_csv_number(&f->text, f->name[c], &v);
    }
    if (numbers == f->ncolumns) {
        return dp_fail(DP_EDATA, "%s:%d: numbers where the columns' names are expected",
                       f->path, f->header_line);
    }
    const char *duplicate = NULL;
    dp_status status = find_duplicate(f, &duplicate);
    if (status == DP_OK && duplicate) {
        status = dp_fail(DP_EDATA, "%s:%d: two columns are named '%s'", f->path,
                         f->header_line, duplicate);
    }
    return status;
}

static dp_status read_header(csv *f) {
    f->header_line = f->text.line;
    int room = 0;
    for (bool last = false; !last; f->ncolumns++) {
        dp_status status = DP_OK;
        if (f->ncolumns == room) {
            room = 2 * room + 16;
            status = dp_memory_resize(&f->name, (size_t)room * sizeof *f->name);
        }
        status = status ? status : dp_csv_field(&f->text, &f->name[f->ncolumns], &last);
        if (status != DP_OK) {
            return status;
        }
    }
    dp_status status = dp_memory_resize(&f->role, (size_t)f->ncolumns * sizeof *f->role);
    return status ? status : check_names(f);
}

/* ---- which column is what ---- */

static dp_status no_column(const csv *f, const char *name, const char *what) {
    char list[400] = "";
    size_t n = 0;
    for (int c = 0; c < f->ncolumns && n < sizeof list - 80; c++) {
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.60s", c ? ", " : "",
                              f->name[c]);
    }
    return dp_fail(DP_EDATA, "%s: no column '%s'%s; its columns are %s%s", f->path, name,
                   what, list, n < sizeof list - 80 ? "" : ", ...");
}

/* By the names of the training file: features, then targets. */
static dp_status match_columns(csv *f, const dp_schema *schema, dp_table *out) {
    int features = 0, targets = 0;
    const char *unused = NULL;
    for (int c = 0; c < f->ncolumns; c++) {
        bool same = c < schema->ncolumns && strcmp(f->name[c], schema->column[c]) == 0;
        int k = same ? c
                     : dp_names_find(schema->ncolumns, schema->column, f->name[c],
                                     strlen(f->name[c]));
        f->role[c] = k;
        unused = k < 0 && !unused ? f->name[c] : unused;
        features += k >= 0 && k < schema->features;
        targets += k >= schema->features;
    }
    out->features = schema->features;
    out->ntargets = schema->ncolumns - schema->features;
    if (schema->optional && targets < out->ntargets) {
        out->ntargets = targets = 0;
        for (int c = 0; c < f->ncolumns; c++) {
            f->role[c] = f->role[c] >= schema->features ? -1 : f->role[c];
        }
    }
    if (features == out->features && targets == out->ntargets) {
        if (unused) {
            dp_warn("%s: column '%s' is not used: the model knows no such input", f->path,
                    unused);
        }
        return DP_OK;
    }
    const char *missing = NULL;
    for (int k = 0; k < out->features + out->ntargets && !missing; k++) {
        const char *name = schema->column[k];
        missing =
            dp_names_find(f->ncolumns, f->name, name, strlen(name)) < 0 ? name : NULL;
    }
    return no_column(f, missing, ", which the training data has");
}

/* Marks the columns of data.target; without it the last one. */
static dp_status mark_targets(csv *f, const dp_read_request *request, dp_table *out) {
    char **name = NULL;
    int n = 0;
    dp_status status = dp_names_split(request->target, &n, &name);
    int targets = 0;
    for (int k = 0; status == DP_OK && k < n; k++) {
        int c = dp_names_find(f->ncolumns, f->name, name[k], strlen(name[k]));
        if (c >= 0 && f->role[c] < 0) {
            f->role[c] = k;
            targets++;
        } else if (c >= 0) {
            status = dp_fail(DP_EUSAGE, "data.target names '%s' twice", name[k]);
        } else if (!request->schema.optional) {
            status = no_column(f, name[k], " (data.target)");
        }
    }
    dp_memory_free(&name);
    if (targets < n) { /* optional: all or nothing */
        targets = 0;
    } else if (n == 0 &&
               !(request->schema.optional && f->ncolumns == request->schema.features)) {
        f->role[f->ncolumns - 1] = 0;
        targets = 1;
    }
    out->ntargets = targets;
    return status;
}

/* Targets by data.target, features all the rest. */
static dp_status assign_columns(csv *f, const dp_read_request *request, dp_table *out) {
    for (int c = 0; c < f->ncolumns; c++) {
        f->role[c] = -1;
    }
    dp_status status = mark_targets(f, request, out);
    if (status != DP_OK) {
        return status;
    }
    if (out->ntargets > 1 && request->kind == DP_CLASSES) {
        return dp_fail(DP_EUSAGE,
                       "data.target names %d columns, but loss.name = cross_entropy "
                       "takes one of class numbers",
                       out->ntargets);
    }
    int marked = 0;
    for (int c = 0; c < f->ncolumns; c++) {
        marked += f->role[c] >= 0;
    }
    out->features = f->ncolumns - marked;
    if (out->features < 1) {
        return dp_fail(
            DP_EDATA, "%s: no column is left to predict from%s", f->path,
            f->ncolumns == 1 ? ": there is only one (is the separator , ; or TAB?)" : "");
    }
    int next = 0;
    for (int c = 0; c < f->ncolumns; c++) {
        if (f->role[c] < 0) {
            f->role[c] = next++;
        } else {
            f->role[c] = out->ntargets ? out->features + f->role[c] : -1;
        }
    }
    return DP_OK;
}

static dp_status name_columns(const csv *f, dp_table *out) {
    out->ncolumns = out->features + out->ntargets;
    char **order = NULL;
    dp_status status =
        dp_memory_alloc((size_t)out->ncolumns, sizeof *order, (void **)&order);
    if (status != DP_OK) {
        return status;
    }
    for (int c = 0; c < f->ncolumns; c++) {
        if (f->role[c] >= 0) {
            order[f->role[c]] = f->name[c];
        }
    }
    status = dp_names_copy(out->ncolumns, order, &out->column);
    dp_memory_free(&order);
    return status;
}

/* ---- rows ---- */

static dp_status read_cell(const csv *f, const dp_read_request *request, int line, int c,
                           const char *cell, dp_table *out) {
    int role = f->role[c];
    size_t row = (size_t)out->n;
    if (role < 0) {
        return DP_OK;
    }
    if (role < out->features) {
        return read_value(f, line, c, cell,
                          (float *)out->raw + row * out->features + role);
    }
    if (out->label) {
        return read_label(f, request, line, c, cell, &out->label[row]);
    }
    float *target = out->target + row * out->ntargets + (role - out->features);
    if (request->kind != DP_BINARY) {
        return read_value(f, line, c, cell, target);
    }
    int32_t label = 0;
    dp_status status = read_label(f, request, line, c, cell, &label);
    *target = (float)label;
    return status;
}

/* One line of cells. */
static dp_status read_row(csv *f, const dp_read_request *request, dp_table *out) {
    int first = f->text.line;
    bool last = false;
    for (int c = 0; !last; c++) {
        char *cell = NULL;
        int line = f->text.line;
        dp_status status = dp_csv_field(&f->text, &cell, &last);
        if (status != DP_OK) {
            return status;
        }
        if (c >= f->ncolumns || (last && c + 1 < f->ncolumns)) {
            return dp_fail(DP_EDATA, "%s:%d: %s than the %d columns of the header%s",
                           f->path, first,
                           c >= f->ncolumns ? "more cells" : "fewer cells", f->ncolumns,
                           c >= f->ncolumns && f->text.separator == ','
                               ? " (a comma in a number or a text needs quotes)"
                               : "");
        }
        status = read_cell(f, request, line, c, cell, out);
        if (status != DP_OK) {
            return status;
        }
    }
    out->n++;
    return DP_OK;
}

static dp_status read_rows(csv *f, const dp_read_request *request, dp_table *out) {
    for (;;) {
        int blank = dp_csv_skip_blank(&f->text);
        if (!*f->text.at) {
            break;
        }
        if (blank) {
            return dp_fail(DP_EDATA, "%s:%d: a blank line between the rows", f->path,
                           blank);
        }
        dp_status status = read_row(f, request, out);
        if (status != DP_OK) {
            return status;
        }
    }
    return out->n > 0 ? DP_OK : dp_fail(DP_EDATA, "%s: no row below the header", f->path);
}

/* Room for as many rows as there can be: each takes a line, a character to end each cell
 * and one in each cell that is used. */
static dp_status allocate_rows(const csv *f, dp_target_kind kind, dp_table *out) {
    size_t left = strlen(f->text.at), lines = 1;
    for (const char *p = f->text.at; *p; p++) {
        lines += *p == '\n' || *p == '\r';
    }
    size_t least = (size_t)f->ncolumns + (size_t)out->features + (size_t)out->ntargets;
    size_t max = left / least + 1;
    max = lines < max ? lines : max;
    if (max > INT_MAX) {
        return dp_fail(DP_EDATA, "%s: more than %d rows", f->path, INT_MAX);
    }
    dp_status status =
        dp_memory_alloc(max * (size_t)out->features, sizeof(float), &out->raw);
    if (status == DP_OK && out->ntargets && kind == DP_CLASSES) {
        status = dp_memory_alloc(max, sizeof *out->label, (void **)&out->label);
    } else if (status == DP_OK && out->ntargets) {
        status = dp_memory_alloc(max * (size_t)out->ntargets, sizeof *out->target,
                                 (void **)&out->target);
    }
    return status;
}

static dp_status read_table(csv *f, const dp_read_request *request, dp_table *out) {
    dp_status status = dp_csv_open(f->path, &f->text);
    if (status == DP_OK) {
        status = read_header(f);
    }
    if (status == DP_OK) {
        status = request->schema.ncolumns > 0 ? match_columns(f, &request->schema, out)
                                              : assign_columns(f, request, out);
    }
    if (status == DP_OK) {
        status = name_columns(f, out);
    }
    if (status == DP_OK) {
        status = allocate_rows(f, request->kind, out);
    }
    if (status == DP_OK) {
        status = read_rows(f, request, out);
    }
    return status;
}

dp_status dp_csv_read(const char *path, const dp_read_request *request, dp_table *out) {
    csv f = {.path = path};
    dp_status status = read_table(&f, request, out);
    if (request->kind == DP_CLASSES) {
        out->ntargets = 0; /* what the label's column was counted as */
    }
    out->nshape = 1;
    out->shape[0] = out->features;
    dp_csv_close(&f.text);
    free(f.name);
    free(f.role);
    return status;
}
