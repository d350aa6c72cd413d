/* `vivary run FILE`: one script, one cell, no server. This process takes the front's part, and gives up its privileges before it reads a
 * byte of what the worker says. */
#include "cli/run.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/passing.h"
#include "cell/cell.h"
#include "cli/interrupt.h"
#include "cli/launch.h"
#include "cli/task.h"
#include "settings/option.h"
#include "wire/frame.h"
#include "wire/ready.h"
#include "wire/taken.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { START_MS_MAX = 120000 };

struct text {
    char *at;
    size_t length;
};

static void text_free(struct text *text)
{
    free(text->at);
}

static int file_read(const char *path, size_t most, struct text *ret_text)
{
    OWN_FD fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "vivary: %s: %s\n", path, strerror(errno));
        return 1;
    }
    char *at = malloc(most + 1);
    size_t have = 0;
    ssize_t got = 0;
    while (at != NULL && have <= most && (got = read(fd, at + have, most + 1 - have)) > 0)
        have += (size_t)got;
    if (at == NULL || got < 0 || have > most) {
        fprintf(stderr, "vivary: %s: %s\n", path, at == NULL ? "no memory" : got < 0 ? strerror(errno) : "larger than body-max");
        free(at);
        return 1;
    }
    *ret_text = (struct text) { at, have };
    return 0;
}

static int privileges_drop(uid_t uid)
{
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        perror("vivary: giving up privileges");
        return 1;
    }
    return 0;
}

static int ready_wait(int keeper, int fds[static PASSING_FDS_MAX], struct ready *ret_ready)
{
    struct pollfd watched = { .fd = keeper, .events = POLLIN };
    size_t count = 0;
    const struct wire_bounds bounds = { .slots = 1 };
    int r;
    while ((r = poll(&watched, 1, START_MS_MAX)) < 0 && errno == EINTR)
        continue;
    struct ready message;
    ssize_t got = r > 0 ? passing_receive(keeper, &message, sizeof message, fds, &count) : 0;
    /* The files that tell what the slot uses come along: this command tells nobody, and leaves them to its end. */
    bool whole = got > 0 && ready_valid(&message, (size_t)got, &bounds, ret_ready) &&
                 count == READY_FDS + (size_t)__builtin_popcount(ret_ready->meters);
    if (!whole) {
        fprintf(stderr, "vivary: no cell could be made\n");
        return 1;
    }
    return 0;
}

static void pipe_pass(int from, int to, int *open)
{
    char part[16384];
    ssize_t got;
    while ((got = read(from, part, sizeof part)) > 0)
        for (ssize_t done = 0, wrote; done < got; done += wrote)
            if ((wrote = write(to, part + done, (size_t)(got - done))) <= 0)
                return;
    if (got == 0)
        *open = -1;
}

/* What the worker has said so far. */
struct words {
    struct frame_header header;
    size_t header_have;
    char *payload;
    size_t have;
    uint32_t kind; /* FRAME_RESULT or FRAME_ERROR, once whole */
    struct text text;
    bool ended;
};

static void words_read(struct words *words, int socket, size_t result_max)
{
    for (;;) {
        ssize_t got;
        bool in_header = words->header_have < sizeof words->header;
        if (in_header)
            got = read(socket, (char *)&words->header + words->header_have, sizeof words->header - words->header_have);
        else
            got = read(socket, words->payload + words->have, words->header.length - words->have);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            words->ended = true;
            return;
        }
        if (in_header) {
            words->header_have += (size_t)got;
            if (words->header_have < sizeof words->header)
                continue;
            size_t most = words->header.type == FRAME_RESULT ? result_max : words->header.type == FRAME_ERROR ? FRAME_ERROR_MAX : 0;
            bool second = words->kind != 0 && words->header.type != FRAME_END;
            if (words->header.type == FRAME_END || second || words->header.length == 0 || words->header.length > most ||
                (words->payload = malloc(words->header.length)) == NULL) {
                words->ended = true;
                return;
            }
            words->have = 0;
        } else {
            words->have += (size_t)got;
            if (words->have < words->header.length)
                continue;
            words->kind = words->header.type;
            words->text = (struct text) { words->payload, words->have };
            words->payload = NULL;
            words->header_have = 0;
        }
    }
}

