/* test_outbox.c - results on disk: delivered until acknowledged, read back, torn ones dropped, kill -9 at any moment. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "tests/worker/double.h"
#include "worker/outbox.h"


static struct outbox *open_outbox(const char *folder) {
    struct outbox *outbox = NULL;
    struct error error;
    if (outbox_open(&outbox, folder, &error) != ERR_OK)
        fail_msg("%s", error.message);
    return outbox;
}

static struct digest key_of(uint32_t number) {
    return digest_of(&number, sizeof number);
}

/* Pictures number..number + count - 1, together. */
static void put_batch(struct outbox *outbox, uint64_t lease, uint32_t number, uint32_t count, size_t size) {
    struct rendered rendered[LIMIT_BATCH];
    struct outbox_entry entries[LIMIT_BATCH] = { 0 };
    struct error error;
    for (uint32_t k = 0; k < count; k++) {
        rendered[k] = (struct rendered){ .png = BYTES_INIT, .render_ms = number + k };
        entries[k] = (struct outbox_entry){ key_of(number + k), &rendered[k] };
        bytes_reserve(&rendered[k].png, size);
        for (size_t i = 0; i < size; i++)
            rendered[k].png.data[i] = (uint8_t)(number + k + i);
        rendered[k].png.size = size;
        rendered[k].picture = digest_of(rendered[k].png.data, size);
        rendered[k].pixels = entries[k].key;
    }
    if (outbox_put(outbox, lease, 3, entries, count, &error) != ERR_OK)
        fail_msg("%s", error.message);
    for (uint32_t k = 0; k < count; k++)
        rendered_release(&rendered[k]);
}

static void put(struct outbox *outbox, uint64_t lease, uint32_t number, size_t size) {
    put_batch(outbox, lease, number, 1, size);
}

/* A file of the folder whose name ends so. */
static char *some_file(const char *folder, const char *end) {
    char *found = NULL;
    DIR *listing = opendir(folder);
    for (struct dirent *entry = readdir(listing); entry && !found; entry = readdir(listing)) {
        size_t size = strlen(entry->d_name);
        if (size >= strlen(end) && strcmp(entry->d_name + size - strlen(end), end) == 0)
            found = path_join(folder, entry->d_name);
    }
    closedir(listing);
    return found;
}

static void delivers_by_lease_until_acknowledged(void **state) {
    char *place = place_create();
    struct outbox *outbox = open_outbox(place);
    struct message_results results;
    (void)state;
    put(outbox, 1, 10, 1000);
    put(outbox, 1, 11, 1000);
    put(outbox, 2, 20, 1000);
    outbox_next(&results, outbox, 1 << 20);
    assert_int_equal(results.count, 2);
    assert_int_equal(results.lease, 1);
    assert_int_equal(results.epoch, 3);
    assert_int_equal(results.items[1].render_ms, 11);
    assert_int_equal(outbox_unacknowledged(outbox), 2000);
    struct digest keys[] = { results.items[0].key, results.items[1].key };
    outbox_results_release(&results);
    outbox_next(&results, outbox, 1 << 20);
    assert_int_equal(results.count, 1);
    assert_int_equal(results.lease, 2);
    outbox_results_release(&results);
    outbox_next(&results, outbox, 1 << 20);
    assert_int_equal(results.count, 0);
    outbox_results_release(&results);
    assert_int_equal(place_count(place), 3);
    outbox_forget(outbox, keys, 2);
    assert_int_equal(place_count(place), 1);
    assert_int_equal(outbox_unacknowledged(outbox), 1000);
    assert_false(outbox_holds_lease(outbox, 1));
    outbox_resend(outbox, false);
    outbox_next(&results, outbox, 1 << 20);
    assert_int_equal(results.count, 1);
    outbox_results_release(&results);
    outbox_close(outbox);
    place_remove(place);
}

