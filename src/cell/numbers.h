/* Numbers that more than the cell itself counts on. */
#ifndef VIVARY_CELL_NUMBERS_H
#define VIVARY_CELL_NUMBERS_H

enum { CELL_SCRIPT_UID = 1000 }; /* what a script sees itself as, where it has a user namespace of its own */

/* Descriptors that stay above RLIMIT_NOFILE, so that a script's own never collide with them and a loop that closes all spares them. The
 * first two are there at level contained, and a script's child processes have them too: they are its /tmp and /runtime (place.h). */
enum { CELL_TMP_FD = 1000, CELL_RUNTIME_FD = 1001, CELL_SOCKET_FD = 1002, CELL_STATUS_FD = 1003 };

/* Stands in a filter for the worker's own pid, which is put in when it is loaded. No pid is as large: PID_MAX_LIMIT is 2^22. */
enum { CELL_SELF_PID = 0x7e57ed01 };

#endif
