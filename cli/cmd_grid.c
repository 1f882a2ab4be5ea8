/* cmd_grid.c - `seedfarm grid`: a contact sheet with the axes' values along its edges. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/call.h"
#include "cli/commands.h"
#include "cli/gallery.h"
#include "cli/output.h"
#include "picture/picture.h"

enum { GRID_CELLS_LIMIT = 20000, GRID_PLAIN_COLUMNS = 32, CELL_SIDE = 256, LABEL_LETTERS = 200 };

/* The innermost axis runs along a line of cells and wraps after `columns`; every combination of the outer axes begins a line
 * of its own. */
struct layout {
    uint64_t inner;      /* positions of the innermost axis */
    uint32_t columns;
    uint32_t lines;      /* that one run of the innermost axis takes */
    uint32_t rows;
    bool wrapped;
};

struct cell {
    uint32_t column, row;
    enum job_state state;
    struct digest picture;
};

struct grid {
    struct layout layout;
    const struct sweep *sweep;
    struct cell *cells;
    size_t count;
    char **row_labels, **column_labels; /* owned; NULL until a job tells */
    uint32_t width, height;             /* largest picture */
};

static enum err plan_layout(struct layout *layout, const struct sweep *sweep, uint32_t wanted, struct error *error) {
    uint64_t places;
    enum err err = sweep_places(&places, sweep, error);
    if (err)
        return err;
    if (places > GRID_CELLS_LIMIT)
        return error_set(error, ERR_LIMIT, "a contact sheet holds at most %d pictures, the sweep has %" PRIu64,
                         GRID_CELLS_LIMIT, places);
    layout->inner = sweep->axis_count ? sweep->axes[sweep->axis_count - 1].count : 1;
    bool plain = layout->inner == places || layout->inner > GRID_PLAIN_COLUMNS;
    uint64_t columns = wanted ? wanted : plain ? (uint64_t)ceil(sqrt((double)layout->inner)) : layout->inner;
    if (columns > layout->inner)
        columns = layout->inner;
    layout->columns = (uint32_t)columns;
    layout->lines = (uint32_t)((layout->inner + columns - 1) / columns);
    layout->rows = (uint32_t)(places / layout->inner) * layout->lines;
    layout->wrapped = layout->lines > 1;
    return ERR_OK;
}

/* The values of axes[first..end) at this job: "a frog", "seed 3, cfg 4.5". */
static char *axis_label(const struct sweep *sweep, uint32_t first, uint32_t end, const struct spec *spec) {
    struct bytes label = BYTES_INIT;
    for (uint32_t a = first; a < end; a++) {
        for (uint32_t f = 0; f < sweep->axes[a].field_count; f++) {
            enum field field = sweep->axes[a].fields[f];
            struct bytes value = BYTES_INIT;
            spec_get(&value, spec, field);
            if (label.size)
                bytes_add_text(&label, ", ");
            if (catalog_field(field)->type == TYPE_MODEL || catalog_field(field)->type == TYPE_FILE) /* a digest's first letters name it well enough */
                bytes_add_format(&label, "%s %.10s", catalog_field(field)->name, bytes_text(&value));
            else if (field == FIELD_PROMPT)
                bytes_add_text(&label, bytes_text(&value));
            else
                bytes_add_format(&label, "%s %s", catalog_field(field)->name, bytes_text(&value));
            bytes_release(&value);
        }
    }
    char *text = text_copy_size(bytes_text(&label), label.size < LABEL_LETTERS ? label.size : LABEL_LETTERS);
    bytes_release(&label);
    return text;
}

static void label_edges(struct grid *grid, const struct cell *cell, const struct spec *spec, uint64_t inner) {
    const struct sweep *sweep = grid->sweep;
    uint32_t axes = sweep->axis_count;
    if (axes == 0)
        return;
    if (!grid->layout.wrapped && !grid->column_labels[cell->column])
        grid->column_labels[cell->column] = axis_label(sweep, axes - 1, axes, spec);
    if (!grid->row_labels[cell->row]) {
        bool starts = inner % grid->layout.columns == 0;
        grid->row_labels[cell->row] = axis_label(sweep, 0, grid->layout.wrapped && starts ? axes : axes - 1, spec);
    }
}

static enum err add_job(void *context, const struct listed_job *job, struct error *error) {
    struct grid *grid = context;
    struct spec spec = { 0 };
    uint64_t inner = job->index % grid->layout.inner;
    struct cell *cell = &grid->cells[grid->count++];
    *cell = (struct cell){ .column = (uint32_t)(inner % grid->layout.columns),
                           .row = (uint32_t)(job->index / grid->layout.inner) * grid->layout.lines +
                                  (uint32_t)(inner / grid->layout.columns),
                           .state = job->state, .picture = job->picture };
    enum err err = spec_parse(&spec, job->spec, strlen(job->spec), error);
    if (!err) {
        label_edges(grid, cell, &spec, inner);
        grid->width = spec.width > grid->width ? spec.width : grid->width;
        grid->height = spec.height > grid->height ? spec.height : grid->height;
    }
    spec_release(&spec);
    return err;
}

static enum err place_cell(struct sheet *sheet, struct farm *farm, const struct cell *cell, struct error *error) {
    struct bytes png = BYTES_INIT;
    struct picture picture = { 0 };
    if (cell->state != JOB_DONE) {
        sheet_mark(sheet, cell->column, cell->row, job_state_name(cell->state));
        return ERR_OK;
    }
    enum err err = farm_fetch(&png, farm, &cell->picture, LIMIT_PICTURE, error);
    if (!err)
        err = png_decode(&picture, png.data, png.size, error);
    if (!err)
        sheet_place(sheet, cell->column, cell->row, &picture);
    picture_release(&picture);
    bytes_release(&png);
    return err;
}

