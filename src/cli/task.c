#include "cli/task.h"

#include "base/descriptor.h"
#include "cell/cell.h"
#include "cli/interrupt.h"
#include "front/json_check.h"
#include "front/json_write.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <nettle/base64.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_MAX = 64 << 20, HEAD_MAX = 16 << 10, ANSWER_STEP = 1 << 20 };

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "vivary: %s: %s\n", what, why);
    return -1;
}

int task_option(struct task *task, int argc, char **argv, int *at)
{
    static const char *const NAMES[] = { "--input", "--entry", "--file", "--limit", "--fetch-to" };
    const char *word = argv[*at];
    if (strcmp(word, "--json") == 0) {
        task->json = true;
        ++*at;
        return 1;
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        size_t length = strlen(NAMES[i]);
        if (strncmp(word, NAMES[i], length) != 0 || (word[length] != '=' && word[length] != '\0'))
            continue;
        const char *value = word[length] == '=' ? word + length + 1 : *at + 1 < argc ? argv[*at + 1] : NULL;
        if (value == NULL)
            return complain(NAMES[i], "it needs a value");
        *at += word[length] == '=' ? 1 : 2;
        size_t *count = i == 2 ? &task->file_count : &task->limit_count;
        if ((i == 2 || i == 3) && *count == TASK_WORDS_MAX)
            return complain(NAMES[i], "at most 64 may be given");
        if (i == 0)
            task->input = value;
        else if (i == 1)
            task->entry = value;
        else if (i == 4)
            task->fetch_to = value;
        else
            (i == 2 ? task->files : task->limits)[(*count)++] = value;
        return 1;
    }
    return 0;
}

/* --- the request */

struct content {
    const char *name; /* in the run's folder */
    char *base64;
    size_t length;
};

struct contents {
    struct content file[TASK_WORDS_MAX];
};

struct request_parts {
    const struct task *task;
    const struct content *files;
};

static int file_load(const char *argument, struct content *ret_file)
{
    char path[4096];
    const char *equals = strrchr(argument, '=');
    size_t length = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    const char *slash = strrchr(argument, '/');
    snprintf(path, sizeof path, "%.*s", (int)length, argument);
    OWN_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat there;
    if (fd < 0 || fstat(fd, &there) < 0)
        return complain(path, strerror(errno));
    if (!S_ISREG(there.st_mode) || there.st_size > FILE_MAX)
        return complain(path, "a plain file of at most 64 MiB is expected");
    size_t size = (size_t)there.st_size, have = 0;
    uint8_t *bytes = malloc(size + 1);
    char *text = malloc(BASE64_ENCODE_RAW_LENGTH(size) + 1);
    ssize_t got = 1;
    while (bytes != NULL && text != NULL && have < size && (got = read(fd, bytes + have, size - have)) > 0)
        have += (size_t)got;
    if (bytes == NULL || text == NULL || got < 0) {
        free(bytes);
        free(text);
        return complain(path, got < 0 ? strerror(errno) : "no memory");
    }
    base64_encode_raw(text, have, bytes);
    free(bytes);
    const char *name = equals != NULL ? equals + 1 : slash != NULL ? slash + 1 : argument;
    *ret_file = (struct content) { name, text, BASE64_ENCODE_RAW_LENGTH(have) };
    return 0;
}

static void field_write(struct writer *w, const char *name, const char *text, size_t length)
{
    write_literal(w, name);
    write_literal(w, "\"");
    write_text(w, text, length, false);
    write_literal(w, "\"");
}

static void request_write(struct writer *w, const void *argument)
{
    const struct request_parts *parts = argument;
    const struct task *task = parts->task;
    field_write(w, "{\"code\": ", task->script, task->script_length);
    if (task->input != NULL) {
        write_literal(w, ", \"input\": ");
        write_literal(w, task->input); /* what isn't JSON, the front says */
    }
    if (task->entry != NULL)
        field_write(w, ", \"entry\": ", task->entry, strlen(task->entry));
    for (size_t i = 0; i < task->limit_count; i++) {
        const char *equals = strchr(task->limits[i], '=');
        size_t length = equals != NULL ? (size_t)(equals - task->limits[i]) : strlen(task->limits[i]);
        field_write(w, i == 0 ? ", \"limits\": {" : ", ", task->limits[i], length);
        write_literal(w, ": ");
        write_literal(w, equals != NULL && equals[1] != '\0' ? equals + 1 : "null");
    }
    write_literal(w, task->limit_count > 0 ? "}" : "");
    for (size_t i = 0; i < task->file_count; i++) {
        field_write(w, i == 0 ? ", \"files\": [{\"path\": " : ", {\"path\": ", parts->files[i].name, strlen(parts->files[i].name));
        field_write(w, ", \"content\": ", parts->files[i].base64, parts->files[i].length);
        write_literal(w, ", \"encoding\": \"base64\"}");
    }
    write_literal(w, task->file_count > 0 ? "]}" : "}");
}

