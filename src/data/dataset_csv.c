/* CSV: text with a header line of names; separated by comma, tab or semicolon, found by
 * itself; plain or .gz. Each cell of a used column is a number with a decimal point, or True
 * or False, which is 1 or 0; a column of classes, two of them with bce, holds their numbers
 * from 0, or their names: those of data.classes, else all that are there. Without data.target
 * the last column is the target. */
#include "base/memory.h"
#include "class_names.h"
#include "csv_columns.h"
#include "csv_text.h"
#include "names.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool named(const char *path) {
    return dp_path_ends(path, ".csv") || dp_path_ends(path, ".tsv") ||
           dp_path_ends(path, ".csv.gz") || dp_path_ends(path, ".tsv.gz");
}

static bool begins(const unsigned char *head, size_t n) {
    return n > 0 && !memchr(head, 0, n);
}

typedef struct csv {
    dp_csv_text text;
    dp_csv_columns columns;
    const dp_read_request *request;
    dp_table *out;
    /* [out->n] of a file that names its classes: into the text; owner: this */
    char **label;
} csv;

/* ---- cells ---- */

static dp_status bad_cell(const csv *f, int line, int c, const char *cell,
                          const char *why) {
    int length = (int)strcspn(cell, "\r\n");
    return dp_fail(DP_EDATA, "%s:%d: column '%s': '%.*s'%s", f->text.path, line,
                   f->columns.name[c], length < 40 ? length : 40, cell, why);
}

/* Why a text is no label. */
static const char *not_a_label(const dp_read_request *r) {
    bool binary = r->kind == DP_BINARY;
    if (r->nclass_name > 0) {
        return binary ? " is neither 0 nor 1 nor in data.classes"
                      : " is neither a class number nor in data.classes";
    }
    return binary ? " is neither 0 nor 1, which loss.name = bce takes: list the names of "
                    "0 and 1 in data.classes"
                  : " is not a class number: list the classes' names in data.classes";
}

#define TO_NUMBERS "; scripts/prepare.py makes numbers of texts, dates and decimal commas"

/* A number, or the name of a class. NULL, or why it is none. */
static const char *parse(const csv *f, bool feature, const char *cell, double *v) {
    const dp_read_request *r = f->request;
    bool label = !feature && r->kind != DP_VALUES;
    int named = label ? dp_names_find(r->nclass_name, r->class_name, cell) : -1;
    if (named >= 0) {
        *v = named;
        return NULL;
    }
    if (dp_csv_number(&f->text, cell, v)) {
        return NULL;
    }
    bool yes = strcasecmp(cell, "true") == 0;
    if (yes || strcasecmp(cell, "false") == 0) {
        *v = yes;
        return NULL;
    }
    if (label) {
        return not_a_label(r);
    }
    return strchr(cell, ',') ? " is not a number (write 1.5, not 1,5)" TO_NUMBERS
                             : " is not a number" TO_NUMBERS;
}

/* The label of a row of a file that names its classes itself: a text, where the first row has
 * one. *taken: it is kept until all are there. */
static dp_status keep_label(csv *f, int line, int c, char *cell, bool *taken) {
    double v;
    bool number = parse(f, false, cell, &v) == NULL;
    if (number && f->out->n == 0) {
        dp_memory_free(&f->label);
        return DP_OK;
    }
    f->label[f->out->n] = cell;
    *taken = true;
    return number ? bad_cell(f, line, c, cell,
                             " is a number among names: list all classes in data.classes")
                  : DP_OK;
}

static dp_status read_cell(csv *f, int line, int c, char *cell) {
    int k = f->columns.role[c];
    bool feature = k < f->columns.features;
    double v = 0;
    if (k < 0 || k >= f->out->ncolumns) {
        return DP_OK;
    }
    if (!*cell) {
        return dp_fail(DP_EDATA,
                       "%s:%d: column '%s' is empty; scripts/prepare.py %s -o OUT.h5 "
                       "--missing median fills such cells",
                       f->text.path, line, f->columns.name[c], f->text.path);
    }
    bool kept = false;
    if (!feature && f->label) {
        DP_TRY(keep_label(f, line, c, cell, &kept));
    }
    if (kept) {
        return DP_OK;
    }
    dp_table *out = f->out;
    size_t row = (size_t)out->n;
    const char *fault = parse(f, feature, cell, &v);
    if (!fault && feature) {
        ((float *)out->raw)[row * (size_t)out->features + (size_t)k] = (float)v;
        fault = isfinite((float)v) ? NULL : " is too large for a float";
    } else if (!fault) {
        fault = dp_table_set_target(f->request, out, row, k - f->columns.features, v);
    }
    return fault ? bad_cell(f, line, c, cell, fault) : DP_OK;
}

