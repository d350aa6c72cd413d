/* Signals that ask a command to stop, when it has made what it must clear away. */
#ifndef VIVARY_CLI_INTERRUPT_H
#define VIVARY_CLI_INTERRUPT_H

#include <sys/types.h>

/* Keeps SIGINT, SIGTERM and SIGHUP waiting; before anything is made. */
void interrupt_hold(void);

/* In a child that has nothing to clear away: they end it again. */
void interrupt_release(void);

/* Waits for the child's end, and ends it when one of the signals has come. Its exit status; 1 if it had none. */
int interrupt_wait(pid_t pid);

#endif
