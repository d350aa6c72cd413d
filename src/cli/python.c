#include "cli/python.h"

#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { PYTHON_MS_MAX = 60000 };

/* Prints a line for each fact. Packages are looked up, not imported: the zygote imports them, and says what fails. */
static const char QUESTION[] =
    "import sys, os, importlib.util\n"
    "try:\n"
    "    from importlib import metadata\n"
    "except ImportError:\n"
    "    metadata = None\n"
    "if sys.implementation.name != 'cpython' or sys.version_info < (3, 9):\n"
    "    print('unfit', sys.implementation.name, sys.version.split()[0]); sys.exit()\n"
    "print('version', sys.version.split()[0])\n"
    "print('executable', os.path.abspath(sys.executable))\n"
    "places = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, os.path.dirname(os.path.realpath(sys.executable))]\n"
    "places += [entry for entry in sys.path if os.path.isdir(entry)]\n"
    "for place in places:\n"
    "    print('place', os.path.abspath(place))\n"
    "for name in filter(None, sys.argv[1].split(',')):\n"
    "    try:\n"
    "        found = importlib.util.find_spec(name)\n"
    "    except ImportError:\n"
    "        found = None\n"
    "    try:\n"
    "        version = metadata.version(name)\n"
    "    except Exception:\n"
    "        version = ''\n"
    "    print('package' if found else 'missing', name, version)\n";

static void list_add(char *list, size_t size, const char *text)
{
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used > 0 ? ", " : "", text);
}

static bool path_within(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int prefix_add(struct python *python, const char *path, char error[static 512])
{
    static const char *const SYSTEM[] = { "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32" };
    for (size_t i = 0; i < sizeof SYSTEM / sizeof *SYSTEM; i++)
        if (path_within(path, SYSTEM[i]))
            return 0;
    for (uint32_t i = 0; i < python->prefixes; i++)
        if (path_within(path, python->prefix[i]))
            return 0;
    /* What a cell mounts over these hides what is below them; the others are parents of folders that it must not show. */
    static const char *const COVERED[] = { "/tmp", "/dev", "/proc", "/app", "/runtime", "/vivary", "/etc", "/sys" };
    static const char *const TOO_WIDE[] = { "/", "/home", "/root", "/var", "/opt", "/srv", "/mnt", "/run" };
    bool covered = false;
    for (size_t i = 0; i < sizeof COVERED / sizeof *COVERED; i++)
        covered |= path_within(path, COVERED[i]);
    for (size_t i = 0; i < sizeof TOO_WIDE / sizeof *TOO_WIDE; i++)
        covered |= strcmp(path, TOO_WIDE[i]) == 0;
    if (covered) {
        snprintf(error, 512, "Python lives in %.300s, where a cell has other things: use one in a folder of its own, such as /opt/venv",
                 path);
        return -1;
    }
    if (python->prefixes == PLAN_PREFIXES_MAX) {
        snprintf(error, 512, "Python lives in more than %d folders", PLAN_PREFIXES_MAX);
        return -1;
    }
    snprintf(python->prefix[python->prefixes++], PLAN_PATH_MAX, "%s", path);
    return 0;
}

static int line_read(struct python *python, char *line, char error[static 512])
{
    char *value = strchr(line, ' ');
    if (value == NULL)
        return 0;
    *value++ = '\0';
    if (strcmp(line, "unfit") == 0) {
        snprintf(error, 512, "CPython 3.9 or later is needed, this is %s", value);
        return -1;
    }
    if (strcmp(line, "version") == 0)
        snprintf(python->version, sizeof python->version, "%s", value);
    else if (strcmp(line, "executable") == 0)
        snprintf(python->executable, sizeof python->executable, "%s", value);
    else if (strcmp(line, "place") == 0)
        return prefix_add(python, value, error);
    else if (strcmp(line, "package") == 0)
        list_add(python->packages, sizeof python->packages, value);
    else if (strcmp(line, "missing") == 0)
        list_add(python->missing, sizeof python->missing, value);
    return 0;
}

int python_ask(const struct settings *settings, struct python *ret_python, char error[static 512])
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        snprintf(error, 512, "pipe2: %s", strerror(errno));
        return -1;
    }
    OWN_FD out = ends[0];
    OWN_FD in = ends[1];
    pid_t pid = fork();
    if (pid < 0) {
        snprintf(error, 512, "fork: %s", strerror(errno));
        return -1;
    }
    if (pid == 0) {
        int empty = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(empty, STDIN_FILENO);
        dup2(in, STDOUT_FILENO);
        execl(settings->python, settings->python, "-I", "-c", QUESTION, settings->preload, (char *)NULL);
        dprintf(STDERR_FILENO, "%s: %s\n", settings->python, strerror(errno));
        _exit(127);
    }
    fd_close(&in);
    char text[16384];
    size_t have = 0;
    for (;;) {
        struct pollfd watched = { .fd = out, .events = POLLIN };
        int ready = poll(&watched, 1, PYTHON_MS_MAX);
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t got = ready > 0 && have < sizeof text - 1 ? read(out, text + have, sizeof text - 1 - have) : 0;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    text[have] = '\0';
    int status = 0;
    kill(pid, SIGKILL); /* it has closed its output, so it is at its end, or it is over its time */
    waitpid(pid, &status, 0);

    *ret_python = (struct python) { 0 };
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (line_read(ret_python, line, error) < 0)
            return -1;
    if (ret_python->version[0] == '\0' || ret_python->executable[0] != '/') {
        snprintf(error, 512, "%.400s doesn't run as a Python: --python takes the path of a CPython from 3.9 on", settings->python);
        return -1;
    }
    return 0;
}
