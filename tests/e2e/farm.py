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
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("SEEDFARM_BIN", os.path.join(SOURCE, "build", "release", "bin"))
TESTS = os.path.join(os.path.dirname(BIN), "tests")
DEMO = os.path.join(SOURCE, "models", "demo")
WAIT_S = float(os.environ.get("SEEDFARM_TEST_WAIT", "240"))


def program(name):
    """One of the programs, or (odd_worker, crowd) one that is built with the tests."""
    path = os.path.join(BIN, name)
    return path if os.path.exists(path) else os.path.join(TESTS, name)


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


def write_png(path, width, height, rgb):
    """rgb: bytes [height,width,3]"""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + rgb[y * width * 3:(y + 1) * width * 3] for y in range(height))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                   chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class FarmTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="seedfarm-e2e-")
        self.processes = []
        self.logs = []
        self.random = random.Random(7)

    def tearDown(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(30)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        for log in self.logs:
            log.close()
        shutil.rmtree(self.folder)

    def log_to(self, name):
        """NAME.log, for a process's stderr; closed at the end of the test."""
        self.logs.append(open(self.path(f"{name}.log"), "a"))
        return self.logs[-1]

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def environment(self):
        return {**os.environ, "XDG_CACHE_HOME": self.path("cache"), "NO_COLOR": "1", "TERM": "dumb"}

    def start(self, name, *arguments, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen([program(name), *map(str, arguments)], cwd=self.folder, env=self.environment(), text=True,
                                   **options)
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
                             stdout=subprocess.PIPE, stderr=self.log_to("coordinator"))
        line = process.stdout.readline()
        self.assertTrue(line.startswith("ready "), line)
        self.address = listen
        return process

    def start_worker(self, number=1, *flags):
        return self.start("seedfarm-worker", "--coordinator", self.address, "--device", "cpu", "--threads", 1, "--cache",
                          self.path(f"worker-{number}"), "--name", f"worker-{number}", "--models", DEMO, *flags,
                          stderr=self.log_to(f"worker-{number}"))

    def start_odd_worker(self, name, *flags):
        """A worker of the real library that draws plain pictures, and misbehaves as told (odd_worker.c)."""
        return self.start("odd_worker", "--coordinator", self.address, "--cache", self.path(name), "--name", name, "--models",
                          DEMO, *flags, stderr=self.log_to(name))

    def hold(self):
        """The file that `--hold` of an odd worker watches: it draws nothing to its end until release()."""
        return self.write("hold", "")

    def release(self):
        os.remove(self.path("hold"))

    def log_lines(self, name):
        """What a process has logged so far: NAME.log, a JSON object a line; other lines are passed over."""
        lines = []
        with open(self.path(f"{name}.log")) as file:
            for line in file:
                if line.startswith("{") and line.endswith("}\n"):
                    lines.append(json.loads(line))
        return lines

    def submit(self, name, text, *flags, status=0):
        sweep = self.write(f"{name}.yaml", f"name: {name}\n" + text)
        return self.seedfarm("submit", sweep, "--coordinator", self.address, *flags, status=status)

    def tell(self, command, *arguments, status=0):
        """A changing command (cancel, pause, ...) of the hand-started farm."""
        return self.seedfarm(command, *arguments, "--coordinator", self.address, status=status)

    def state(self, name):
        return self.ask("status", name)["sweeps"][0]

    def wait_state(self, name, state="done"):
        return wait_for(f"sweep {name} to be {state}", lambda: self.state(name) if self.state(name)["state"] == state else None)

    def worker(self, name):
        """A worker's line of `seedfarm workers`; None: it is not there."""
        return next((worker for worker in self.ask("workers")["workers"] if worker["name"] == name), None)

    def rule(self, what):
        return self.ask("explain", what)["rule"]

    def ask(self, command, *arguments, status=0):
        """A reading command's JSON from the hand-started farm."""
        return json.loads(self.seedfarm(command, *arguments, "--coordinator", self.address, "--json", status=status))


def main():
    unittest.main(argv=[sys.argv[0], "-v"] + sys.argv[1:])


SIGKILL = signal.SIGKILL
