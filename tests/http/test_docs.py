"""The commands in the documents: each `$ curl` is run, and what comes is what stands there, but for what differs from run to run."""

import json
import os
import re
import subprocess
import unittest

from service import RunCase, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = ("README.md", "docs/api.md")
CURL_S = 30
# What no document can foretell; of an object, all that is in it.
CHANGING = {"id", "usage", "sha256", "python", "packages", "isolation", "used", "denied"}


def examples(name):
    """Of a document: each command that begins with `$ curl`, and the lines behind it."""
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        text = file.read()
    for block in re.findall(r"^```\n(.*?)^```", text, re.S | re.M):
        if block.startswith("$ curl"):
            # A command ends with the line that closes its quotes.
            lines, command = block.splitlines(keepends=True), ""
            while command.count("'") % 2 == 1 or not command:
                command += lines.pop(0)
            yield command[2:], "".join(lines)


def settled(value):
    """The same of two answers that differ in nothing but what may."""
    if isinstance(value, dict):
        return {name: "…" if name in CHANGING else settled(item) for name, item in value.items()}
    return [settled(item) for item in value] if isinstance(value, list) else value


class ExampleTest(RunCase):
    maxDiff = None

    def run_example(self, command):
        command = command.replace("http://127.0.0.1:8080", f"http://127.0.0.1:{self.service.port}")
        done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CURL_S, check=True)
        return done.stdout

    def test_each_document_has_examples(self):
        self.assertGreaterEqual(len(list(examples("README.md"))), 2)
        self.assertGreaterEqual(len(list(examples("docs/api.md"))), 4)

    def test_what_comes_is_what_the_documents_say(self):
        for name in DOCUMENTS:
            for command, expected in examples(name):
                with self.subTest(document=name, command=command):
                    came = self.run_example(command)
                    if expected.startswith("event:"):
                        kinds = re.findall(r"^event: (.*)$", came, re.M)
                        # What is printed in one call may come in two parts.
                        self.assertEqual([kind for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1]],
                                         re.findall(r"^event: (.*)$", expected, re.M))
                        printed = "".join(json.loads(data)["text"] for data in re.findall(r"^event: stdout\ndata: (.*)$", came, re.M))
                        self.assertEqual(printed, "step\n")
                        continue
                    self.assertEqual(settled(json.loads(came)), settled(json.loads(expected)))


if __name__ == "__main__":
    unittest.main()
