"""The network, and sockets of every family."""

from inside import TMP, attack, call, check, full_only, in_child, socket_pair_works, unix_socket_works

import array
import os
import socket
import struct


def _family(number, name, kind, protocol=0):
    def function(facts):
        return call("socket", number, kind, protocol) >= 0 and "made"

    function.__name__ = f"socket_{name}"
    function.__doc__ = f"Makes a socket of family {name}."
    attack("surface", socket_pair_works)(function)


for _number, _name, _kind, _protocol in (
    (2, "inet_stream", 1, 0), (2, "inet_datagram", 2, 0), (2, "inet_raw", 3, 1), (10, "inet6_stream", 1, 0), (10, "inet6_raw", 3, 58), (3, "ax25", 2, 0),
    (4, "ipx", 2, 0), (5, "appletalk", 2, 0), (9, "x25", 5, 0), (15, "key", 3, 2), (16, "netlink_route", 3, 0), (16, "netlink_netfilter", 3, 12),
    (16, "netlink_audit", 3, 9), (16, "netlink_crypto", 3, 21), (17, "packet", 3, 768), (21, "rds", 5, 0), (29, "can", 3, 1), (30, "tipc", 1, 0),
    (31, "bluetooth", 3, 1), (33, "rxrpc", 2, 2), (38, "alg", 5, 0), (39, "nfc", 5, 0), (40, "vsock", 1, 0), (41, "kcm", 5, 0), (42, "qipcrtr", 2, 0),
    (43, "smc", 1, 0), (44, "xdp", 3, 0), (45, "mctp", 2, 0),
):
    _family(_number, _name, _kind, _protocol)


@attack("network", socket_pair_works)
def host_loopback(facts):
    """Connects to a service on the host's loopback."""
    return socket.create_connection(("127.0.0.1", facts["tcp"]), 2).recv(20)


@attack("network", socket_pair_works)
def own_service(facts):
    """Sends the host's loopback a datagram."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.settimeout(1)
    one.sendto(b"x", ("127.0.0.1", facts["udp"]))
    return one.recv(20)


@attack("network", socket_pair_works)
def metadata_service(facts):
    """Asks the cloud's metadata service for credentials."""
    return socket.create_connection(("169.254.169.254", 80), 1) and "connected"


@attack("network", socket_pair_works)
def name_lookup(facts):
    """Looks a name up: names can carry data out."""
    return socket.gethostbyname("vivary.example") and "resolved"


@attack("network", socket_pair_works)
def interfaces(facts):
    """Finds an interface that is up."""
    return [name for _, name in socket.if_nameindex() if name != "lo"]


@attack("network", unix_socket_works)
def abstract_of_host(facts):
    """Connects to an abstract socket of the host."""
    one = socket.socket(socket.AF_UNIX)
    one.connect("\0" + facts["abstract"])
    return one.recv(20)


@attack("network", unix_socket_works)
def path_of_host(facts):
    """Connects to a socket of the host by its path."""
    full_only(facts, "a socket that any user may connect to can be")
    one = socket.socket(socket.AF_UNIX)
    one.connect(facts["unix"])
    return one.recv(20)


@attack("network", unix_socket_works)
def system_services(facts):
    """Connects to what usually listens on a host: the system bus, systemd's journal, Docker."""
    for path in ("/run/dbus/system_bus_socket", "/run/systemd/journal/socket", "/run/systemd/private", "/var/run/docker.sock", "/run/containerd/containerd.sock"):
        if os.path.exists(path):
            return path
    raise FileNotFoundError(2, "none of them is there")


@attack("learns", unix_socket_works)
def sockets_of_host(facts):
    """Finds the host's sockets in /proc/self/net/unix."""
    with open("/proc/self/net/unix") as file:
        return facts["abstract"] in file.read() and "listed"


@attack("reads", socket_pair_works)
def peer_is_host(facts):
    """Asks who is at the other end of its one descriptor."""
    for fd in (1002, 1003):
        try:
            one = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        pid, uid, gid = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, 17, 12))
        return (pid > 0 or uid not in (65534, 4294967295 - 2**32, -1, os.getuid())) and f"pid {pid} uid {uid}"


@attack("surface", unix_socket_works)
def send_descriptor_out(facts):
    """Sends a descriptor of its own to the front."""
    one = socket.socket(fileno=os.dup(1002))
    fd = os.open(TMP, os.O_RDONLY)
    one.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    return None  # what the front does with it is looked at from outside: it goes on answering


@attack("surface", socket_pair_works)
def raw_by_child(facts):
    """Makes a raw socket in a new user namespace."""

    def run():
        call("unshare", 0x10000000 | 0x40000000)
        return call("socket", 17, 3, 768) + 1

    return check(in_child(run)) > 0 and "made"


@attack("surface", socket_pair_works)
def inherited_descriptors(facts):
    """Finds descriptors that it was not meant to have."""
    names = os.listdir("/proc/self/fd")
    return [f"{name} {os.readlink('/proc/self/fd/' + name)}" for name in names if int(name) > 2 and int(name) not in (1000, 1001, 1002) and os.path.exists(f"/proc/self/fd/{name}")]
