#include "cli/interrupt.h"

#include <signal.h>
#include <sys/wait.h>

static void signals_set(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
}

void interrupt_hold(void)
{
    sigset_t signals;
    signals_set(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
}

void interrupt_release(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

int interrupt_wait(pid_t pid)
{
    sigset_t signals;
    signals_set(&signals);
    sigaddset(&signals, SIGCHLD);
    int status = -1; /* no exit */
    /* A SIGCHLD that came before is pending still: it was blocked since before the child was made. */
    while (waitpid(pid, &status, WNOHANG) == 0)
        if (sigwaitinfo(&signals, NULL) != SIGCHLD)
            kill(pid, SIGKILL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
