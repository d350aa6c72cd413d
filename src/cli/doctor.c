/* `vivary doctor`: what this host offers, what is missing, what that costs, and the command that would mend it. */
#include "cli/doctor.h"

#include "cli/launch.h"
#include "cli/level.h"
#include "cli/python.h"
#include "kernel/landlock.h"
#include "kernel/probe.h"
#include "settings/option.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 64 };

static void row_print(const char *what, bool there, const char *found, const char *costs, const char *mend)
{
    printf("%-22s %-4s %s\n", what, there ? "yes" : "NO", there ? found : costs);
    if (!there)
        printf("%-22s      mend: %s\n", "", mend);
}

static void host_show(const struct host *host, bool root)
{
    static const char USERNS[] = "sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 (as root)";
    static const char NAMESPACE[] = "sudo vivary ..., or in a container: --cap-add SYS_ADMIN and a seccomp profile that allows it";
    static const char NEEDED[] = "level full can't be had without it";
    char text[160];
    printf("%-22s      %s\n", "kernel", host->kernel);
    row_print("root", root, "",
              host->own_user ? "all runs have one uid, each in a user namespace of its own; no cgroup limits"
                             : "all runs have one uid, and are one process each",
              "sudo vivary ...");
    row_print("user namespace", host->user, "", NEEDED, USERNS);
    row_print("pid namespace", host->pid, "", NEEDED, NAMESPACE);
    row_print("mount namespace", host->mnt, "", NEEDED, NAMESPACE);
    row_print("net namespace", host->net, "", NEEDED, NAMESPACE);
    row_print("ipc namespace", host->ipc, "", NEEDED, NAMESPACE);
    row_print("uts namespace", host->uts, "", NEEDED, NAMESPACE);
    row_print("cgroup namespace", host->cgroup, "", NEEDED, NAMESPACE);
    row_print("pidfd", host->pidfd, "", "scripts can't be run without it", "a kernel from 5.4 on");
    row_print("nested user namespace", host->nested_user, "", "at level full, workers share their zygote's user namespace",
              "sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 (as root)");
    row_print("own /proc", host->proc_subset, "subset=pid, hidepid", NEEDED, "don't cover parts of /proc; a kernel from 5.8 on");
    row_print("overlayfs", host->overlay, "", "at level full, a refused write says 'read-only file system', not 'permission denied'",
              root ? "modprobe overlay" : NAMESPACE);
    row_print("other uids", host->other_uids, "", "level contained as root can't be had without it",
              root ? "docker run --cap-add SETUID --cap-add SETGID --cap-add KILL" : "sudo vivary ...");
    snprintf(text, sizeof text, "ABI %d%s", host->landlock_abi,
             host->landlock_abi < LANDLOCK_SCOPES ? " (signals and abstract sockets from 6 on)" : "");
    row_print("Landlock", host->landlock_abi > 0, text, "level contained can't be had without it, and level full has one layer less",
              "a kernel from 5.13 on with landlock among its lsm= modules");
    row_print("seccomp filter", host->seccomp_filter, "", "scripts can't be run without it", "a kernel with CONFIG_SECCOMP_FILTER");
    row_print("refused calls told", host->notify, "", "the answers of /v1/run have null for `denied`",
              "a kernel from 5.0 on, and no other listener above (an outer container's)");
    snprintf(text, sizeof text, "version %d", host->cgroup_version);
    row_print("cgroup", host->cgroup_version > 0, text, "limits count for each process, and a run as a whole is looked at now and then",
              "run on the host as root, with /sys/fs/cgroup writable");
    row_print("  memory", host->memory, "", "memory is limited for each process alone",
              root ? "cgroup_enable=memory on the kernel's command line" : "sudo vivary ...");
    row_print("  pids", host->pids, "", "processes are limited by uid", "the pids controller, for the service's group");
    row_print("  cpu", host->cpu, "", "processor time is limited for each process alone", "the cpu controller, for the service's group");
}

/* The level that `vivary serve` would have, and what it is made of. */
static bool level_show(struct launch *launch)
{
    fflush(stdout);
    if (level_choose(launch) != 0) {
        printf("%-22s NO   none: scripts won't be run here\n", "isolation level");
        return false;
    }
    char layers[LEVEL_TEXT_MAX], unbounded[LEVEL_TEXT_MAX];
    level_layers(&launch->plan, layers);
    level_unbounded(&launch->plan, unbounded);
    printf("%-22s      %s\n%-22s      %s\n%-22s      %s\n", "isolation level", level_name(&launch->plan), "  made up of", layers,
           "  not bounded", unbounded[0] != '\0' ? unbounded : "-");
    return true;
}

