#include "settings/keys.h"

#include "cli/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* The SHA-256 of "abc" and of "hello", as sha256sum prints them. */
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define HELLO "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

static struct keys keys;
static char error[KEYS_ERROR_ROOM];

static int nothing_read(void **state)
{
    (void)state;
    keys = (struct keys) { 0 };
    error[0] = '\0';
    return 0;
}

static int keys_drop(void **state)
{
    (void)state;
    keys_free(&keys);
    return 0;
}

/* From a copy of just these bytes, so that the address sanitizer sees a read past them. */
static int bytes_parse(const char *bytes, size_t length)
{
    char *copy = malloc(length);
    assert_true(copy != NULL || length == 0);
    if (length > 0)
        memcpy(copy, bytes, length);
    keys_free(&keys);
    int r = keys_parse(copy, length, &keys, error);
    free(copy);
    return r;
}

static int text_parse(const char *text)
{
    return bytes_parse(text, strlen(text));
}

/* One key with these fields. */
static int fields_parse(const char *fields)
{
    char text[KEYS_LINE_MAX];
    snprintf(text, sizeof text, "ci " ABC " %s\n", fields);
    return text_parse(text);
}

static void field_refused(const char *fields, const char *told)
{
    assert_int_equal(fields_parse(fields), -1);
    assert_string_equal(error, told);
}

static void a_key_without_fields_has_a_share_and_no_limits(void **state)
{
    (void)state;
    struct key plain = { .name = "ci", .share = 1 };
    key_digest("abc", 3, plain.digest);
    assert_int_equal(fields_parse(""), 0);
    assert_int_equal(keys.count, 1);
    assert_memory_equal(&keys.at[0], &plain, sizeof plain); /* to the last byte: it travels to another process */
}

static void every_field_goes_to_its_place(void **state)
{
    (void)state;
    struct key full = {
        .name = "ci",
        .rate_milli = 2500,
        .burst = 7,
        .at_once = 3,
        .share = 10,
        .wall_ms = 1,
        .cpu_ms = 2,
        .memory_mb = 33,
        .output_kb = 44,
        .files_mb = 5,
        .processes = 6,
        .runtime_count = 2,
        .runtimes = { "py3.11", "data_science-2" },
    };
    key_digest("abc", 3, full.digest);
    assert_int_equal(fields_parse("rate=2.5 burst=7 at-once=3 share=10 wall-ms=1 cpu-ms=2 memory-mb=33 output-kb=44 files-mb=5 processes=6 "
                                  "runtimes=py3.11,data_science-2"),
                     0);
    assert_memory_equal(&keys.at[0], &full, sizeof full);
    assert_int_equal(fields_parse("runtimes=py3.11,data_science-2 processes=6 files-mb=5 output-kb=44 memory-mb=33 cpu-ms=2 wall-ms=1 "
                                  "share=10 at-once=3 burst=7 rate=2.500"),
                     0);
    assert_memory_equal(&keys.at[0], &full, sizeof full);
}

static void blanks_comments_and_line_ends_are_passed_over(void **state)
{
    (void)state;
    assert_int_equal(text_parse("# keys\n\n \t \r\n  # more\n\ta \t" ABC "\t# the first, rate=1\r\n  b " HELLO " share=2#3\n"), -1);
    assert_string_equal(error, "line 6: share takes a whole number from 1 to 1000, not '2#3'"); /* a comment starts a word */
    assert_int_equal(text_parse("# keys\n\n \t \r\n  # more\n\ta \t" ABC "\t# the first, rate=1\r\n  b " HELLO " share=2 #3"), 0);
    assert_int_equal(keys.count, 2);
    assert_string_equal(keys.at[0].name, "a");
    assert_int_equal(keys.at[0].rate_milli, 0);
    assert_string_equal(keys.at[1].name, "b");
    assert_int_equal(keys.at[1].share, 2);
}

