"""Exit code 0 when every `name==version` of a requirements file is installed in just that version."""
import sys
from importlib.metadata import PackageNotFoundError, version

for line in open(sys.argv[1]):
    line = line.split("#")[0].strip()
    if not line:
        continue
    name, wanted = line.split("==")
    try:
        found = version(name)
    except PackageNotFoundError:
        sys.exit(f"{name} {wanted} is not installed")
    if found != wanted:
        sys.exit(f"{name} is {found}, not {wanted}")
