"""What the scripts of this folder share: running ingot, and counting checks."""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKPOINT = ROOT / "tests" / "data" / "tolstoy-5m"
TYPES = ["F32", "Q4_K_M", "Q3_K_M", "Q4_0", "Q5_K_M", "Q6_K", "Q8_0", "Q2_K", "Q4_K_S", "Q3_K_S", "Q3_K_L", "Q5_K_S",
         "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS", "Q2_K_S", "F16", "BF16"]


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