/* A batch is one file. It stays while anything in it is wanted; of a torn one what is whole is kept. */
static void keeps_batches_in_files(void **state) {
    char *place = place_create(), *path;
    struct outbox *outbox = open_outbox(place);
    struct message_results results;
    struct digest keys[] = { key_of(1), key_of(2), key_of(3) }, eighth = key_of(8);
    (void)state;
    put_batch(outbox, 1, 1, 3, 1000);
    put_batch(outbox, 1, 2, 3, 1000); /* one more, and two that are here already */
    assert_int_equal(outbox_count(outbox), 4);
    assert_int_equal(place_count(place), 2);
    path = some_file(place, "0.batch");
    outbox_forget(outbox, keys, 2);
    assert_int_equal(place_count(place), 2);
    outbox_forget(outbox, keys + 2, 1);
    assert_int_equal(place_count(place), 1);
    put_batch(outbox, 1, 5, 3, 1000);
    outbox_close(outbox);
    free(path);
    path = some_file(place, "2.batch");
    assert_int_equal(truncate(path, 3000), 0);
    outbox = open_outbox(place);
    assert_int_equal(outbox_count(outbox), 3);
    put_batch(outbox, 1, 8, 1, 1000); /* into a file of its own */
    assert_int_equal(place_count(place), 3);
    outbox_resend(outbox, false);
    outbox_forget(outbox, &eighth, 1);
    outbox_next(&results, outbox, 1 << 20);
    assert_int_equal(results.count, 3);
    outbox_results_release(&results);
    outbox_close(outbox);
    free(path);
    place_remove(place);
}

static void holds_to_its_credit(void **state) {
    char *place = place_create();
    struct outbox *outbox = open_outbox(place);
    struct message_results results;
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        put(outbox, 1, i, 1000);
    outbox_next(&results, outbox, 2500);
    assert_int_equal(results.count, 2);
    outbox_results_release(&results);
    outbox_next(&results, outbox, 500); /* what is left of the credit: nothing fits */
    assert_int_equal(results.count, 0);
    outbox_results_release(&results);
    outbox_resend(outbox, false);
    outbox_next(&results, outbox, 500); /* larger than all credit: it goes, but alone */
    assert_int_equal(results.count, 1);
    outbox_results_release(&results);
    outbox_close(outbox);
    place_remove(place);
}

static void refused_ones_go_alone_then_go(void **state) {
    char *place = place_create();
    struct outbox *outbox = open_outbox(place);
    struct message_results results;
    struct digest keys[] = { key_of(1), key_of(2) };
    (void)state;
    put(outbox, 1, 1, 100);
    put(outbox, 1, 2, 100);
    outbox_next(&results, outbox, 1000);
    assert_int_equal(results.count, 2);
    outbox_results_release(&results);
    assert_false(outbox_refused(outbox, keys, 2));
    outbox_next(&results, outbox, 1000);
    assert_int_equal(results.count, 1);
    outbox_results_release(&results);
    assert_true(outbox_refused(outbox, keys, 1));
    assert_int_equal(place_count(place), 1);
    outbox_next(&results, outbox, 1000);
    assert_int_equal(results.count, 1);
    assert_memory_equal(&results.items[0].key, &keys[1], sizeof keys[1]);
    outbox_results_release(&results);
    outbox_close(outbox);
    place_remove(place);
}

static void adopts_into_a_new_lease(void **state) {
    char *place = place_create();
    struct outbox *outbox = open_outbox(place);
    struct message_results results;
    struct digest have = key_of(1), lack = key_of(2);
    (void)state;
    put(outbox, 1, 1, 100);
    outbox_next(&results, outbox, 1000);
    outbox_results_release(&results);
    assert_true(outbox_adopt(outbox, 9, 4, &have));
    assert_false(outbox_adopt(outbox, 9, 4, &lack));
    outbox_next(&results, outbox, 1000);
    assert_int_equal(results.count, 1);
    assert_int_equal(results.lease, 9);
    outbox_results_release(&results);
    outbox_close(outbox);
    place_remove(place);
}