/* --- the answer: a script has had its hands on it */

struct answer {
    char *text;
    size_t length;
    struct json_slice status, result, out, err, error, limit, files, detail, param;
};

static void answer_member(void *context, struct json_slice key, struct json_slice value)
{
    struct answer *answer = context;
    const struct {
        const char *name;
        struct json_slice *to;
    } members[] = { { "status", &answer->status }, { "result", &answer->result }, { "stdout", &answer->out },
                    { "stderr", &answer->err },    { "error", &answer->error },   { "limit", &answer->limit },
                    { "files", &answer->files },   { "detail", &answer->detail }, { "param", &answer->param } };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (json_key_is(key, members[i].name))
            *members[i].to = value;
}

/* A string of the answer, decoded, malloc'ed. NULL if it is none. */
static char *string_decode(struct json_slice value, size_t *ret_length)
{
    if (value.length < 2 || value.at[0] != '"')
        return NULL;
    char *text = malloc(value.length);
    if (text == NULL)
        return NULL;
    *ret_length = json_string_decode((struct json_slice) { value.at + 1, value.length - 2 }, text);
    text[*ret_length] = '\0';
    return text;
}

static void string_print(struct json_slice value, FILE *to)
{
    size_t length = 0;
    char *text = string_decode(value, &length);
    if (text != NULL)
        fwrite(text, 1, length, to);
    free(text);
}

struct fetched {
    int folder;
    struct json_slice path, content, encoding;
    bool failed;
};

static void fetched_member(void *context, struct json_slice key, struct json_slice value)
{
    struct fetched *fetched = context;
    if (json_key_is(key, "path"))
        fetched->path = value;
    else if (json_key_is(key, "content"))
        fetched->content = value;
    else if (json_key_is(key, "encoding"))
        fetched->encoding = value;
}

/* Opens a new file below the folder. The name is a stranger's: it is gone through part by part, so that no link is followed and nothing
 * above is reached. Not by openat2(2), which gVisor hasn't. */
