"""What the scripts of this folder share: running ingot, and counting checks."""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKPOINT = ROOT / "tests" / "data" / "tolstoy-5m"
# What a model can be quantized to, most telling first, and llama.cpp's numbers for it (general.file_type).
FILE_TYPES = {"F32": 0, "Q4_K_M": 15, "Q3_K_M": 12, "Q4_0": 2, "Q5_K_M": 17, "Q6_K": 18, "Q8_0": 7, "Q2_K": 10, "Q4_K_S": 14,
              "Q3_K_S": 11, "Q3_K_L": 13, "Q5_K_S": 16, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "IQ4_NL": 25, "IQ4_XS": 30,
              "Q2_K_S": 21, "F16": 1, "BF16": 32}
TYPES = list(FILE_TYPES)


class Ingot:
    def __init__(self, program):
        self.program = str(Path(program).resolve())

    def run(self, *arguments):
        """stdout of `ingot ARGUMENTS`; a failure ends the script with ingot's own message."""
        done = subprocess.run([self.program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            sys.exit(f"ingot {' '.join(map(str, arguments))}\nexit code {done.returncode}\n"
                     f"{done.stderr.decode(errors='replace')}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))


class Checks:
    """One line per check; finish() says how many failed and exits accordingly."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def __call__(self, what, holds, *details):
        if holds:
            self.passed += 1
            print(f"ok      {what}")
        else:
            self.failed += 1
            print(f"FAILED  {what}")
            for detail in details:
                print(f"        {detail}")
        return holds

    def finish(self):
        print(f"\n{self.passed} checks passed, {self.failed} failed")
        sys.exit(1 if self.failed else 0)