static void a_text_without_keys_is_valid(void **state)
{
    (void)state;
    static const char *const TEXTS[] = { "", "\n", "# none yet", " \t\n#\n" };
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        assert_int_equal(text_parse(TEXTS[i]), 0);
        assert_int_equal(keys.count, 0);
        assert_null(keys.at);
    }
    assert_int_equal(keys_parse(NULL, 0, &keys, error), 0);
}

static void a_digest_may_be_in_capitals(void **state)
{
    (void)state;
    assert_int_equal(text_parse("ci BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"), 0);
    assert_non_null(keys_find(&keys, "abc", 3));
}

static void a_name_is_taken_at_its_longest_and_refused_one_past_it(void **state)
{
    (void)state;
    char text[256], name[KEY_NAME_ROOM + 1];
    memset(name, 'n', sizeof name);
    snprintf(text, sizeof text, "%.63s " ABC, name);
    assert_int_equal(text_parse(text), 0);
    assert_int_equal(strlen(keys.at[0].name), 63);
    snprintf(text, sizeof text, "%.64s " ABC, name);
    assert_int_equal(text_parse(text), -1);
    assert_string_equal(error, "line 1: a name takes at most 63 bytes, not 64");
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *told;
    } CASES[] = {
        { "#\n\na/b " ABC, "line 3: a name takes letters, digits, '_', '.' and '-', not the byte 0x2f" },
        { "\xef\xbb\xbf"
          "a " ABC,
          "line 1: a name takes letters, digits, '_', '.' and '-', not the byte 0xef" },
        { "a", "line 1: after the name comes the SHA-256 of the token, as `vivary key new` prints it, and there is none" },
        { "a #" ABC, "line 1: after the name comes the SHA-256 of the token, as `vivary key new` prints it, and there is none" },
        { "a " ABC "0", "line 1: after the name comes the SHA-256 of the token, 64 hexadecimal digits, not 65 bytes" },
        { "a rate=1", "line 1: after the name comes the SHA-256 of the token, 64 hexadecimal digits, not 6 bytes" },
        { "a ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
          "line 1: the SHA-256 takes hexadecimal digits alone, and digit 1 is none" },
        { "a ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a:",
          "line 1: the SHA-256 takes hexadecimal digits alone, and digit 64 is none" },
        { "a " ABC "\na " HELLO, "line 2: the name 'a' stands in line 1 already; each key has a name of its own" },
        { "#\na " ABC "\n\nb " HELLO "\nc " ABC, "line 5: the SHA-256 stands in line 2 already; each key has a token of its own" },
        { "a " ABC "\nb " HELLO " burst=2", "line 2: burst has a meaning beside rate alone, and the line has no rate" },
        { "a " ABC "\n\rb " HELLO, "line 2: a name takes letters, digits, '_', '.' and '-', not the byte 0x0d" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(text_parse(CASES[i].text), -1);
        assert_string_equal(error, CASES[i].told);
    }
}

static void a_field_that_is_none_or_stands_twice_is_refused(void **state)
{
    (void)state;
    field_refused("burts=1", "line 1: there is no field 'burts'; there are rate, burst, at-once, share, wall-ms, cpu-ms, memory-mb, "
                             "output-kb, files-mb, processes and runtimes");
    field_refused("=1", "line 1: there is no field ''; there are rate, burst, at-once, share, wall-ms, cpu-ms, memory-mb, output-kb, "
                        "files-mb, processes and runtimes");
    field_refused("rates=1", "line 1: there is no field 'rates'; there are rate, burst, at-once, share, wall-ms, cpu-ms, memory-mb, "
                             "output-kb, files-mb, processes and runtimes");
    field_refused("rate=1 rate=1", "line 1: rate stands there twice; once is right");
    field_refused("runtimes=a share=2 runtimes=b", "line 1: runtimes stands there twice; once is right");
    field_refused("rate", "line 1: after the SHA-256 come fields as in rate=5, and a word here has no '='");
    field_refused("rate = 1", "line 1: after the SHA-256 come fields as in rate=5, and a word here has no '='");
    assert_int_equal(text_parse("a " ABC " rate=1\nb " HELLO " rate=1\n"), 0); /* each line has its own */
}