/* Of an earlier life, or of a lost lease: offered, and carried only where it is wanted. */
static void offers_what_may_be_there(void **state) {
    char *place = place_create();
    struct outbox *outbox = open_outbox(place);
    struct message_results results;
    struct digest keys[] = { key_of(1), key_of(2) }, offered[OUTBOX_OFFER];
    (void)state;
    put(outbox, 1, 1, 100);
    put(outbox, 1, 2, 100);
    put(outbox, 7, 3, 100);
    assert_int_equal(outbox_next_offer(offered, outbox), 0); /* fresh ones go straight */
    outbox_lose_lease(outbox, 1);
    assert_int_equal(outbox_next_offer(offered, outbox), 2);
    assert_memory_equal(offered, keys, sizeof keys);
    assert_true(outbox_has_offered(outbox));
    assert_int_equal(outbox_next_offer(offered, outbox), 0);
    outbox_offer_again(outbox, offered, 2); /* it could not be sent */
    assert_int_equal(outbox_next_offer(offered, outbox), 2);
    outbox_wanted(outbox, keys, 1);
    outbox_forget(outbox, keys + 1, 1);
    assert_false(outbox_has_offered(outbox));
    outbox_next(&results, outbox, 1 << 20); /* of one lease at a time */
    assert_int_equal(results.count, 1);
    assert_int_equal(results.lease, 7);
    outbox_results_release(&results);
    outbox_next(&results, outbox, 1 << 20);
    assert_int_equal(results.count, 1);
    assert_memory_equal(&results.items[0].key, &keys[0], sizeof keys[0]);
    outbox_results_release(&results);
    outbox_resend(outbox, true);
    assert_int_equal(outbox_unacknowledged(outbox), 0);
    assert_int_equal(outbox_next_offer(offered, outbox), 2);
    outbox_close(outbox);
    place_remove(place);
}

static void drops_what_is_torn(void **state) {
    char *place = place_create(), *path;
    struct outbox *outbox = open_outbox(place);
    struct message_results results;
    (void)state;
    put(outbox, 1, 1, 5000);
    path = some_file(place, ".batch");
    outbox_close(outbox);
    outbox = open_outbox(place); /* on disk alone now */
    outbox_resend(outbox, false);
    assert_int_equal(truncate(path, 4096), 0);
    outbox_next(&results, outbox, 1 << 20); /* torn while we hold it: noticed on the way out */
    assert_int_equal(results.count, 0);
    outbox_results_release(&results);
    assert_int_equal(place_count(place), 0);
    free(path);

    put(outbox, 1, 2, 5000);
    put(outbox, 1, 3, 5000);
    outbox_close(outbox);
    path = some_file(place, ".batch");
    FILE *file = fopen(path, "r+");
    fputs("flipped", file);
    fclose(file);
    char *draft = text_format("%s.123.0.new", path), *odd = path_join(place, "notes.txt");
    assert_int_equal(file_write(draft, "half", 4, NULL), ERR_OK);
    assert_int_equal(file_write(odd, "?", 1, NULL), ERR_OK);
    outbox = open_outbox(place);
    assert_int_equal(outbox_count(outbox), 1);
    assert_int_equal(place_count(place), 1);
    outbox_resend(outbox, false);
    outbox_next(&results, outbox, 1 << 20);
    assert_int_equal(results.count, 1);
    assert_int_equal(results.lease, 0); /* from an earlier life */
    assert_int_equal(results.items[0].png_size, 5000);
    outbox_results_release(&results);
    outbox_close(outbox);
    free(path);
    free(draft);
    free(odd);
    place_remove(place);
}

/* A child fills the outbox as fast as it can and is killed; whatever is read back is whole. */
static void survives_kill_9(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        char *place = place_create();
        int ready[2];
        char byte;
        assert_int_equal(pipe(ready), 0);
        pid_t child = fork();
        if (child == 0) {
            struct outbox *outbox = NULL;
            if (outbox_open(&outbox, place, NULL) != ERR_OK)
                _exit(1);
            for (uint32_t i = 0;; i++) {
                put(outbox, 1, i, 20000 + i);
                if (i == 5 && write(ready[1], "x", 1) != 1)
                    _exit(1);
            }
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        clock_sleep_ms((uint64_t)round * 3);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        close(ready[0]);
        close(ready[1]);
        struct outbox *outbox = open_outbox(place);
        assert_true(outbox_count(outbox) >= 6);
        assert_int_equal(outbox_count(outbox), place_count(place)); /* the draft that was being written is gone */
        outbox_close(outbox);
        place_remove(place);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_by_lease_until_acknowledged),
        cmocka_unit_test(keeps_batches_in_files),
        cmocka_unit_test(holds_to_its_credit),
        cmocka_unit_test(refused_ones_go_alone_then_go),
        cmocka_unit_test(adopts_into_a_new_lease),
        cmocka_unit_test(offers_what_may_be_there),
        cmocka_unit_test(drops_what_is_torn),
        cmocka_unit_test(survives_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
