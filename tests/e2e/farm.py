"""What the end-to-end tests share: real processes, real sockets, real signals, one scratch folder a test.

Every process started here is ended by its process id; every wait is bounded.
"""
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("SEEDFARM_BIN", os.path.join(SOURCE, "build", "release", "bin"))
DEMO = os.path.join(SOURCE, "models", "demo")
WAIT_S = float(os.environ.get("SEEDFARM_TEST_WAIT", "240"))


def program(name):
    return os.path.join(BIN, name)


def wait_for(what, condition, seconds=WAIT_S, pause=0.02):
    """Poll until condition() is true; its value is returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    raise AssertionError(f"waited {seconds} s for {what}")


def children_of(pid):
    """Direct and indirect children, as {pid: program name}."""
    parents, names = {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/stat") as file:
                stat = file.read()
            names[int(entry)] = stat[stat.index("(") + 1:stat.rindex(")")]
            parents[int(entry)] = int(stat[stat.rindex(")") + 2:].split()[1])
    found = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for child, of in parents.items():
            if of == parent and child not in found:
                found[child] = names[child]
                waiting.append(child)
    return found


def is_alive(pid):
    """Running, and not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class FarmTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="seedfarm-e2e-")
        self.processes = []
        self.random = random.Random(7)

    def tearDown(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(30)
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()
        shutil.rmtree(self.folder)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def environment(self):
        return {**os.environ, "XDG_CACHE_HOME": self.path("cache"), "NO_COLOR": "1", "TERM": "dumb"}

    def start(self, name, *arguments, **options):
        process = subprocess.Popen([program(name), *map(str, arguments)], cwd=self.folder, env=self.environment(),
                                   stdin=subprocess.DEVNULL, text=True, **options)
        self.processes.append(process)
        return process

    def seedfarm(self, *arguments, status=0, timeout=WAIT_S):
        """Run the command line to its end; stdout is returned. A status other than the wanted one fails the test."""
        done = subprocess.run([program("seedfarm"), *map(str, arguments)], cwd=self.folder, env=self.environment(),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        self.assertEqual(done.returncode, status, f"seedfarm {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}")
        self.stderr = done.stderr
        return done.stdout

    def run_sweep(self, sweep, *flags, store="store", out="out", status=0):
        """`seedfarm run` to its end; the JSON summary."""
        text = self.seedfarm("run", sweep, "--store", self.path(store), "--out", self.path(out), "--json", *flags,
                             status=status)
        return json.loads(text)

    def pictures(self, out="out"):
        """{file name: pixel digest} of a folder, checked: exactly the metadata's files, with the metadata's bytes."""
        with open(self.path(out, "metadata.jsonl")) as file:
            rows = [json.loads(line) for line in file]
        for row in rows:
            self.assertEqual(sha256(self.path(out, row["file_name"])), row["sha256"], row["file_name"])
        self.assertEqual(sorted(os.listdir(self.path(out))), sorted([row["file_name"] for row in rows] + ["metadata.jsonl"]))
        return {row["file_name"]: row["pixel_digest"] for row in rows}

    def check_store(self, store="store"):
        """Every object's bytes hash to its name; returns how many there are."""
        count = 0
        for folder, _, files in os.walk(self.path(store, "objects")):
            for name in files:
                self.assertEqual(sha256(os.path.join(folder, name)), name)
                count += 1
        return count

    # a farm of hand-started processes -----------------------------------------------------------------------------

    def start_coordinator(self, store="store", listen=None, *flags):
        listen = listen or f"ipc://{self.path('farm.sock')}"
        process = self.start("seedfarm-coordinator", "--store", self.path(store), "--listen", listen, "--models", DEMO, *flags,
                             stdout=subprocess.PIPE, stderr=open(self.path("coordinator.log"), "a"))
        line = process.stdout.readline()
        self.assertTrue(line.startswith("ready "), line)
        self.address = listen
        return process

    def start_worker(self, number=1, *flags):
        return self.start("seedfarm-worker", "--coordinator", self.address, "--device", "cpu", "--threads", 1, "--cache",
                          self.path(f"worker-{number}"), "--name", f"worker-{number}", "--models", DEMO, *flags,
                          stderr=open(self.path(f"worker-{number}.log"), "a"))

    def ask(self, command, *arguments, status=0):
        """A reading command's JSON from the hand-started farm."""
        return json.loads(self.seedfarm(command, *arguments, "--coordinator", self.address, "--json", status=status))


def main():
    unittest.main(argv=[sys.argv[0], "-v"] + sys.argv[1:])


SIGKILL = signal.SIGKILL