static void a_token_in_a_wrong_place_is_not_shown(void **state)
{
    (void)state;
    static const char *const TEXTS[] = { "a vk_secret", "vk_secret a", "vk/secret " ABC, "a " ABC " vk_secret" };
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        assert_int_equal(text_parse(TEXTS[i]), -1);
        assert_null(strstr(error, "secret"));
    }
}

static void a_number_is_taken_at_its_bounds_and_not_past_them(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t field;
        unsigned long long most;
    } NUMBERS[] = {
        { "burst", offsetof(struct key, burst), 100000 },
        { "at-once", offsetof(struct key, at_once), 65536 },
        { "share", offsetof(struct key, share), 1000 },
        { "wall-ms", offsetof(struct key, wall_ms), UINT32_MAX },
        { "cpu-ms", offsetof(struct key, cpu_ms), UINT32_MAX },
        { "memory-mb", offsetof(struct key, memory_mb), UINT32_MAX },
        { "output-kb", offsetof(struct key, output_kb), UINT32_MAX },
        { "files-mb", offsetof(struct key, files_mb), UINT32_MAX },
        { "processes", offsetof(struct key, processes), UINT32_MAX },
    };
    static const char *const WRONG[] = { "", "0", "-1", "+1", "1x", "0x10", "1.0", "1e3", "18446744073709551617", "=1" };
    char fields[128], told[KEYS_ERROR_ROOM];
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        const unsigned long long right[] = { 1, NUMBERS[i].most };
        for (size_t j = 0; j < 2; j++) {
            snprintf(fields, sizeof fields, "rate=1 %s=%llu", NUMBERS[i].name, right[j]);
            assert_int_equal(fields_parse(fields), 0);
            assert_int_equal(*(uint32_t *)((char *)keys.at + NUMBERS[i].field), right[j]);
        }
        char above[32];
        snprintf(above, sizeof above, "%llu", NUMBERS[i].most + 1);
        for (size_t j = 0; j <= sizeof WRONG / sizeof *WRONG; j++) {
            const char *value = j > 0 ? WRONG[j - 1] : above;
            snprintf(fields, sizeof fields, "rate=1 %s=%s", NUMBERS[i].name, value);
            snprintf(told, sizeof told, "line 1: %s takes a whole number from 1 to %llu, not '%s'", NUMBERS[i].name, NUMBERS[i].most,
                     value);
            field_refused(fields, told);
        }
    }
}

static void a_rate_is_taken_in_thousandths_with_a_burst_of_its_own(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint32_t milli, burst;
    } RIGHT[] = {
        { "0.001", 1, 1 },
        { "0.5", 500, 1 },
        { "1", 1000, 1 },
        { "1.001", 1001, 2 },
        { "1.01", 1010, 2 },
        { "2.50", 2500, 3 },
        { "007", 7000, 7 },
        { "10.0", 10000, 10 },
        { "99999.999", 99999999, 100000 },
        { "100000", 100000000, 100000 },
        { "100000.000", 100000000, 100000 },
    };
    static const char *const WRONG[] = { "",      "0",   "0.000", "0.0005", "100000.001", "100001", "4294967297", "1.",    ".5",
                                         "1.2.3", "1,5", "1e3",   "-1",     "+1",         "inf",    "nan",        "1.0000" };
    char fields[128], told[KEYS_ERROR_ROOM];
    for (size_t i = 0; i < sizeof RIGHT / sizeof *RIGHT; i++) {
        snprintf(fields, sizeof fields, "rate=%s", RIGHT[i].value);
        assert_int_equal(fields_parse(fields), 0);
        assert_int_equal(keys.at[0].rate_milli, RIGHT[i].milli);
        assert_int_equal(keys.at[0].burst, RIGHT[i].burst);
    }
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        snprintf(fields, sizeof fields, "rate=%s", WRONG[i]);
        snprintf(told, sizeof told, "line 1: rate takes a number from 0.001 to 100000 with at most three decimals, not '%s'", WRONG[i]);
        field_refused(fields, told);
    }
    assert_int_equal(fields_parse("burst=1 rate=50"), 0); /* the one that is given counts, also before the rate */
    assert_int_equal(keys.at[0].burst, 1);
}

