#!/usr/bin/env python3
"""How many instructions a program executes under an emulator, and the share of each crate:

    python3 runtime/benches/instructions.py --emulator qemu-aarch64 --cpu cortex-a76 target/…/runtime analyze chest.dcm --bundle chest.bundle

A function counts for the crate in which it was written, with what the compiler has inlined into it. So a release build
with LTO tells less than a dev build. `.ci/icount.c` counts; Debian's `qemu-user` runs it.
"""

import argparse
import collections
import json
import re
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / ".ci/icount.c"
#: What stands for a crate in a mangled name: the first path in it.
PATH = re.compile(r"(?:^_ZN\d+|\$LT\$|\$RF\$|\$u20\$|\$u5b\$|\$LP\$|_)([a-z][a-z0-9_]*?)(?:\d+[A-Za-z_]|\.\.)")


def crate(symbol: str) -> str:
    if not symbol.startswith("_ZN"):
        return "C, assembly" if symbol != "?" else "no symbol"
    found = PATH.match(symbol) if not re.match(r"_ZN\d+_?\$", symbol) else PATH.search(symbol, 3)
    return found.group(1) if found else "other"


def count(emulator: str, cpu: str, command: list[str]) -> tuple[dict[str, int], collections.Counter]:
    with tempfile.TemporaryDirectory() as folder:
        library, out, symbols = (Path(folder) / name for name in ("libicount.so", "out", "symbols"))
        subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-o", library, SOURCE], check=True)
        plugin = f"{library},out={out},symbols={symbols}"
        subprocess.run([emulator, "-cpu", cpu, "-plugin", plugin, *command], check=True, stdout=subprocess.DEVNULL)
        classes = {name: int(value) for name, value in (pair.split("=") for pair in out.read_text().split())}
        shares: collections.Counter = collections.Counter()
        for line in symbols.read_text().splitlines():
            executed, symbol = line.split(" ", 1)
            shares[symbol] += int(executed)
    return classes, shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--emulator", default="qemu-aarch64")
    parser.add_argument("--cpu", default="max")
    parser.add_argument("--functions", type=int, default=0, help="name so many functions, too")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    classes, functions = count(options.emulator, options.cpu, options.command)
    crates: collections.Counter = collections.Counter()
    for symbol, executed in functions.items():
        crates[crate(symbol)] += executed
    if options.json:
        print(json.dumps({"cpu": options.cpu, "instructions": classes, "crates": crates}))
        return
    print(f"{options.cpu}: " + ", ".join(f"{name} {value / 1e6:.1f} M" for name, value in classes.items()))
    for what, most in ((crates, 14), (functions, options.functions)):
        for name, executed in what.most_common(most):
            print(f"{100 * executed / classes['total']:5.1f} %  {executed / 1e6:9.1f} M  {name}")


if __name__ == "__main__":
    main()
