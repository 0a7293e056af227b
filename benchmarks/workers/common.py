"""What both workers share: the task, the clock, and the report. Imports neither tool."""

import json
import os
import statistics
import sys
import time

RANGE = (0.66, 30.0)  # TeV
CONTOUR_PAIRS = [("alpha", "beta"), ("alpha", "amplitude"), ("beta", "amplitude")]
FLUX_EDGES = [0.66, 1.0, 1.5, 2.3, 3.5, 5.5, 9.0, 15.0]  # TeV


def data_files():
    """PHA files, from the environment that the driver sets."""
    return os.environ["BENCHMARK_FILES"].split(os.pathsep)


def repeats(default):
    return max(1, int(default * float(os.environ.get("BENCHMARK_REPEATS", "1"))))


def timed(function, n):
    """Return the time of the first call and the median of n later ones, in seconds."""
    times = []
    for _ in range(n + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return {"first": times[0], "later": statistics.median(times[1:]) if n else times[0]}


def report(results):
    json.dump(results, sys.stdout)
