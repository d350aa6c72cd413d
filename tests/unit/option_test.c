#include "settings/file.h"
#include "settings/option.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
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

static void defaults_are_what_the_documentation_says(void **state)
{
    (void)state;
    assert_int_equal(settings.slots, 16);
    assert_int_equal(settings.deadline_ms, 10000);
    assert_int_equal(settings.memory_mb, 512);
    assert_int_equal(settings.body_max, 1 << 20);
    assert_int_equal(settings.result_max, 16 << 20);
    assert_string_equal(settings.python, "/usr/bin/python3");
    assert_string_equal(settings.preload, "numpy,pandas");
}

static void a_number_is_taken_at_its_bounds_and_not_past_them(void **state)
{
    (void)state;
    assert_int_equal(settings_set(&settings, "slots", "1", error), 0);
    assert_int_equal(settings_set(&settings, "slots", "1024", error), 0);
    assert_int_equal(settings.slots, 1024);
    static const char *const WRONG[] = { "0", "1025", "-1", "+1", " 1", "1 ", "1x", "", "0x10", "99999999999999999999", "1e3" };
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        assert_int_equal(settings_set(&settings, "slots", WRONG[i], error), -1);
        assert_non_null(strstr(error, "from 1 to 1024"));
    }
    assert_int_equal(settings.slots, 1024); /* a refused value changes nothing */
}

static void an_unknown_name_is_refused_by_name(void **state)
{
    (void)state;
    assert_int_equal(settings_set(&settings, "slot", "1", error), -1);
    assert_non_null(strstr(error, "'slot'"));
}

static void a_level_that_is_not_one_and_a_relative_python_are_refused(void **state)
{
    (void)state;
    assert_int_equal(settings_set(&settings, "level", "none", error), -1);
    assert_int_equal(settings_set(&settings, "level", "full", error), 0);
    assert_int_equal(settings_set(&settings, "python", "python3", error), -1);
}

static void addresses_add_up_to_a_maximum(void **state)
{
    (void)state;
    for (int i = 0; i < SETTINGS_LISTEN_MAX; i++)
        assert_int_equal(settings_set(&settings, "listen", "127.0.0.1:0", error), 0);
    assert_int_equal(settings_set(&settings, "listen", "127.0.0.1:0", error), -1);
    assert_int_equal(settings.listen_count, SETTINGS_LISTEN_MAX);
}

static void the_environment_is_read_and_an_unknown_variable_refused(void **state)
{
    (void)state;
    char *right[] = { "PATH=/bin", "VIVARY_DEADLINE_MS=77", "VIVARY_LISTEN=127.0.0.1:1,unix:/run/v", NULL };
    char *wrong[] = { "VIVARY_DEADLINE=77", NULL };
    assert_int_equal(settings_from_environment(&settings, right, error), 0);
    assert_int_equal(settings.deadline_ms, 77);
    assert_int_equal(settings.listen_count, 2);
    assert_string_equal(settings.listen[1], "unix:/run/v");
    assert_int_equal(settings_from_environment(&settings, wrong, error), -1);
    assert_non_null(strstr(error, "VIVARY_DEADLINE"));
}

static void a_wrong_value_is_told_with_its_variable(void **state)
{
    (void)state;
    char *wrong[] = { "VIVARY_QUEUE_MAX=x", NULL };
    assert_int_equal(settings_from_environment(&settings, wrong, error), -1);
    assert_non_null(strstr(error, "VIVARY_QUEUE_MAX: queue-max takes a whole number from 0 to 65536, not 'x'"));
}

static void addresses_of_the_command_line_replace_those_of_the_file_also_by_a_shortened_name(void **state)
{
    (void)state;
    char path[] = "/tmp/vivary-option-test-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "listen = 127.0.0.1:1\nslots = 3\n", 31), 31);
    close(fd);
    char *arguments[] = { "serve", "--conf", path, "--listen=127.0.0.1:2", "--listen", "127.0.0.1:3", NULL };
    assert_int_equal(settings_from_arguments(&settings, 6, arguments), 0);
    assert_int_equal(settings.slots, 3);
    assert_int_equal(settings.listen_count, 2);
    assert_string_equal(settings.listen[0], "127.0.0.1:2");
    unlink(path);
}

/* --share's, here: it isn't read as a file. */
static void a_value_that_looks_like_an_option_is_a_value(void **state)
{
    (void)state;
    char *arguments[] = { "serve", "--share", "--config=/nowhere", NULL };
    assert_int_equal(settings_from_arguments(&settings, 3, arguments), 0);
    assert_string_equal(settings.share, "--config=/nowhere");
}

static int file_read(const char *text)
{
    char path[] = "/tmp/vivary-option-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    int r = settings_from_file(&settings, path, error);
    unlink(path);
    return r;
}

static void a_file_is_read(void **state)
{
    (void)state;
    assert_int_equal(file_read("# a comment\nslots = 3\nlisten = 127.0.0.1:1\nlisten = 127.0.0.1:2\n\npreload =\n"), 0);
    assert_int_equal(settings.slots, 3);
    assert_int_equal(settings.listen_count, 2);
    assert_string_equal(settings.preload, "");
}

static void a_wrong_line_of_a_file_is_named_by_its_number(void **state)
{
    (void)state;
    static const char *const WRONG[] = { "slots = 3\nslots = 4\n", "slots = 3\nslot = 4\n", "slots = 3\nqueue-max = x\n",
                                         "slots = 3\nnonsense\n", "slots = 3\n[section]\nqueue-max = 4\n" };
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        assert_int_equal(file_read(WRONG[i]), -1);
        assert_non_null(strstr(error, ":2: "));
    }
}

static void a_line_that_would_be_cut_in_two_is_refused(void **state)
{
    (void)state;
    char text[400] = "preload = ";
    memset(text + 10, 'a', 300);
    strcpy(text + 310, "\n");
    assert_int_equal(file_read(text), -1);
    assert_non_null(strstr(error, ":1: the line is too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_are_what_the_documentation_says, defaults_set),
        cmocka_unit_test_setup(a_number_is_taken_at_its_bounds_and_not_past_them, defaults_set),
        cmocka_unit_test_setup(an_unknown_name_is_refused_by_name, defaults_set),
        cmocka_unit_test_setup(a_level_that_is_not_one_and_a_relative_python_are_refused, defaults_set),
        cmocka_unit_test_setup(addresses_add_up_to_a_maximum, defaults_set),
        cmocka_unit_test_setup(the_environment_is_read_and_an_unknown_variable_refused, defaults_set),
        cmocka_unit_test_setup(a_wrong_value_is_told_with_its_variable, defaults_set),
        cmocka_unit_test_setup(addresses_of_the_command_line_replace_those_of_the_file_also_by_a_shortened_name, defaults_set),
        cmocka_unit_test_setup(a_value_that_looks_like_an_option_is_a_value, defaults_set),
        cmocka_unit_test_setup(a_file_is_read, defaults_set),
        cmocka_unit_test_setup(a_wrong_line_of_a_file_is_named_by_its_number, defaults_set),
        cmocka_unit_test_setup(a_line_that_would_be_cut_in_two_is_refused, defaults_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
