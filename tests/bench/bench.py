"""What the benches share: the machine in one line, timed processes with their peak memory, tables."""
import json
import os
import platform
import resource
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("SEEDFARM_BIN", os.path.join(SOURCE, "build", "release", "bin"))
DEMO = os.path.join(SOURCE, "models", "demo")


def program(name):
    path = os.path.join(BIN, name)
    if not os.path.exists(path):
        sys.exit(f"{path} is missing: cmake --preset release && cmake --build --preset release")
    return path


def machine():
    """Processor, cores this process may use, memory: what a figure must be read with."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {cores} cores, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"


def run(command, **options):
    """Run to the end; (seconds, stdout). A failing command ends the bench with what it said."""
    begin = time.monotonic()
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    seconds = time.monotonic() - begin
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return seconds, done.stdout


def peak_mb(pid):
    """Peak resident memory of a running process, in MB."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} is gone")


def own_peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def table(title, header, rows):
    """A Markdown table, ready for docs/PERFORMANCE.md."""
    print(f"\n{title}\n\n{machine()}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row) + " |")
    sys.stdout.flush()


def loads(text):
    return json.loads(text)
