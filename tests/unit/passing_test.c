#include "base/passing.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int pair[2];

static int pair_open(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int pair_close(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static int open_count(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void a_record_arrives_with_its_descriptors_closed_on_exec(void **state)
{
    (void)state;
    int sent[2] = { 0, 1 }, got[PASSING_FDS_MAX];
    size_t count = 0;
    char record[8];
    assert_int_equal(passing_send(pair[0], "hello", 5, sent, 2), 0);
    assert_int_equal(passing_receive(pair[1], record, sizeof record, got, &count), 5);
    assert_memory_equal(record, "hello", 5);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
        close(got[i]);
    }
}

static void a_longer_record_is_refused_and_leaves_no_descriptor_open(void **state)
{
    (void)state;
    int sent[1] = { 0 }, got[PASSING_FDS_MAX];
    size_t count = 0;
    char record[4];
    int before = open_count();
    assert_int_equal(passing_send(pair[0], "hello", 5, sent, 1), 0);
    assert_int_equal(passing_receive(pair[1], record, sizeof record, got, &count), -EMSGSIZE);
    assert_int_equal(open_count(), before);
}

static void more_descriptors_than_there_is_room_for_are_refused_and_closed(void **state)
{
    (void)state;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(20 * sizeof(int))];
    } control = { 0 };
    struct iovec part = { .iov_base = "x", .iov_len = 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control };
    control.header = (struct cmsghdr) { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(20 * sizeof(int)) };
    memset(CMSG_DATA(&control.header), 0, 20 * sizeof(int)); /* descriptor 0, twenty times */
    int got[PASSING_FDS_MAX], before = open_count();
    size_t count = 0;
    char record[4];
    assert_int_equal(sendmsg(pair[0], &message, 0), 1);
    assert_int_equal(passing_receive(pair[1], record, sizeof record, got, &count), -EMSGSIZE);
    assert_int_equal(open_count(), before);
    assert_int_equal(passing_send(pair[0], "x", 1, got, 20), -EINVAL);
}

static void an_empty_queue_says_again_and_a_closed_peer_says_end(void **state)
{
    (void)state;
    int got[PASSING_FDS_MAX];
    size_t count = 0;
    char record[4];
    assert_int_equal(passing_receive(pair[1], record, sizeof record, got, &count), -EAGAIN);
    close(pair[0]);
    pair[0] = dup(0);
    assert_int_equal(passing_receive(pair[1], record, sizeof record, got, &count), 0);
    assert_int_equal(passing_send(pair[1], "x", 1, NULL, 0), -EPIPE);
}

static void a_peer_that_never_reads_is_an_error_not_a_wait(void **state)
{
    (void)state;
    int r = 0;
    for (int i = 0; i < 100000 && r == 0; i++)
        r = passing_send(pair[0], "x", 1, NULL, 0);
    assert_int_equal(r, -EAGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_arrives_with_its_descriptors_closed_on_exec, pair_open, pair_close),
        cmocka_unit_test_setup_teardown(a_longer_record_is_refused_and_leaves_no_descriptor_open, pair_open, pair_close),
        cmocka_unit_test_setup_teardown(more_descriptors_than_there_is_room_for_are_refused_and_closed, pair_open, pair_close),
        cmocka_unit_test_setup_teardown(an_empty_queue_says_again_and_a_closed_peer_says_end, pair_open, pair_close),
        cmocka_unit_test_setup_teardown(a_peer_that_never_reads_is_an_error_not_a_wait, pair_open, pair_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
