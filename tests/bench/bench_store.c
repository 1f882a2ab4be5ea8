/*
 * bench_store.c - objects a second made durable, in groups of 1, 16 and 256, beside bare loops without a store.
 *
 *   build/release/tests/bench_store [FOLDER]     on the file system of FOLDER (default: the working folder)
 *   build/release/tests/bench_store FOLDER SIZE  the bare loop alone, for farm_rate.py: files of SIZE bytes in groups of the sizes
 *                                                that stdin lists, which stay there; prints files a second
 *
 * The bare loops: "sync each" is a file, fsync, rename, fsync of the folder; "bare group" is what a group must cost at least:
 * temp files, one syncfs, renames, one syncfs, in one flat folder, with no hashes and no checks.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/store.h"

enum { OBJECTS = 512, OBJECTS_SYNCED_EACH = 128, REPEATS = 3 };

struct objects {
    struct store_item items[OBJECTS];
    uint8_t *data; /* [OBJECTS,size] */
    size_t size;
};

static uint64_t random_state = 88172645463325252u;

static void objects_fill(struct objects *objects, size_t size) {
    objects->size = size;
    objects->data = memory_get_array(OBJECTS, size);
    for (size_t i = 0; i < OBJECTS * size; i += 8) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        memcpy(objects->data + i, &random_state, 8);
    }
    for (size_t i = 0; i < OBJECTS; i++)
        objects->items[i] = (struct store_item){ digest_of(objects->data + i * size, size), objects->data + i * size, size };
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info, (void)type, (void)place;
    return remove(path);
}

static void must(int right, const char *what) {
    if (right)
        return;
    perror(what);
    exit(1);
}

static double rate(size_t count, uint64_t since_ns) {
    return (double)count / ((double)(clock_monotonic_ns() - since_ns) / 1e9);
}

static double run_store(const char *folder, const struct objects *objects, size_t group, size_t count) {
    struct store *store;
    struct error error;
    if (store_open(&store, folder, &error)) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    uint64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < count; i += group)
        if (store_put(store, objects->items + i, group, &error)) {
            fprintf(stderr, "%s\n", error.message);
            exit(1);
        }
    double found = rate(count, begin_ns);
    store_close(store);
    return found;
}

static void write_file(int folder, const char *name, const struct objects *objects, size_t i, int synced) {
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    must(fd >= 0 && write(fd, objects->items[i].data, objects->size) == (ssize_t)objects->size, name);
    must(!synced || fsync(fd) == 0, "fsync");
    must(close(fd) == 0, "close");
}

/* One group's files, `first` the number of the first of them; `each`: synced one by one. */
static void write_group(int folder, const struct objects *objects, size_t first, size_t group, int each) {
    char from[32], to[32];
    for (size_t k = first; k < first + group; k++) {
        snprintf(from, sizeof from, "t%zu", k);
        write_file(folder, from, objects, k % OBJECTS, each);
    }
    must(each || syncfs(folder) == 0, "syncfs");
    for (size_t k = first; k < first + group; k++) {
        snprintf(from, sizeof from, "t%zu", k);
        snprintf(to, sizeof to, "o%zu", k);
        must(renameat(folder, from, folder, to) == 0, "rename");
    }
    must((each ? fsync(folder) : syncfs(folder)) == 0, "sync");
}

static int make_folder(const char *path) {
    must(mkdir(path, 0755) == 0, path);
    int folder = open(path, O_RDONLY | O_DIRECTORY);
    must(folder >= 0, path);
    return folder;
}

static double run_bare(const char *path, const struct objects *objects, size_t group, size_t count) {
    int folder = make_folder(path);
    uint64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < count; i += group)
        write_group(folder, objects, i, group, group == 1);
    double found = rate(count, begin_ns);
    close(folder);
    return found;
}

static int run_groups_of_stdin(const char *where, size_t size) {
    struct objects *objects = memory_get(sizeof *objects);
    size_t count = 0, group;
    int folder = open(where, O_RDONLY | O_DIRECTORY);
    must(folder >= 0, where);
    objects_fill(objects, size);
    uint64_t begin_ns = clock_monotonic_ns();
    for (; scanf("%zu", &group) == 1; count += group)
        write_group(folder, objects, count, group, 0);
    printf("%.1f\n", rate(count, begin_ns));
    close(folder);
    free(objects->data);
    free(objects);
    return 0;
}

int main(int argc, char **argv) {
    static const size_t groups[] = { 1, 16, 256 }, sizes[] = { 10 << 10, 50 << 10 };
    const char *where = argc > 1 ? argv[1] : ".";
    if (argc > 2)
        return run_groups_of_stdin(where, strtoul(argv[2], NULL, 10) / 8 * 8);
    printf("%-8s %-6s %16s %22s\n", "bytes", "group", "store, files/s", "bare loop, files/s");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct objects *objects = memory_get(sizeof *objects);
        objects_fill(objects, sizes[s]);
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
            double store_best = 0, bare_best = 0;
            for (int repeat = 0; repeat < REPEATS; repeat++) { /* in turns: other work disturbs both alike */
                size_t count = groups[g] == 1 ? OBJECTS_SYNCED_EACH : OBJECTS;
                char *folder = text_format("%s/bench-store-XXXXXX", where);
                must(mkdtemp(folder) != NULL, folder);
                char *store = text_format("%s/store", folder), *bare = text_format("%s/bare", folder);
                double store_rate = run_store(store, objects, groups[g], count);
                double bare_rate = run_bare(bare, objects, groups[g], count);
                store_best = store_rate > store_best ? store_rate : store_best;
                bare_best = bare_rate > bare_best ? bare_rate : bare_best;
                must(nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0, folder);
                free(store);
                free(bare);
                free(folder);
            }
            printf("%-8zu %-6zu %16.0f %22.0f%s\n", sizes[s], groups[g], store_best, bare_best,
                   groups[g] == 1 ? "  (sync each)" : "");
        }
        free(objects->data);
        free(objects);
    }
    return 0;
}
