#include "settings/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct settings settings;
static char error[OPTION_ERROR_MAX];

static int defaults_set(void **state)
{
    (void)state;
    settings_default(&settings);
    error[0] = '\0';
    return 0;
}

static int bytes_read(const char *bytes, size_t length)
{
    char path[] = "/tmp/vivary-file-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    close(fd);
    int r = settings_from_file(&settings, path, error);
    unlink(path);
    return r;
}

static int text_read(const char *text)
{
    return bytes_read(text, strlen(text));
}

static void each_line_sets_its_option_also_the_last_without_an_end(void **state)
{
    (void)state;
    assert_int_equal(
        text_read(
            "# comment\n  ; indented comment\n\n \nslots=3\r\nshare = /srv/a b\nlisten = unix:/run/v\nlisten = [::1]:2\nidle-ms = 100"),
        0);
    assert_int_equal(settings.slots, 3);
    assert_string_equal(settings.share, "/srv/a b");
    assert_string_equal(settings.listen[0], "unix:/run/v");
    assert_string_equal(settings.listen[1], "[::1]:2");
    assert_int_equal(settings.idle_ms, 100);
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *told;
    } CASES[] = {
        { "slots = 3\nslots = 3\n", ":2: slots stands there twice" },
        { "slots = 3\n\nslot = 4\n", ":3: there is no option 'slot'" },
        { "slots = 0\n", ":1: slots takes a whole number from 1 to 1024" },
        { "slots\n", ":1: a line name = value" },
        { "[server]\n", ":1: there are no sections" },
        { "level = none\n", ":1: level takes auto, full or contained" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(text_read(CASES[i].text), -1);
        assert_non_null(strstr(error, CASES[i].told));
    }
}

static void of_two_wrong_lines_the_first_is_told(void **state)
{
    (void)state;
    assert_int_equal(text_read("nonsense\nslot = 4\n"), -1);
    assert_non_null(strstr(error, ":1: a line name = value"));
    assert_int_equal(text_read("slot = 4\nnonsense\n"), -1);
    assert_non_null(strstr(error, ":1: there is no option 'slot'"));
}

/* inih takes such a line for more of the value before: a second address, here. */
static void an_indented_line_is_refused(void **state)
{
    (void)state;
    assert_int_equal(text_read("listen = 127.0.0.1:1\n  slots = 3\n"), -1);
    assert_non_null(strstr(error, ":2: the line is indented"));
}

static void a_line_is_taken_at_its_longest_and_refused_one_past_it(void **state)
{
    (void)state;
    char text[256] = "slots = 3\nshare = /";
    size_t start = strlen("slots = 3\n"), longest = 198;
    memset(text + strlen(text), 'a', start + longest - strlen(text));
    text[start + longest] = '\n';
    assert_int_equal(text_read(text), 0);
    assert_int_equal(strlen(settings.share), longest - strlen("share = "));
    text[start + longest] = 'a';
    text[start + longest + 1] = '\n';
    assert_int_equal(text_read(text), -1);
    assert_non_null(strstr(error, ":2: the line is too long: at most 198 bytes"));
}

static void a_nul_is_refused(void **state)
{
    (void)state;
    assert_int_equal(bytes_read("slots = 3\0009\n", 12), -1);
    assert_non_null(strstr(error, ":1: there is a NUL"));
}

static void a_folder_and_a_file_that_is_not_there_are_refused(void **state)
{
    (void)state;
    assert_int_equal(settings_from_file(&settings, "/tmp", error), -1);
    assert_non_null(strstr(error, "Is a directory"));
    assert_int_equal(settings_from_file(&settings, "/nowhere/vivary.conf", error), -1);
    assert_non_null(strstr(error, "/nowhere/vivary.conf: No such file"));
}

static void a_pipe_is_read_as_well_as_a_file(void **state)
{
    (void)state;
    int ends[2];
    char path[64];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "slots = 5\n", 10), 10);
    close(ends[1]);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    assert_int_equal(settings_from_file(&settings, path, error), 0);
    close(ends[0]);
    assert_int_equal(settings.slots, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_line_sets_its_option_also_the_last_without_an_end, defaults_set),
        cmocka_unit_test_setup(what_is_wrong_is_told_with_its_line, defaults_set),
        cmocka_unit_test_setup(of_two_wrong_lines_the_first_is_told, defaults_set),
        cmocka_unit_test_setup(an_indented_line_is_refused, defaults_set),
        cmocka_unit_test_setup(a_line_is_taken_at_its_longest_and_refused_one_past_it, defaults_set),
        cmocka_unit_test_setup(a_nul_is_refused, defaults_set),
        cmocka_unit_test_setup(a_folder_and_a_file_that_is_not_there_are_refused, defaults_set),
        cmocka_unit_test_setup(a_pipe_is_read_as_well_as_a_file, defaults_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
