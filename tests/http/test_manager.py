"""What a service manager and a container's health check need: sockets handed on, words when it is ready, `vivary health`."""

import concurrent.futures
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import unittest

from service import BINARY, OK, environment

START_S = 20
HIGH = 50  # above all that this process has open


def given(fd):
    """A command that has this descriptor as its third, and a pid that the environment names."""
    return ["bash", "-c", f'exec 3<&{fd} {fd}<&-; export LISTEN_PID=$$; exec "$0" serve --preload ""', BINARY]


class Manager:
    """Stands for systemd: holds the socket, and hears."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.high = fcntl.fcntl(self.listener.fileno(), fcntl.F_DUPFD, HIGH)
        self.folder = tempfile.TemporaryDirectory()
        self.words = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.words.bind(os.path.join(self.folder.name, "notify"))
        self.words.settimeout(START_S)
        self.process = None

    def start(self, **variables):
        """The shell takes the pid that is named, and becomes the service."""
        self.process = subprocess.Popen(given(self.high), env=environment(LISTEN_FDS="1", NOTIFY_SOCKET=self.words.getsockname(), **variables),
                                        pass_fds=(self.high,), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def hear(self, word):
        while self.words.recv(200) != word:
            pass

    def stop(self):
        if self.process is not None:
            if self.process.poll() is None:
                os.kill(self.process.pid, signal.SIGTERM)
            self.process.communicate(timeout=START_S)
            self.process = None

    def close(self):
        self.stop()
        self.words.close()
        self.listener.close()
        os.close(self.high)
        self.folder.cleanup()

    def ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
        try:
            connection.request("POST", "/execute", json.dumps({"script": OK}))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


class ManagerTest(unittest.TestCase):
    def setUp(self):
        self.manager = Manager()
        self.addCleanup(self.manager.close)

    def test_it_serves_on_the_socket_that_it_was_given(self):
        self.manager.start()
        self.manager.hear(b"READY=1")
        self.assertEqual(self.manager.ask(), (200, {"result": {"ok": True}, "stdout": ""}))
        line = self.manager.process.stdout.readline().decode()
        self.assertIn(f"127.0.0.1:{self.manager.port}", line)

    def test_it_says_that_it_stops(self):
        self.manager.start()
        self.manager.hear(b"READY=1")
        os.kill(self.manager.process.pid, signal.SIGTERM)
        self.manager.hear(b"STOPPING=1")
        self.assertEqual(self.manager.process.wait(START_S), 0)

    def test_it_says_that_it_lives_as_often_as_is_asked(self):
        self.manager.start(WATCHDOG_USEC="400000")
        self.manager.hear(b"READY=1")
        for _ in range(3):
            self.manager.hear(b"WATCHDOG=1")

    def test_nobody_is_refused_while_it_is_replaced(self):
        self.manager.start()
        self.manager.hear(b"READY=1")
        self.manager.stop()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(self.manager.ask) for _ in range(4)]
            self.manager.start()
            self.assertEqual([one.result(START_S)[0] for one in waiting], [200] * 4)

    def test_what_is_no_listening_socket_is_refused(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            high = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD, HIGH)
            self.addCleanup(os.close, high)
            done = subprocess.run(given(high), env=environment(LISTEN_FDS="1"), pass_fds=(high,), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=START_S, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("it isn't a listening stream socket", done.stderr)


class HealthTest(unittest.TestCase):
    def health(self, address):
        return subprocess.run([BINARY, "health", "--listen", address], env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_S,
                              check=False)

    def test_a_service_that_answers_is_healthy(self):
        manager = Manager()
        self.addCleanup(manager.close)
        manager.start()
        manager.hear(b"READY=1")
        done = self.health(f"127.0.0.1:{manager.port}")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "ok\n", ""))
        done = self.health(f"0.0.0.0:{manager.port}")  # as a container is told to listen
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_one_that_is_not_there_is_not(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        done = self.health(f"127.0.0.1:{port}")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("refused", done.stderr)

    def test_one_that_says_nothing_is_not(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            done = self.health(f"127.0.0.1:{silent.getsockname()[1]}")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing", done.stderr)


if __name__ == "__main__":
    unittest.main()