static void runtimes_are_taken_at_their_bounds_and_not_past_them(void **state)
{
    (void)state;
    assert_int_equal(fields_parse("runtimes=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p"), 0);
    assert_int_equal(keys.at[0].runtime_count, KEY_RUNTIMES_MAX);
    assert_string_equal(keys.at[0].runtimes[15], "p");
    field_refused("runtimes=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "line 1: runtimes takes at most 16 names");
    assert_int_equal(fields_parse("runtimes=a123456789012345678901234567890"), 0);
    assert_string_equal(keys.at[0].runtimes[0], "a123456789012345678901234567890");
    static const char *const WRONG[] = { "", ",", "a,", ",a", "a,,b", "a b", "a/b" };
    static const char *const SHOWN[] = { "", "", "", "", "", NULL, "a/b" };
    char fields[128], told[KEYS_ERROR_ROOM];
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        snprintf(fields, sizeof fields, "runtimes=%s", WRONG[i]);
        if (SHOWN[i] == NULL) { /* white space ends the list, and `b` is no field */
            field_refused(fields, "line 1: after the SHA-256 come fields as in rate=5, and a word here has no '='");
            continue;
        }
        snprintf(told, sizeof told,
                 "line 1: runtimes takes names with commas between, each of 1 to 31 letters, digits, '_', '.' and '-', not '%s'", SHOWN[i]);
        field_refused(fields, told);
    }
    field_refused("runtimes=a1234567890123456789012345678901", "line 1: runtimes takes names with commas between, each of 1 to 31 letters, "
                                                               "digits, '_', '.' and '-', not 'a1234567890123456789012345678901'");
    field_refused("runtimes=a,b,a", "line 1: runtimes takes each name once, not 'a' twice");
}

static void a_value_is_shown_without_its_control_bytes_and_cut(void **state)
{
    (void)state;
    field_refused("share=\x1b[31m\xc3-\xa9", "line 1: share takes a whole number from 1 to 1000, not '?[31m?-?'");
    field_refused("share=123456789012345678901234567890123456789012345678901234567890123",
                  "line 1: share takes a whole number from 1 to 1000, not '123456789012345678901234567890123456789012345678901234567890'");
}

static void a_line_is_taken_at_its_longest_and_refused_one_past_it(void **state)
{
    (void)state;
    char text[KEYS_LINE_MAX + 16] = "\na " ABC " #";
    size_t start = 1, used = strlen(text);
    memset(text + used, 'x', sizeof text - used);
    text[start + KEYS_LINE_MAX] = '\n';
    assert_int_equal(bytes_parse(text, start + KEYS_LINE_MAX), 0); /* with and without its end */
    assert_int_equal(bytes_parse(text, start + KEYS_LINE_MAX + 1), 0);
    text[start + KEYS_LINE_MAX] = '\r';
    text[start + KEYS_LINE_MAX + 1] = '\n';
    assert_int_equal(bytes_parse(text, start + KEYS_LINE_MAX + 2), 0);
    text[start + KEYS_LINE_MAX] = 'x';
    assert_int_equal(bytes_parse(text, start + KEYS_LINE_MAX + 2), -1);
    assert_string_equal(error, "line 2: the line is too long: at most 4096 bytes");
}

