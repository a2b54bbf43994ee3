/* Which column is what. */
#include "csv_columns.h"
#include "base/log.h"
#include "base/memory.h"
#include "names.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FREE = -2, UNUSED = -1 }; /* roles: not yet given, and none */

/* ---- header ---- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The name that two columns have, or NULL; sorted, since there may be very many. */
static const char *find_duplicate(const dp_csv_columns *columns) {
    size_t n = (size_t)columns->n;
    const char *duplicate = NULL;
    char **sorted = dp_alloc(n, sizeof *sorted);
    memcpy(sorted, columns->name, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 1; i < n && !duplicate; i++) {
        duplicate = strcmp(sorted[i - 1], sorted[i]) == 0 ? sorted[i] : NULL;
    }
    free(sorted);
    return duplicate;
}

static dp_status check_names(const dp_csv_text *text, int line,
                             const dp_csv_columns *columns) {
    int numbers = 0;
    for (int c = 0; c < columns->n; c++) {
        double v;
        if (!columns->name[c][0]) {
            return dp_fail(DP_EDATA, "%s:%d: column %d has no name", text->path, line,
                           c + 1);
        }
        numbers += dp_csv_number(text, columns->name[c], &v);
    }
    if (numbers == columns->n) {
        return dp_fail(DP_EDATA, "%s:%d: numbers where the columns' names are expected",
                       text->path, line);
    }
    const char *duplicate = find_duplicate(columns);
    return duplicate ? dp_fail(DP_EDATA, "%s:%d: two columns are named '%s'", text->path,
                               line, duplicate)
                     : DP_OK;
}

static dp_status read_header(dp_csv_text *text, dp_csv_columns *columns) {
    int line = text->line, room = 0;
    for (bool last = false; !last; columns->n++) {
        if (columns->n == room) {
            room = 2 * room + 16;
            columns->name =
                dp_realloc(columns->name, (size_t)room, sizeof *columns->name);
        }
        DP_TRY(dp_csv_field(text, &columns->name[columns->n], &last));
    }
    return check_names(text, line, columns);
}

/* ---- roles ---- */

static dp_status no_column(const dp_csv_text *text, const dp_csv_columns *columns,
                           const char *name, const char *whose) {
    char list[400] = "";
    size_t n = 0;
    for (int c = 0; c < columns->n && n < sizeof list - 80; c++) {
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.60s", c ? ", " : "",
                              columns->name[c]);
    }
    return dp_fail(DP_EDATA, "%s: no column '%s'%s; its columns are %s%s", text->path,
                   name, whose, list, n < sizeof list - 80 ? "" : ", ...");
}

/* Gives the columns of these names the roles from `first` on. *missing: the first name
 * that no column has, or NULL. */
static dp_status give_roles(dp_csv_columns *columns, int n, char *const *name, int first,
                            const char **missing) {
    *missing = NULL;
    for (int k = n - 1; k >= 0; k--) {
        /* Mostly the columns are where they were in training. */
        int c = first + k;
        if (c >= columns->n || strcmp(columns->name[c], name[k]) != 0) {
            c = dp_names_find(columns->n, columns->name, name[k]);
        }
        if (c < 0) {
            *missing = name[k];
        } else if (columns->role[c] >= 0) {
            return dp_fail(DP_EUSAGE, "data.target names '%s' twice", name[k]);
        } else {
            columns->role[c] = first + k;
        }
    }
    return DP_OK;
}

/* Where the file need not have targets, it is all of them or none. */
static dp_status give_target_roles(const dp_csv_text *text, dp_csv_columns *columns,
                                   int n, char *const *name, int first, bool optional,
                                   const char *whose) {
    const char *missing = NULL;
    DP_TRY(give_roles(columns, n, name, first, &missing));
    columns->targets = missing ? 0 : n;
    if (missing && !optional) {
        return no_column(text, columns, missing, whose);
    }
    for (int c = 0; missing && c < columns->n; c++) {
        columns->role[c] = columns->role[c] >= first ? UNUSED : columns->role[c];
    }
    return DP_OK;
}

/* By the names of the training file: features, then targets. */
static dp_status match_schema(const dp_csv_text *text, const dp_schema *schema,
                              dp_csv_columns *columns) {
    static const char whose[] = ", which the training data has";
    const char *missing = NULL;
    columns->features = schema->features;
    DP_TRY(give_roles(columns, schema->features, schema->column, 0, &missing));
    if (missing) {
        return no_column(text, columns, missing, whose);
    }
    DP_TRY(give_target_roles(text, columns, schema->ncolumns - schema->features,
                             schema->column + schema->features, schema->features,
                             schema->optional, whose));
    for (int c = 0; c < columns->n; c++) {
        if (columns->role[c] == FREE) {
            dp_warn("%s: column '%s' is not used: the model knows no such input",
                    text->path, columns->name[c]);
            break;
        }
    }
    return DP_OK;
}

/* These are the targets, and features all the rest. */
static dp_status take_targets(const dp_csv_text *text, const dp_read_request *request,
                              int n, char *const *name, dp_csv_columns *columns) {
    if (n > 1 && request->kind == DP_CLASSES) {
        return dp_fail(DP_EUSAGE,
                       "data.target names %d columns, but loss.name = cross_entropy "
                       "takes one of class numbers",
                       n);
    }
    int first = columns->n > n ? columns->n - n : 0;
    DP_TRY(give_target_roles(text, columns, n, name, first, request->schema.optional,
                             " (data.target)"));
    for (int c = 0; c < columns->n; c++) {
        if (columns->role[c] == FREE) {
            columns->role[c] = columns->features++;
        }
    }
    if (columns->features == 0) {
        return dp_fail(
            DP_EDATA, "%s: no column is left to predict from%s", text->path,
            columns->n == 1 ? ": there is only one (is the separator , ; or TAB?)" : "");
    }
    return DP_OK;
}

static dp_status match_targets(const dp_csv_text *text, const dp_read_request *request,
                               dp_csv_columns *columns) {
    const dp_schema *schema = &request->schema;
    char **name = NULL;
    int n = 0;
    DP_TRY(dp_names_split(request->target, &n, &name));
    bool last = n == 0 && !(schema->optional && columns->n == schema->features);
    dp_status status =
        last ? take_targets(text, request, 1, &columns->name[columns->n - 1], columns)
             : take_targets(text, request, n, name, columns);
    dp_memory_free(&name);
    return status;
}

dp_status dp_csv_columns_read(dp_csv_text *text, const dp_read_request *request,
                              dp_csv_columns *out) {
    DP_TRY(read_header(text, out));
    out->role = dp_alloc((size_t)out->n, sizeof *out->role);
    for (int c = 0; c < out->n; c++) {
        out->role[c] = FREE;
    }
    return request->schema.ncolumns > 0 ? match_schema(text, &request->schema, out)
                                        : match_targets(text, request, out);
}

char **dp_csv_columns_names(const dp_csv_columns *columns) {
    int n = columns->features + columns->targets;
    char **order = dp_alloc((size_t)n, sizeof *order);
    for (int c = 0; c < columns->n; c++) {
        if (columns->role[c] >= 0) {
            order[columns->role[c]] = columns->name[c];
        }
    }
    char **names = dp_names_copy(n, order);
    free(order);
    return names;
}

void dp_csv_columns_free(dp_csv_columns *columns) {
    free(columns->name);
    free(columns->role);
}
