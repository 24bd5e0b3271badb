#!/usr/bin/env python3
"""Kills `ingot edit` at every system call; the file must then be the old one or the new one.

    tests/interop/kill_edit.py [--ingot build/ingot]

Needs strace, which kills the program with SIGKILL at the nth call of each kind that changes anything. After every kill
`ingot edit --recover` must end well, and the next edit must work.
"""
import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CALLS = ["openat", "flock", "fallocate", "ftruncate", "pwrite64", "write", "sync_file_range", "copy_file_range", "fsync", "rename",
         "renameat2", "link", "unlink", "close", "fchmod"]


def run(*arguments):
    return subprocess.run([str(part) for part in arguments], capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default=str(ROOT / "build" / "ingot"))
    ingot = parser.parse_args().ingot
    if not shutil.which("strace"):
        sys.exit("strace is not installed")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model, old = folder / "model.gguf", folder / "old"
        made = run(ingot, "convert", ROOT / "tests" / "data" / "tolstoy-5m", "-t", "Q4_0", "-o", model)
        if made.returncode != 0:
            sys.exit(made.stderr)
        shutil.copy(model, old)
        old_bytes = old.read_bytes()
        for title, extra in (("in place", []), ("written anew", ["--rewrite"])):
            edit = [ingot, "edit", model, "--set", "general.name=A new name", *extra]
            done = run(*edit)
            if done.returncode != 0 or title.split()[-1] not in done.stdout.replace("as a new file", "anew"):
                sys.exit(f"{title}: {done.stdout}{done.stderr}")
            new_bytes = model.read_bytes()
            n_kills = n_old = n_new = 0
            for call in CALLS:
                for nth in range(1, 200):
                    shutil.copy(old, model)
                    killed = run("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                                 f"inject={call}:signal=KILL:when={nth}", *edit)
                    if killed.returncode == 0:
                        break  # it makes fewer such calls
                    found = model.read_bytes()
                    if found not in (old_bytes, new_bytes):
                        sys.exit(f"FAILED: {title}: killed at {call} {nth}: the file is neither the old one nor the new one")
                    n_kills += 1
                    n_old += found == old_bytes
                    n_new += found == new_bytes
                    recovered = run(ingot, "edit", model, "--recover")
                    again = run(*edit)
                    if recovered.returncode != 0 or again.returncode != 0 or model.read_bytes() not in (new_bytes,):
                        sys.exit(f"FAILED: {title}: after a kill at {call} {nth}: {recovered.stderr}{again.stderr}")
                    left = {path.name for path in folder.iterdir()} - {"model.gguf", "old"}
                    if left:
                        sys.exit(f"FAILED: {title}: after a kill at {call} {nth} these are left: {left}")
            print(f"ok      {title}: {n_kills} kills; the old file {n_old} times, the new one {n_new} times")
            if n_kills == 0:
                sys.exit("FAILED: nothing was killed")
            shutil.copy(old, model)


if __name__ == "__main__":
    main()