static int fetched_open(int folder, char *path)
{
    OWN_FD at = fcntl(folder, F_DUPFD_CLOEXEC, 3);
    for (char *part = path; at >= 0;) {
        char *slash = strchrnul(part, '/');
        bool last = *slash == '\0';
        *slash = '\0';
        bool named = part[0] != '\0' && strcmp(part, ".") != 0 && strcmp(part, "..") != 0;
        int next = -1;
        if (!named)
            errno = EXDEV;
        else if (last)
            next = openat(at, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
        else if (mkdirat(at, part, 0755) == 0 || errno == EEXIST)
            next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (last)
            return next;
        *slash = '/'; /* an error names the path */
        fd_close(&at);
        at = next;
        part = slash + 1;
    }
    return -1;
}

static void fetched_element(void *context, struct json_slice key, struct json_slice value)
{
    struct fetched *fetched = context;
    (void)key;
    fetched->path = fetched->content = fetched->encoding = (struct json_slice) { 0 };
    json_each(value, fetched_member, fetched);
    size_t path_length = 0, length = 0;
    char *path = string_decode(fetched->path, &path_length), *content = string_decode(fetched->content, &length);
    bool base64 = fetched->encoding.length > 2 &&
                  json_key_is((struct json_slice) { fetched->encoding.at + 1, fetched->encoding.length - 2 }, "base64");
    if (path == NULL || content == NULL || strlen(path) != path_length) {
        fetched->failed = true;
    } else {
        struct base64_decode_ctx decoder;
        base64_decode_init(&decoder);
        if (base64 && (!base64_decode_update(&decoder, &length, (uint8_t *)content, length, content) || !base64_decode_final(&decoder)))
            length = 0;
        OWN_FD to = fetched_open(fetched->folder, path);
        struct stat there;
        bool plain = to >= 0 && fstat(to, &there) == 0 && S_ISREG(there.st_mode);
        if (!plain || write(to, content, length) != (ssize_t)length) {
            complain(path, strerror(errno));
            fetched->failed = true;
        }
    }
    free(path);
    free(content);
}

struct told {
    struct json_slice name, value, traceback;
};

static void told_member(void *context, struct json_slice key, struct json_slice value)
{
    struct told *told = context;
    if (json_key_is(key, "name"))
        told->name = value;
    else if (json_key_is(key, "value"))
        told->value = value;
    else if (json_key_is(key, "traceback"))
        told->traceback = value;
}

static void error_print(const struct answer *answer)
{
    struct told error = { 0 };
    if (answer->error.at != NULL)
        json_each(answer->error, told_member, &error);
    string_print(error.traceback, stderr);
    if (error.traceback.length <= 2 && error.name.at != NULL) { /* an empty string has its quotes */
        string_print(error.name, stderr);
        fprintf(stderr, ": ");
        string_print(error.value, stderr);
        fprintf(stderr, "\n");
    }
    fprintf(stderr, "status: ");
    string_print(answer->status, stderr);
    if (answer->limit.at != NULL && answer->limit.at[0] == '{')
        fprintf(stderr, ", limit: %.*s", (int)answer->limit.length, answer->limit.at);
    fprintf(stderr, "\n");
}

static int answer_show(const struct task *task, int folder, struct answer *answer)
{
    const struct json_rules rules = { .depth_max = 200000 };
    struct json_error wrong;
    if (json_check(answer->text, answer->length, &rules, answer_member, answer, &wrong) != JSON_OK) {
        complain("run", "there was no answer");
        return 1;
    }
    bool ok = json_key_is((struct json_slice) { answer->status.at + 1, answer->status.length > 2 ? answer->status.length - 2 : 0 }, "ok");
    struct fetched fetched = { .folder = folder };
    if (folder >= 0 && answer->files.at != NULL)
        json_each(answer->files, fetched_element, &fetched);
    if (task->json) {
        printf("%.*s\n", (int)answer->length, answer->text);
    } else if (answer->detail.at != NULL) { /* it never ran */
        fprintf(stderr, "vivary: ");
        string_print(answer->detail, stderr);
        fprintf(stderr, "\n");
    } else {
        string_print(answer->out, stdout);
        string_print(answer->err, stderr);
        if (ok)
            printf("%.*s\n", (int)answer->result.length, answer->result.at);
        else
            error_print(answer);
    }
    return fflush(stdout) == 0 && ok && !fetched.failed ? 0 : 1;
}

static bool all_send(int socket, const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t sent = send(socket, bytes + done, length - done, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        done += (size_t)sent;
    }
    return true;
}

/* Asks, and reads to the end: HTTP/1.0 has no chunks. */
static int answer_read(int socket, const char *body, size_t length, size_t most, struct answer *ret_answer)
{
    char head[256];
    int head_length =
        snprintf(head, sizeof head, "POST /v1/run HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", length);
    if (!all_send(socket, head, (size_t)head_length) || !all_send(socket, body, length))
        return complain("run", "the front doesn't take the request");
    char *text = NULL;
    size_t used = 0, room = 0;
    ssize_t got = 1;
    while (got > 0 && used < most) {
        if (room - used < ANSWER_STEP) {
            char *grown = realloc(text, room = room * 2 + ANSWER_STEP);
            if (grown == NULL) {
                free(text);
                return complain("run", "no memory");
            }
            text = grown;
        }
        got = recv(socket, text + used, room - used, 0);
        used += got > 0 ? (size_t)got : 0;
    }
    const char *end = text != NULL ? memmem(text, used, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        free(text);
        return complain("run", "there was no answer");
    }
    size_t skipped = (size_t)(end + 4 - text);
    memmove(text, text + skipped, used - skipped);
    *ret_answer = (struct answer) { .text = text, .length = used - skipped };
    return 0;
}

/* From here on this process reads what a stranger wrote. It takes the owner of the folder that it may write to, or else the uid that is
 * nobody's, and gives up all else. */
static int privileges_drop(const struct launch *launch, int folder)
{
    struct stat there;
    uid_t uid = launch->plan.uids ? launch->plan.uid_base + UID_RUN : getuid();
    gid_t gid = launch->plan.uids ? uid : getgid();
    struct fault why;
    if (folder >= 0 && geteuid() == 0 && fstat(folder, &there) == 0) {
        uid = there.st_uid;
        gid = there.st_gid;
    }
    if ((geteuid() == 0 && launch->plan.uids && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)) ||
        capabilities_clear(&why) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        perror("vivary: giving up privileges");
        return 1;
    }
    return 0;
}