static void a_nul_is_refused_also_in_a_comment(void **state)
{
    (void)state;
    static const char TEXT[] = "# a\n# b\0\n";
    assert_int_equal(bytes_parse(TEXT, sizeof TEXT - 1), -1);
    assert_string_equal(error, "line 2: there is a NUL in the line; a key file is text");
}

static void as_many_keys_as_may_be_are_taken_and_no_more(void **state)
{
    (void)state;
    size_t room = (KEYS_MAX + 1) * 80, used = 0, before = 0;
    char *text = malloc(room);
    assert_non_null(text);
    for (unsigned i = 0; i <= KEYS_MAX; i++) {
        before = used;
        used += (size_t)snprintf(text + used, room - used, "k%u %064x\n", i, i);
    }
    assert_int_equal(bytes_parse(text, before), 0);
    assert_int_equal(keys.count, KEYS_MAX);
    assert_string_equal(keys.at[KEYS_MAX - 1].name, "k4095");
    assert_int_equal(bytes_parse(text, used), -1);
    assert_string_equal(error, "line 4097: this is one key too many: at most 4096");
    free(text);
}

static void an_error_leaves_the_keys_as_they_were(void **state)
{
    (void)state;
    assert_int_equal(fields_parse("share=5"), 0);
    struct keys before = keys;
    const char *wrong = "b " HELLO "\nc\n";
    assert_int_equal(keys_parse(wrong, strlen(wrong), &keys, error), -1);
    assert_memory_equal(&keys, &before, sizeof keys);
    assert_int_equal(keys.at[0].share, 5);
    assert_non_null(keys_find(&keys, "abc", 3));
}

static void a_key_is_found_by_its_token_alone(void **state)
{
    (void)state;
    assert_int_equal(text_parse("a " ABC "\nb " HELLO "\n"), 0);
    assert_ptr_equal(keys_find(&keys, "abc", 3), &keys.at[0]);
    assert_ptr_equal(keys_find(&keys, "hello", 5), &keys.at[1]);
    assert_null(keys_find(&keys, "hellO", 5));
    assert_null(keys_find(&keys, "hello", 4));
    assert_null(keys_find(&keys, "hello", 6)); /* with its NUL */
    assert_null(keys_find(&keys, ABC, strlen(ABC)));
    assert_null(keys_find(&keys, "a", 1));
    const struct keys none = { 0 };
    assert_null(keys_find(&none, "abc", 3));
}

/* The key file may well hold the digest of an empty or long token: no such token counts. */
static void an_empty_token_and_one_past_the_longest_are_not_found(void **state)
{
    (void)state;
    char text[512], token[KEYS_TOKEN_MAX + 1];
    uint8_t digest[KEY_DIGEST_SIZE];
    memset(token, 't', sizeof token);
    const size_t lengths[] = { 0, 1, KEYS_TOKEN_MAX, KEYS_TOKEN_MAX + 1 };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        key_digest(token, lengths[i], digest);
        size_t used = (size_t)snprintf(text, sizeof text, "a ");
        for (size_t j = 0; j < sizeof digest; j++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%02x", digest[j]);
        assert_int_equal(text_parse(text), 0);
        assert_ptr_equal(keys_find(&keys, token, lengths[i]), lengths[i] == 1 || lengths[i] == KEYS_TOKEN_MAX ? &keys.at[0] : NULL);
    }
    assert_null(keys_find(&keys, NULL, 0));
}

/* What the command prints to `stream`, and its exit status. */
static int command_run(FILE *stream, int argc, char **argv, char *to, size_t size)
{
    int file = memfd_create("said", MFD_CLOEXEC), was = dup(fileno(stream));
    assert_true(file >= 0 && was >= 0);
    fflush(stream);
    dup2(file, fileno(stream));
    int status = key_command(argc, argv);
    fflush(stream);
    dup2(was, fileno(stream));
    ssize_t got = pread(file, to, size - 1, 0);
    close(file);
    close(was);
    assert_true(got >= 0);
    to[got] = '\0';
    return status;
}