static int script_send(int socket, const struct text *script)
{
    struct frame_header header = { .type = FRAME_RUN, .exchange = 1, .length = script->length };
    int flags = fcntl(socket, F_GETFL);
    if (flags < 0 || fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return -1;
    bool sent = send(socket, &header, sizeof header, MSG_NOSIGNAL | MSG_MORE) == sizeof header;
    for (size_t done = 0; sent && done < script->length;) {
        ssize_t wrote = send(socket, script->at + done, script->length - done, MSG_NOSIGNAL);
        sent = wrote > 0;
        done += sent ? (size_t)wrote : 0;
    }
    return sent && fcntl(socket, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -1;
}

/* Runs the script on the worker; prints what it prints. Exit status. */
static int script_run(const struct launch *launch, int keeper, const struct ready *ready, int *fds, const struct text *script)
{
    const struct settings *settings = &launch->settings;
    uint64_t deadline = clock_ns() + settings->deadline_ms * NS_PER_MS;
    struct taken taken = { .kind = WIRE_TAKEN, .slot = ready->slot, .generation = ready->generation, .deadline_ns = deadline };
    struct words words = { 0 };
    if (passing_send(keeper, &taken, sizeof taken, NULL, 0) < 0 || script_send(fds[READY_SOCKET], script) < 0)
        words.ended = true;
    int out = fds[READY_STDOUT], err = fds[READY_STDERR];
    while (!words.ended) {
        struct pollfd watched[] = { { .fd = fds[READY_SOCKET], .events = POLLIN },
                                    { .fd = out, .events = POLLIN },
                                    { .fd = err, .events = POLLIN } };
        int wait_ms = words.kind != 0 ? (int)settings->exit_grace_ms : -1; /* the keeper minds the deadline */
        int r = poll(watched, 3, wait_ms);
        if (r == 0 || (r < 0 && errno != EINTR))
            break;
        if (out >= 0)
            pipe_pass(out, STDOUT_FILENO, &out);
        if (err >= 0)
            pipe_pass(err, STDERR_FILENO, &err);
        words_read(&words, fds[READY_SOCKET], settings->result_max);
    }
    if (out >= 0)
        pipe_pass(out, STDOUT_FILENO, &out);
    if (err >= 0)
        pipe_pass(err, STDERR_FILENO, &err);
    if (words.kind == FRAME_RESULT) {
        printf("%.*s\n", (int)words.text.length, words.text.at);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (words.kind == FRAME_ERROR)
        fprintf(stderr, "%.*s\n", (int)words.text.length, words.text.at);
    else
        fprintf(stderr, "Sandbox failed to run script\n");
    return 1;
}

int run_main(int argc, char **argv)
{
    static struct launch launch;
    /* FILE and the task's options are this command's own; the rest are those of `serve`. */
    const char *file = NULL;
    struct task task = { 0 };
    bool is_task = false;
    char *options[64] = { argv[0] };
    int count = 1;
    for (int i = 1; i < argc && count < 62;) {
        int taken = task_option(&task, argc, argv, &i);
        is_task |= taken > 0;
        if (taken < 0)
            return 2;
        if (taken > 0)
            continue;
        if (argv[i][0] != '-' || strcmp(argv[i], "-") == 0) {
            if (file != NULL) {
                fprintf(stderr, "vivary: run takes one script, and %s is a second\n", argv[i]);
                return 2;
            }
            file = argv[i++];
            continue;
        }
        options[count++] = argv[i++]; /* of `serve`, with the value behind it */
        if (strchr(options[count - 1], '=') == NULL && strcmp(options[count - 1], "--help") != 0 && i < argc)
            options[count++] = argv[i++];
    }
    int r = settings_from_arguments(&launch.settings, count, options);
    if (r != 0)
        return r < 0 ? 0 : r;
    if (file == NULL) {
        fprintf(stderr, "vivary: run takes the path of a script, or - for standard input: vivary run FILE [--json] [--input JSON] "
                        "[--entry NAME] [--file PATH[=NAME]]... [--fetch-to DIR] [--limit NAME=VALUE]... [OPTION]...\n");
        return 2;
    }
    launch.settings.slots = 1;
    launch.settings.spare = 0;
    launch.alone = true;
    __attribute__((cleanup(text_free))) struct text script = { 0 };
    if (file_read(file, launch.settings.body_max, &script) != 0)
        return 1;
    interrupt_hold();
    if (is_task) {
        launch.alone = false;
        task.script = script.at;
        task.script_length = script.length;
        return task_run(&launch, &task);
    }
    if (launch_prepare(&launch) != 0)
        return 1;
    pid_t keeper_pid;
    int keeper, news, fds[PASSING_FDS_MAX];
    struct ready ready;
    if (launch_keeper(&launch, &keeper_pid, &keeper, &news) != 0)
        return 1;
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        /* A child without privileges talks with the worker; this process stays to clear away, as only root can. */
        interrupt_release();
        bool own = launch.plan.uids; /* else there are none over others */
        bool ready_now = (!own || privileges_drop(launch.plan.uid_base + UID_RUN) == 0) && ready_wait(keeper, fds, &ready) == 0;
        _exit(ready_now ? script_run(&launch, keeper, &ready, fds, &script) : 1);
    }
    close(keeper);
    if (pid > 0)
        status = interrupt_wait(pid);
    kill(keeper_pid, SIGTERM);
    waitpid(keeper_pid, NULL, 0);
    launch_clear(&launch);
    return status;
}
