"""Each sampler killed (SIGKILL) in the middle of a run, resumed, and compared with a run that wasn't.

A checkpoint of another problem must be refused, and stay as it is.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from samplers import make_mixture

SAMPLERS = ["dynesty", "ultranest", "nautilus", "nss", "nuts", "emcee", "importance"]
#: Settings of runs that take a few seconds.
OPTIONS: dict[str, dict] = {
    "dynesty": {"nlive": 2000, "dlogz": 0.1, "checkpoint_every": 1.0},
    "ultranest": {"nlive": 1000},
    "nautilus": {"nlive": 500, "n_networks": 1, "n_eff": 3000},
    "nuts": {"n_samples": 2000},
    "emcee": {"n_samples": 2000},
    "importance": {"n_samples": 800_000},
}
#: What appears, or grows, in the folder of a run when a state is kept.
STATES = {"dynesty": "dynesty.pickle", "ultranest": "ultranest.tsv", "nautilus": "nautilus.hdf5"}


def run(sampler: str, folder: str) -> None:
    """Sample, and print what came out; in a process of its own."""
    from villard.exceptions import CheckpointError

    mixture = make_mixture(discrete=sampler != "nuts")
    if folder.startswith("other:"):
        folder = folder.removeprefix("other:")
        for block in mixture.data:
            block["weights"] = 2 * block["weights"]
        try:
            mixture.sample(sampler, random_state=1, checkpoint=folder, **OPTIONS.get(sampler, {}))
        except CheckpointError as error:
            print(json.dumps({"refused": str(error)}))
        return
    calls = 0
    inner = mixture.in_chunks

    def counted(function, rows):
        nonlocal calls
        calls += len(rows)
        return inner(function, rows)

    mixture.in_chunks = counted
    keep = {"checkpoint": folder} if folder != "none" else {}
    p = mixture.sample(sampler, random_state=1, progress=False, **keep, **OPTIONS.get(sampler, {}))
    digest = hashlib.sha256(p.samples.tobytes()).hexdigest()
    report = {"ln Z": p.log_evidence, "error": p.log_evidence_error, "samples": digest}
    report |= {"DM": p.mean["DM"], "sd": p.sd["DM"], "calls": p.n_calls, "called": calls}
    print(json.dumps(report | {"seconds": p.seconds}))


def start(sampler: str, folder: str) -> subprocess.Popen:
    """Start a run in a process of its own."""
    command = [sys.executable, __file__, "--run", sampler, folder]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def finish(process: subprocess.Popen) -> dict:
    """Wait for a run, and return its report."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"failed with {process.returncode}")
    return json.loads(out.strip().splitlines()[-1])


def kept(sampler: str, folder: Path) -> tuple:
    """Return what changes when a state is kept."""
    files = sorted(folder.glob(STATES.get(sampler, "state.pickle")))
    return tuple((f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.exists())


def contents(folder: Path) -> dict:
    """Return all files of a folder."""
    return {str(f): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run(*sys.argv[2:])
        return
    print("| sampler | killed after | calls after it, of all | ln Z | not stopped | same samples |")
    print("|---|---|---|---|---|---|")
    for sampler in sys.argv[1:] or SAMPLERS:
        whole = finish(start(sampler, "none"))
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "run"
            process, clock, states, last = start(sampler, str(folder)), time.perf_counter(), 0, ()
            while states < 3 and process.poll() is None:
                time.sleep(0.005)
                now = kept(sampler, folder)
                states, last = (states + 1, now) if now != last else (states, last)
            if process.poll() is not None:
                raise SystemExit(f"{sampler} ended before it could be killed")
            process.send_signal(signal.SIGKILL)
            process.wait()
            seconds = time.perf_counter() - clock
            before = contents(folder)
            refused = finish(start(sampler, f"other:{folder}"))["refused"]
            assert "another problem" in refused, refused
            assert contents(folder) == before
            resumed = finish(start(sampler, str(folder)))
            again = finish(start(sampler, str(folder)))
            assert again["samples"] == resumed["samples"]
        numbers = [f"{r['ln Z']:.3f} ± {r['error']:.3f}" for r in (resumed, whole)]
        same = "yes" if resumed["samples"] == whole["samples"] else "no"
        part = f"{resumed['called']} of {whole['called']}"
        print("|", " | ".join([f"`{sampler}`", f"{seconds:.1f} s", part, *numbers, same]), "|", flush=True)


if __name__ == "__main__":
    main()
