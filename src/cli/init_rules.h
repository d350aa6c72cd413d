/* What a cell's init may ask of the kernel, once it has made the cell: it says so, closes, waits and at last exits. Anything else kills it,
 * and with it the cell. */
#ifndef VIVARY_CLI_INIT_RULES_H
#define VIVARY_CLI_INIT_RULES_H

/* clang-format off */
static const char *const INIT_ALLOWED[] = {
    "write", "close", "exit_group",
    "pause", "ppoll", /* aarch64 has no pause(2): there libc's pause() is a ppoll() of nothing */
    "wait4", "waitid", "clock_nanosleep", "rt_sigreturn", "restart_syscall",
};
/* clang-format on */

#endif
