"""Attacks that mean nothing in gVisor, each with its reason. A run there sees, and acts on, gVisor's own kernel, which isn't the host's."""

_PROC = "gVisor's /proc shows all of itself, and a run's own cell to it; there is nothing of the host in it"
_NONE = "gVisor takes it, and does nothing with it"

ELSEWHERE = {
    "other_processes": _PROC, "init_status": _PROC, "init_environment": _PROC, "init_descriptors": _PROC, "init_namespaces": _PROC,
    "nsjail_proc_fd": _PROC, "kernel_command_line": _PROC, "host_memory": _PROC, "host_load": _PROC, "host_processor": _PROC,
    "sockets_of_host": "gVisor's /proc/net/unix lists its sockets, whatever namespace they are in; to connect to them is another attack",
    "peer_is_host": "the number that it tells is the keeper's, and means nothing in the cell",
    "host_user_namespace": "all user namespaces have one number there",
    "host_mounts": "the path of what is shared as /app is told, as on other hosts that of its folder's disk",
    "own_settings": "only Landlock refuses it, which gVisor hasn't",
    "oom_protect": _NONE, "priority_raised": _NONE, "idle_priority_of_user": _NONE, "socket_mark": _NONE, "socket_send_forced": _NONE,
    "socket_debug": _NONE, "socket_priority": _NONE,
}