static bool python_show(const struct settings *settings)
{
    struct python python;
    char error[512];
    if (python_ask(settings, &python, error) < 0) {
        row_print("Python", false, "", error, "apt-get install python3, or --python PATH");
        return false;
    }
    char text[PLAN_PATH_MAX + 64];
    snprintf(text, sizeof text, "%s (%s)", python.version, python.executable);
    row_print("Python", true, text, "", "");
    if (python.packages[0] != '\0')
        row_print("  packages", true, python.packages, "", "");
    if (python.missing[0] != '\0')
        row_print("  packages", false, "", python.missing, "apt-get install python3-NAME for each, or --preload with others");
    char blas[PATH_MAX];
    if (strstr(settings->preload, "numpy") != NULL && strncmp(python.executable, "/usr/bin/", 9) == 0 &&
        (realpath("/usr/lib/x86_64-linux-gnu/libblas.so.3", blas) != NULL ||
         realpath("/usr/lib/aarch64-linux-gnu/libblas.so.3", blas) != NULL))
        row_print("  BLAS", strstr(blas, "openblas") != NULL, blas, "the reference BLAS: linear algebra is many times slower",
                  "apt-get install libopenblas0-serial");
    return python.missing[0] == '\0';
}

/* Hands over to the attacks, which are Python, with all arguments but --attack. Returns only when that fails. */
static int attacks_exec(const char *python, char **argv)
{
    static struct launch launch;
    char program[PATH_MAX], attacks[PLAN_PATH_MAX + 32];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0 || launch_folders(&launch) != 0)
        return 1;
    program[length] = '\0';
    snprintf(attacks, sizeof attacks, "%s/attacks/__main__.py", launch.plan.modules);
    char *arguments[ARGUMENTS_MAX + 8] = { (char *)python, "-I", "-B", attacks, "--vivary", program };
    size_t count = 6;
    for (char **argument = argv + 1; *argument != NULL && count < ARGUMENTS_MAX; argument++)
        if (strcmp(*argument, "--attack") != 0)
            arguments[count++] = *argument;
    execv(python, arguments);
    fprintf(stderr, "vivary: execv(%s): %s\n", python, strerror(errno));
    return 1;
}

/* The attacks' own arguments are taken out of argv, so that the others can be read as options. */
static bool attack_asked(int *argc, char **argv)
{
    static const char *const WITH_VALUE[] = { "--only", "--json" };
    bool asked = false;
    int kept = 1;
    for (int i = 1; i < *argc; i++)
        asked |= strcmp(argv[i], "--attack") == 0;
    for (int i = 1; asked && i < *argc; i++) {
        bool value = strcmp(argv[i], WITH_VALUE[0]) == 0 || strcmp(argv[i], WITH_VALUE[1]) == 0;
        if (value)
            i++;
        else if (strcmp(argv[i], "--attack") != 0 && strcmp(argv[i], "--quiet") != 0)
            argv[kept++] = argv[i];
    }
    if (asked) {
        *argc = kept;
        argv[kept] = NULL;
    }
    return asked;
}

int doctor_main(int argc, char **argv)
{
    static struct settings settings;
    char *given[ARGUMENTS_MAX + 1] = { NULL };
    for (int i = 0; i < argc && i < ARGUMENTS_MAX; i++)
        given[i] = argv[i];
    bool attack = attack_asked(&argc, argv);
    int r = settings_from_arguments(&settings, argc, argv);
    if (r != 0)
        return r < 0 ? 0 : r;
    if (attack) {
        struct python python;
        char error[512];
        if (python_ask(&settings, &python, error) < 0) {
            fprintf(stderr, "vivary: %s\n", error);
            return 1;
        }
        return attacks_exec(python.executable, given);
    }
    static struct launch launch;
    launch.settings = settings;
    bool root = geteuid() == 0;
    level_probe(&settings, &launch.host);
    host_show(&launch.host, root);
    bool python = python_show(&settings);
    return level_show(&launch) && python ? 0 : 1;
}
