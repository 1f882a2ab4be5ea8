#!/usr/bin/env python3
"""Plants the bugs of tests/sim/bugs, one at a time, in a copy of the sources, and lets the simulator look for them.

A bug is a patch of a few lines; the text above it says what is wrong with it. A simulator that does not find it is too weak.
See docs/SIMULATION.md.
"""
import argparse
import filecmp
import glob
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
TIME_LIMIT_S = 900


def bugs(names):
    paths = sorted(glob.glob(os.path.join(HERE, "bugs", "*.patch")))
    found = [path for path in paths if not names or any(os.path.basename(path).startswith(name) for name in names)]
    if not found:
        sys.exit(f"plant: there is no bug of that name in {os.path.join(HERE, 'bugs')}")
    return found


def what(path):
    """The sentence above the patch."""
    with open(path) as file:
        return " ".join(file.read().split("--- a/")[0].split())


def apply(path, folder, *flags):
    """To the files as they lie there, a repository or not. Lines may have moved, and one of context is enough."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": os.path.dirname(folder)}
    done = subprocess.run(["git", "apply", "-C1", *flags, path], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(f"plant: {os.path.basename(path)} does not apply:\n{done.stdout}{done.stderr}", file=sys.stderr)
    return done.returncode == 0


def build(work):
    done = subprocess.run(["cmake", "--build", os.path.join(work, "build"), "--target", "sim"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"plant: it does not build:\n{done.stdout[-4000:]}")


def copy_changed(old, new):
    """What is the same keeps its time, so that it is not built again; what is not gets a new one, so that it is."""
    if not os.path.exists(new) or not filecmp.cmp(old, new, shallow=False):
        shutil.copyfile(old, new)
        shutil.copymode(old, new)


def prepare(work):
    """A copy of the sources and a build of them, the simulator alone."""
    source = os.path.join(work, "source")
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("build", ".git", "shared"), copy_function=copy_changed,
                    dirs_exist_ok=True)
    subprocess.run(["cmake", "-S", source, "-B", os.path.join(work, "build"), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                    "-DCMAKE_C_FLAGS_RELEASE=-O2 -g"], check=True, stdout=subprocess.DEVNULL)
    return source


def hunt(work, seeds, jobs):
    """(seed that failed, what was wrong), or None."""
    sim = os.path.join(work, "build", "tests", "sim", "sim")
    try:
        done = subprocess.run([sim, "--count", str(seeds), "--jobs", str(jobs)], capture_output=True, text=True, timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        return None
    found = re.findall(r"sim: seed (\d+)(?:: at [\d.]+ s)?:? (.*)", done.stdout + done.stderr)
    return min(((int(seed), text) for seed, text in found), default=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bug", nargs="*", help="the beginnings of their names (all)")
    parser.add_argument("--check", action="store_true", help="only see whether each patch applies")
    parser.add_argument("--seeds", type=int, default=20000, help="how many to try (20000)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (the number of cores)")
    parser.add_argument("--work", default=os.path.join(SOURCE, "build", "plant"), help="where to copy and build (build/plant)")
    options = parser.parse_args()
    if options.check:
        sys.exit(0 if all([apply(path, SOURCE, "--check") for path in bugs(options.bug)]) else 1)
    source = prepare(options.work)
    missed = 0
    print("| bug | found by seed | after | as |\n|---|---|---|---|", flush=True)
    for path in bugs(options.bug):
        if not apply(path, source):
            missed += 1
            continue
        build(options.work)
        begin = time.monotonic()
        found = hunt(options.work, options.seeds, options.jobs)
        seconds = time.monotonic() - begin
        apply(path, source, "--reverse")
        missed += found is None
        seed, text = found or ("**none**", f"nothing in {options.seeds} seeds")
        print(f"| {what(path)} | {seed} | {seconds:.1f} s | {text[:110]} |", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