/* ---- rows ---- */

/* One line of cells. */
static dp_status read_row(csv *f) {
    int first = f->text.line, n = f->columns.n;
    bool last = false;
    for (int c = 0; !last; c++) {
        char *cell = NULL;
        int line = f->text.line;
        DP_TRY(dp_csv_field(&f->text, &cell, &last));
        if (c >= n) {
            return dp_fail(
                DP_EDATA, "%s:%d: more cells than the %d columns of the header%s",
                f->text.path, first, n,
                f->text.separator == ',' ? " (a comma in a number or a text needs quotes)"
                                         : "");
        }
        if (last && c + 1 < n) {
            return dp_fail(DP_EDATA,
                           "%s:%d: fewer cells than the %d columns of the header",
                           f->text.path, first, n);
        }
        DP_TRY(read_cell(f, line, c, cell));
    }
    f->out->n++;
    return DP_OK;
}

static dp_status read_rows(csv *f) {
    for (;;) {
        int blank = dp_csv_skip_blank(&f->text);
        if (!*f->text.at) {
            break;
        }
        if (blank) {
            return dp_fail(DP_EDATA, "%s:%d: a blank line between the rows", f->text.path,
                           blank);
        }
        DP_TRY(read_row(f));
    }
    return f->out->n > 0 ? DP_OK
                         : dp_fail(DP_EDATA, "%s: no row below the header", f->text.path);
}

/* Room for as many rows as there can be: each takes a line, a character to end each cell
 * and one in each cell that is used. */
static dp_status allocate_rows(const csv *f) {
    const dp_csv_columns *columns = &f->columns;
    size_t left = strlen(f->text.at), lines = 1;
    for (const char *p = f->text.at; *p; p++) {
        lines += *p == '\n' || *p == '\r';
    }
    size_t least =
        (size_t)columns->n + (size_t)columns->features + (size_t)columns->targets;
    size_t max = left / least + 1;
    max = lines < max ? lines : max;
    if (max > INT_MAX) {
        return dp_fail(DP_EDATA, "%s: more than %d rows", f->text.path, INT_MAX);
    }
    DP_TRY(dp_memory_alloc(max * (size_t)columns->features, sizeof(float), &f->out->raw));
    if (columns->targets == 1 && dp_class_names_open(f->request)) {
        DP_TRY(dp_memory_alloc(max, sizeof *f->label, (void **)&f->label));
    }
    return columns->targets == 0
               ? DP_OK
               : dp_table_alloc_targets(f->request, max, columns->targets, f->out);
}

static dp_status name_classes(const csv *f) {
    const dp_table *out = f->out;
    char *where =
        dp_printed("%s: column '%.60s'", f->text.path, out->column[out->features]);
    dp_status status = dp_class_names_take(f->request, where, out->n, f->label, f->out);
    free(where);
    return status;
}

static dp_status read_table(const char *path, csv *f) {
    dp_table *out = f->out;
    DP_TRY(dp_csv_open(path, &f->text));
    DP_TRY(dp_csv_columns_read(&f->text, f->request, &f->columns));
    out->features = out->shape[0] = f->columns.features;
    out->nshape = 1;
    out->ncolumns = f->columns.features + f->columns.targets;
    out->column = f->columns.taken;
    f->columns.taken = NULL;
    DP_TRY(allocate_rows(f));
    DP_TRY(read_rows(f));
    return f->label ? name_classes(f) : DP_OK;
}

static dp_status read_csv(const char *path, const dp_read_request *request,
                          dp_table *out) {
    csv f = {.request = request, .out = out};
    dp_status status = read_table(path, &f);
    dp_memory_free(&f.label);
    dp_csv_close(&f.text);
    dp_csv_columns_free(&f.columns);
    return status;
}

const dp_format dp_format_csv = {"csv", named, begins, read_csv};
