#include "settings/address.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char shown[256], error[256];

static void port_zero_is_shown_as_the_port_that_was_given(void **state)
{
    (void)state;
    int fd;
    assert_int_equal(address_listen("127.0.0.1:0", &fd, shown, sizeof shown, error), 0);
    assert_int_equal(strncmp(shown, "127.0.0.1:", 10), 0);
    assert_int_not_equal(atol(shown + 10), 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static void what_is_no_address_is_refused_with_what_would_be(void **state)
{
    (void)state;
    static const char *const WRONG[] = {
        "",       "8080",        "127.0.0.1",     "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", "host.example:1",
        "[::1:1", "1.2.3.4.5:1", "unix:relative", "unix:"
    };
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        int fd = -1;
        assert_int_equal(address_listen(WRONG[i], &fd, shown, sizeof shown, error), -1);
        assert_non_null(strstr(error, "can't listen on"));
        assert_int_equal(fd, -1);
    }
}

static void an_address_in_use_says_so(void **state)
{
    (void)state;
    int first, second;
    char taken[256];
    assert_int_equal(address_listen("127.0.0.1:0", &first, taken, sizeof taken, error), 0);
    assert_int_equal(address_listen(taken, &second, shown, sizeof shown, error), -1);
    assert_non_null(strstr(error, "in use"));
    close(first);
}

static void a_socket_file_is_taken_over_only_when_nobody_answers_on_it(void **state)
{
    (void)state;
    char folder[] = "/tmp/vivary-address-test-XXXXXX", address[128];
    assert_non_null(mkdtemp(folder));
    snprintf(address, sizeof address, "unix:%s/socket", folder);
    int first, second;
    assert_int_equal(address_listen(address, &first, shown, sizeof shown, error), 0);
    assert_int_equal(address_listen(address, &second, shown, sizeof shown, error), -1);
    close(first);
    assert_int_equal(address_listen(address, &second, shown, sizeof shown, error), 0);
    close(second);
    unlink(address + 5);

    int file = open(address + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* not a socket: not ours to remove */
    close(file);
    assert_int_equal(address_listen(address, &second, shown, sizeof shown, error), -1);
    assert_int_equal(access(address + 5, F_OK), 0);
    unlink(address + 5);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port_zero_is_shown_as_the_port_that_was_given),
        cmocka_unit_test(what_is_no_address_is_refused_with_what_would_be),
        cmocka_unit_test(an_address_in_use_says_so),
        cmocka_unit_test(a_socket_file_is_taken_over_only_when_nobody_answers_on_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
