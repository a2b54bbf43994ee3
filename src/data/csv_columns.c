/* Which column is what. */
#include "csv_columns.h"
#include "base/log.h"
#include "base/memory.h"
#include "names.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- header ---- */

/* Whether it numbers the rows, as pandas and R write it before the others. */
static bool is_index(const dp_csv_columns *columns, int c) {
    const char *name = columns->name[c];
    return c == 0 && (!name[0] || strcmp(name, "Unnamed: 0") == 0);
}

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
        if (!columns->name[c][0] && c > 0) {
            return dp_fail(DP_EDATA, "%s:%d: column %d has no name", text->path, line,
                           c + 1);
        }
        if (!dp_names_is_utf8(columns->name[c])) {
            return dp_fail(
                DP_EDATA,
                "%s:%d: the name of column %d is not UTF-8; scripts/prepare.py "
                "%s -o OUT.h5 reads other encodings",
                text->path, line, c + 1, text->path);
        }
        numbers += dp_csv_number(text, columns->name[c], &v);
    }
    if (numbers == columns->n) {
        return dp_fail(DP_EDATA,
                       "%s:%d: numbers where the columns' names are expected; "
                       "scripts/prepare.py %s -o OUT.h5 takes files without a header",
                       text->path, line, text->path);
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

/* Looks at the likely place first: there may be very many. */
static int find_column(const dp_csv_columns *columns, const char *name, int likely) {
    return likely < columns->n && strcmp(columns->name[likely], name) == 0
               ? likely
               : dp_names_find(columns->n, columns->name, name);
}

/* Finds the columns of these n names, features then targets. `whose` names they are, if
 * one is missing; where targets may be, it is all of them or none. */
static dp_status give_roles(const dp_csv_text *text, int features, int n,
                            char *const *name, bool optional, const char *whose,
                            dp_csv_columns *columns) {
    columns->features = features;
    columns->targets = n - features;
    for (int k = 0; k < n; k++) {
        int c = find_column(columns, name[k], k);
        if (c >= 0 && columns->role[c] >= 0) {
            return dp_fail(DP_EUSAGE, "data.target names '%s' twice", name[k]);
        }
        if (c >= 0) {
            columns->role[c] = k;
        } else if (optional && k >= features) {
            columns->targets = 0;
        } else {
            return no_column(text, columns, name[k], whose);
        }
    }
    columns->taken = dp_names_copy(features + columns->targets, name);
    return DP_OK;
}

/* Lists of names, from the config. */
typedef struct name_list {
    int n;
    char **name; /* owner: the list */
    const char *key;
} name_list;

/* The names are columns of the file, each but once, and none is a target. */
static dp_status check_list(const dp_csv_text *text, const dp_csv_columns *columns,
                            const name_list *list, int ntargets, char *const *target) {
    char whose[40];
    snprintf(whose, sizeof whose, " (%s)", list->key);
    for (int k = 0; k < list->n; k++) {
        const char *name = list->name[k];
        if (find_column(columns, name, k) < 0) {
            return no_column(text, columns, name, whose);
        }
        if (dp_names_find(k, list->name, name) >= 0) {
            return dp_fail(DP_EUSAGE, "%s names '%s' twice", list->key, name);
        }
        if (dp_names_find(ntargets, target, name) >= 0) {
            return dp_fail(DP_EUSAGE,
                           "%s names '%s', which is the target: data.target says which "
                           "column is",
                           list->key, name);
        }
    }
    return DP_OK;
}

/* The inputs: those of data.columns, in its order, or all but the targets; without those
 * of data.exclude. feature[columns->n] */
static dp_status choose_features(const dp_csv_text *text, const dp_csv_columns *columns,
                                 const name_list list[2], int ntargets,
                                 char *const *target, char **feature, int *features) {
    const name_list *only = &list[0], *exclude = &list[1];
    DP_TRY(check_list(text, columns, only, ntargets, target));
    DP_TRY(check_list(text, columns, exclude, ntargets, target));
    bool all = only->n == 0;
    int n = all ? columns->n : only->n;
    char *const *name = all ? columns->name : only->name;
    *features = 0;
    for (int c = 0; c < n; c++) {
        if (dp_names_find(ntargets, target, name[c]) >= 0 ||
            dp_names_find(exclude->n, exclude->name, name[c]) >= 0) {
            continue;
        }
        if (all && is_index(columns, c)) {
            dp_warn("%s: the first column, '%s', is taken for the rows' numbers and left "
                    "out; data.columns names the inputs",
                    text->path, name[c]);
            continue;
        }
        feature[(*features)++] = name[c];
    }
    return *features > 0
               ? DP_OK
               : dp_fail(DP_EDATA, "%s: no column is left to predict from%s", text->path,
                         columns->n == 1
                             ? ": there is only one (is the separator , ; or TAB?)"
                             : "");
}

static dp_status take_lists(const dp_csv_text *text, const dp_read_request *request,
                            const name_list list[2], int n, char *const *target,
                            dp_csv_columns *columns) {
    int features = 0;
    char **name = dp_alloc((size_t)(columns->n + n), sizeof *name);
    dp_status status = choose_features(text, columns, list, n, target, name, &features);
    if (status == DP_OK) {
        memcpy(name + features, target, (size_t)n * sizeof *name);
        status = give_roles(text, features, features + n, name, request->schema.optional,
                            " (data.target)", columns);
    }
    free(name);
    return status;
}

/* These are the targets; the lists of the config say which of the rest are inputs. */
static dp_status take_targets(const dp_csv_text *text, const dp_read_request *request,
                              int n, char *const *target, dp_csv_columns *columns) {
    if (n > 1 && request->kind == DP_CLASSES) {
        return dp_fail(DP_EUSAGE,
                       "data.target names %d columns, but loss.name = cross_entropy "
                       "takes one of class numbers",
                       n);
    }
    name_list list[2] = {{.key = "data.columns"}, {.key = "data.exclude"}};
    dp_status status = dp_names_split(request->columns, &list[0].n, &list[0].name);
    status = status != DP_OK
                 ? status
                 : dp_names_split(request->exclude, &list[1].n, &list[1].name);
    if (status == DP_OK) {
        status = take_lists(text, request, list, n, target, columns);
    }
    dp_memory_free(&list[0].name);
    dp_memory_free(&list[1].name);
    return status;
}

/* By the names that the training file's columns have. What else is there is told, but for
 * what the config leaves out. */
static dp_status take_known(const dp_csv_text *text, const dp_read_request *request,
                            dp_csv_columns *columns) {
    const dp_schema *schema = &request->schema;
    DP_TRY(give_roles(text, schema->features, schema->ncolumns, schema->column,
                      schema->optional, ", which the training data has", columns));
    int n = 0;
    char **exclude = NULL;
    DP_TRY(dp_names_split(request->exclude, &n, &exclude));
    int unused = 0;
    while (unused < columns->n &&
           (columns->role[unused] >= 0 || is_index(columns, unused) ||
            dp_names_find(n, exclude, columns->name[unused]) >= 0)) {
        unused++;
    }
    if (unused < columns->n && !request->columns[0]) {
        dp_warn("%s: column '%s' is not used: the model knows no such input", text->path,
                columns->name[unused]);
    }
    dp_memory_free(&exclude);
    return DP_OK;
}

dp_status dp_csv_columns_read(dp_csv_text *text, const dp_read_request *request,
                              dp_csv_columns *out) {
    const dp_schema *schema = &request->schema;
    DP_TRY(read_header(text, out));
    out->role = dp_alloc((size_t)out->n, sizeof *out->role);
    memset(out->role, -1, (size_t)out->n * sizeof *out->role);
    if (schema->ncolumns > 0) {
        return take_known(text, request, out);
    }
    char **target = NULL, **last = &out->name[out->n - 1];
    int n = 0;
    DP_TRY(dp_names_split(request->target, &n, &target));
    bool named = n > 0 || (schema->optional && out->n == schema->features);
    dp_status status = named ? take_targets(text, request, n, target, out)
                             : take_targets(text, request, 1, last, out);
    dp_memory_free(&target);
    return status;
}

void dp_csv_columns_free(dp_csv_columns *columns) {
    free(columns->name);
    free(columns->role);
    dp_memory_free(&columns->taken);
}