static enum err draw(struct picture *out, struct grid *grid, struct farm *farm, const char *title, uint32_t cell_side,
                     struct error *error) {
    struct sheet *sheet = NULL;
    double longest = grid->width > grid->height ? grid->width : grid->height;
    double scale = longest > cell_side ? cell_side / longest : 1;
    struct sheet_options options = {
        .columns = grid->layout.columns, .rows = grid->layout.rows,
        .cell_width = (uint32_t)lrint(grid->width * scale), .cell_height = (uint32_t)lrint(grid->height * scale),
        .title = title,
        .column_labels = grid->layout.wrapped || !grid->sweep->axis_count ? NULL : (const char *const *)grid->column_labels,
        .row_labels = (const char *const *)grid->row_labels,
    };
    enum err err = sheet_create(&sheet, &options, error);
    for (size_t i = 0; i < grid->count && !err; i++)
        err = place_cell(sheet, farm, &grid->cells[i], error);
    if (!err)
        err = sheet_finish(out, sheet, error);
    sheet_destroy(sheet);
    return err;
}

/* A row or column nobody named (all its jobs excluded) has an empty label. */
static void fill_labels(char **labels, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!labels[i])
            labels[i] = text_copy("");
}

static void free_labels(char **labels, uint32_t count) {
    for (uint32_t i = 0; labels && i < count; i++)
        free(labels[i]);
    free(labels);
}

static enum err make_sheet(struct picture *out, struct farm *farm, const char *word, uint32_t columns, uint32_t cell_side,
                           struct error *error) {
    struct grid grid = { 0 };
    struct sweep sweep = { 0 };
    struct message status = { 0 };
    enum err err = farm_status(&status, farm, word, error);
    if (err)
        return err;
    const struct sweep_status *which = &status.status_report.sweeps[0];
    if ((err = gallery_sweep(&sweep, farm, &which->id, error)))
        goto done;
    if ((err = plan_layout(&grid.layout, &sweep, columns, error)))
        goto done;
    grid.sweep = &sweep;
    grid.cells = memory_get_array((size_t)grid.layout.rows * grid.layout.columns, sizeof *grid.cells);
    grid.row_labels = memory_get_array(grid.layout.rows, sizeof *grid.row_labels);
    grid.column_labels = memory_get_array(grid.layout.columns, sizeof *grid.column_labels);
    if ((err = gallery_each(farm, word, 0, 0, add_job, &grid, error)))
        goto done;
    if (grid.count == 0) {
        err = error_set(error, ERR_NOT_FOUND, "sweep \"%s\" has no jobs to show", word);
        goto done;
    }
    fill_labels(grid.row_labels, grid.layout.rows);
    fill_labels(grid.column_labels, grid.layout.columns);
    err = draw(out, &grid, farm, which->name, cell_side, error);
done:
    free_labels(grid.row_labels, grid.layout.rows);
    free_labels(grid.column_labels, grid.layout.columns);
    free(grid.cells);
    sweep_release(&sweep);
    message_release(&status);
    return err;
}

static enum err write_sheet(const char *path, const struct picture *picture, struct error *error) {
    struct bytes png = BYTES_INIT;
    enum err err = png_encode(&png, picture, NULL, 0, error);
    if (!err)
        err = file_write(path, png.data, png.size, error);
    bytes_release(&png);
    return err;
}

static enum err report(const char *path, const struct picture *sheet, bool json, struct error *error) {
    if (json)
        return output_json(json_pack("{s:s, s:I, s:I}", "file", path, "width", (json_int_t)sheet->width, "height",
                                     (json_int_t)sheet->height),
                           error);
    printf("%s: %ux%u\n", path, sheet->width, sheet->height);
    return output_flush(error);
}

static enum err grid_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    const char *out = NULL;
    uint32_t columns = 0, cell_side = CELL_SIDE;
    const struct flag own[] = {
        { "output", 'o', "SHEET.png", "the sheet's file", &out, NULL, NULL },
        { "columns", 0, "N", "cells a line before the innermost axis wraps (0: what looks best)", NULL, &columns, NULL },
        { "cell", 0, "PIXELS", "longest side of a cell (256)", NULL, &cell_side, NULL },
    };
    struct picture sheet = { 0 };
    struct call call;
    enum err err = call_parse(&call, 1, 1, own, sizeof own / sizeof *own, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if (!out)
        return error_set(error, ERR_INVALID, "grid: want -o SHEET.png");
    if (cell_side < 8 || cell_side > 4096)
        return error_set(error, ERR_INVALID, "--cell: want 8..4096 pixels, got %u", cell_side);
    if (!(err = call_open(&call, error)))
        err = make_sheet(&sheet, &call.farm, call.sweep, columns, cell_side, error);
    call_end(&call);
    if (!err)
        err = write_sheet(out, &sheet, error);
    if (!err)
        err = report(out, &sheet, call.json, error);
    picture_release(&sheet);
    return err;
}

const struct command command_grid = {
    "grid", "SWEEP", "draw a contact sheet of a sweep, the axes' values along its edges",
    "  seedfarm grid frog -o frog.png\n"
    "  seedfarm grid examples/frog.yaml --store seedfarm-store -o frog.png --columns 16\n",
    grid_run
};