static int listener_make(int *ret_listener, struct sockaddr_un *ret_address, socklen_t *ret_length)
{
    OWN_FD listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *ret_address = (struct sockaddr_un) { .sun_family = AF_UNIX };
    *ret_length = sizeof *ret_address;
    /* Without a name the kernel chooses an abstract one: unix(7), autobind. Whoever finds it gets a cell, and nothing else. */
    if (listener < 0 || bind(listener, (struct sockaddr *)ret_address, sizeof(sa_family_t)) < 0 || listen(listener, 4) < 0 ||
        getsockname(listener, (struct sockaddr *)ret_address, ret_length) < 0)
        return complain("run's socket", strerror(errno));
    *ret_listener = fd_take(&listener);
    return 0;
}

static void contents_free(struct contents *contents)
{
    for (size_t i = 0; i < TASK_WORDS_MAX; i++)
        free(contents->file[i].base64);
}

static void text_free(char **text)
{
    free(*text);
}

int task_run(struct launch *launch, const struct task *task)
{
    __attribute__((cleanup(contents_free))) struct contents contents = { 0 };
    struct content *files = contents.file;
    for (size_t i = 0; i < task->file_count; i++)
        if (file_load(task->files[i], &files[i]) < 0)
            return 1; // NOLINT(clang-analyzer-unix.Malloc): contents_free() has them
    const struct request_parts parts = { task, files };
    size_t length = 0,
           most = launch->settings.result_max * 2 + (launch->settings.files_mb << 21) + (launch->settings.stdout_max << 4) + HEAD_MAX;
    __attribute__((cleanup(text_free))) char *body = write_make(request_write, &parts, &length);
    if (body == NULL)
        return 1;
    if (length > launch->settings.run_body_max)
        launch->settings.run_body_max = length;
    OWN_FD folder = task->fetch_to != NULL ? open(task->fetch_to, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (task->fetch_to != NULL && folder < 0) {
        complain(task->fetch_to, strerror(errno));
        return 1;
    }
    setenv("LOG_OF_VIVARY", "quiet", 1); /* of a service's log, what went wrong is of use here */
    launch->settings.listen_count = 1;
    snprintf(launch->name, sizeof launch->name, "default");
    struct sockaddr_un address;
    socklen_t address_length;
    OWN_FD listener = -1;
    if (listener_make(&listener, &address, &address_length) < 0 || launch_prepare(launch) != 0)
        return 1;
    int plan_fd = -1;
    if (launch_front_plan(launch, 1, &plan_fd) != 0)
        return 1;
    OWN_FD front_plan = plan_fd;
    pid_t keeper_pid = 0, front_pid = 0, pid = -1;
    int keeper_end = -1, keeper_news = -1, front_news = -1, status = 1;
    if (launch_keeper(launch, &keeper_pid, &keeper_end, &keeper_news) != 0)
        return 1;
    OWN_FD keeper = keeper_end;
    OWN_FD news = keeper_news;
    if (launch_front(launch, front_plan, &keeper, 1, &listener, 1, &front_pid, &front_news) == 0)
        pid = fork();
    OWN_FD front = front_news;
    if (pid == 0) {
        struct answer answer;
        interrupt_release();
        OWN_FD connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (privileges_drop(launch, folder) != 0 || connect(connection, (struct sockaddr *)&address, address_length) < 0)
            _exit(1);
        _exit(answer_read(connection, body, length, most, &answer) < 0 ? 1 : answer_show(task, folder, &answer));
    }
    if (pid > 0)
        status = interrupt_wait(pid);
    if (front_pid > 0) {
        kill(front_pid, SIGKILL); /* its one client is gone */
        waitpid(front_pid, NULL, 0);
    }
    kill(keeper_pid, SIGTERM);
    waitpid(keeper_pid, NULL, 0);
    launch_clear(launch);
    return status;
}