static void a_new_key_s_line_finds_its_token(void **state)
{
    (void)state;
    char said[512], first[64] = "";
    char *argv[] = { "key", "new", "team-1.ci_x", NULL };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(command_run(stdout, 3, argv, said, sizeof said), 0);
        char *line = strchr(said, '\n');
        assert_non_null(line);
        size_t length = (size_t)(line - said);
        assert_int_equal(length, 46);
        assert_memory_equal(said, "vk_", 3);
        assert_int_equal(strspn(said, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 46);
        assert_int_equal(text_parse(line + 1), 0);
        assert_int_equal(keys.count, 1);
        assert_string_equal(keys.at[0].name, "team-1.ci_x");
        assert_ptr_equal(keys_find(&keys, said, length), &keys.at[0]);
        assert_int_not_equal(strncmp(first, said, length), 0);
        snprintf(first, sizeof first, "%.46s", said);
    }
}

static void a_wrong_use_of_the_command_is_told(void **state)
{
    (void)state;
    static const struct {
        int argc;
        char *argv[5];
        const char *told;
    } CASES[] = {
        { 1, { "key" }, "vivary: key takes what to do with it: new NAME\n\n" },
        { 2, { "key", "old" }, "vivary: there is no command key old\n\n" },
        { 2, { "key", "new" }, "vivary: key new takes one name, not 0\n\n" },
        { 4, { "key", "new", "a", "b" }, "vivary: key new takes one name, not 2\n\n" },
        { 3, { "key", "new", "a b" }, "vivary: a name takes 1 to 63 letters, digits, '_', '.' and '-', not 'a b'\n\n" },
        { 3, { "key", "new", "" }, "vivary: a name takes 1 to 63 letters, digits, '_', '.' and '-', not ''\n\n" },
    };
    char said[2048];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char *argv[5];
        memcpy(argv, CASES[i].argv, sizeof argv);
        assert_int_equal(command_run(stderr, CASES[i].argc, argv, said, sizeof said), 2);
        assert_memory_equal(said, CASES[i].told, strlen(CASES[i].told));
        assert_non_null(strstr(said, "vivary key new NAME makes"));
    }
    char *help[] = { "key", "--help", NULL };
    assert_int_equal(command_run(stdout, 2, help, said, sizeof said), 0);
    assert_memory_equal(said, "vivary key new NAME makes", 25);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, nothing_read, keys_drop)
    const struct CMUnitTest tests[] = {
        TEST(a_key_without_fields_has_a_share_and_no_limits),
        TEST(every_field_goes_to_its_place),
        TEST(blanks_comments_and_line_ends_are_passed_over),
        TEST(a_text_without_keys_is_valid),
        TEST(a_digest_may_be_in_capitals),
        TEST(a_name_is_taken_at_its_longest_and_refused_one_past_it),
        TEST(what_is_wrong_is_told_with_its_line),
        TEST(a_field_that_is_none_or_stands_twice_is_refused),
        TEST(a_token_in_a_wrong_place_is_not_shown),
        TEST(a_number_is_taken_at_its_bounds_and_not_past_them),
        TEST(a_rate_is_taken_in_thousandths_with_a_burst_of_its_own),
        TEST(runtimes_are_taken_at_their_bounds_and_not_past_them),
        TEST(a_value_is_shown_without_its_control_bytes_and_cut),
        TEST(a_line_is_taken_at_its_longest_and_refused_one_past_it),
        TEST(a_nul_is_refused_also_in_a_comment),
        TEST(as_many_keys_as_may_be_are_taken_and_no_more),
        TEST(an_error_leaves_the_keys_as_they_were),
        TEST(a_key_is_found_by_its_token_alone),
        TEST(an_empty_token_and_one_past_the_longest_are_not_found),
        TEST(a_new_key_s_line_finds_its_token),
        TEST(a_wrong_use_of_the_command_is_told),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
