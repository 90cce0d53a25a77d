#!/usr/bin/env python3
"""The inner loops of the aarch64 kernels by a model of the pipeline: `.ci/arm-mca.sh` disassembles them and calls this.

Of each kernel the innermost loop with the most products is taken, straight from the object code. llvm-mca runs it over and
over with all data in the first-level cache. Cells: cycles of a turn, cycles of its products without anything beside them, and
multiplications a cycle.
"""

import argparse
import re
import subprocess
from pathlib import Path

#: Kernel: its functions, the instructions that multiply, multiplications in one of them.
KERNELS = {
    "NEON, bytes (smull, smlal)": (r"neon::gemm::(rows|pixels|tile)\b", r"smull2?|smlal2?", 8),
    "NEON, Winograd's products (smlal)": (r"neon::winograd::(rows|wide_tile)\b", r"smlal2?", 4),
    "SDOT": (r"aarch64::dotprod::rows\b", r"sdot", 16),
    "USMMLA": (r"aarch64::i8mm::pairs\b", r"usmmla", 32),
}
#: What the products need of a processor, and which of those we ask about have not got it.
NEEDS = {"SDOT": "+dotprod", "USMMLA": "+i8mm"}
LACK = {"SDOT": {"cortex-a72"}, "USMMLA": {"cortex-a55", "cortex-a72", "cortex-a76", "cortex-a78", "neoverse-n1"}}

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*?)\s*(?://.*)?$")


def functions(listing: str):
    """`name, [(address, mnemonic, operands)]` of each function."""
    name, body = "", []
    for line in listing.splitlines():
        if found := FUNCTION.match(line):
            if body:
                yield name, body
            name, body = found.group(1), []
        elif found := INSTRUCTION.match(line):
            body.append((int(found.group(1), 16), found.group(2), found.group(3)))
    if body:
        yield name, body


def loops(body):
    """Pieces between a branch backwards and where it goes, without branches in between: innermost loops."""
    places = {address: at for at, (address, _, _) in enumerate(body)}
    for end, (address, mnemonic, operands) in enumerate(body):
        target = re.search(r"\b([0-9a-f]+) <", operands)
        if not (mnemonic.startswith(("b.", "cb", "tb")) or mnemonic == "b") or not target:
            continue
        start = places.get(int(target.group(1), 16))
        if start is None or start >= end:
            continue
        if not any(one.startswith(("b.", "cb", "tb")) or one in ("b", "bl", "ret") for _, one, _ in body[start:end]):
            yield body[start : end + 1]


def longest(listing: str, where: str, products: str):
    def count(loop) -> int:
        return sum(bool(re.fullmatch(products, mnemonic)) for _, mnemonic, _ in loop)

    found = [loop for name, body in functions(listing) if re.search(where, name) for loop in loops(body)]
    if not found or not (most := max(map(count, found))):
        raise SystemExit(f"error: no loop of {where} has {products}")
    # Of several with as many products, the one that needs the fewest instructions beside them.
    return min((loop for loop in found if count(loop) == most), key=len), most


def assembly(loop) -> str:
    """What llvm-mca reads: a label stands for the address of the loop."""
    lines = []
    for at, (_, mnemonic, operands) in enumerate(loop):
        operands = re.sub(r"\b[0-9a-f]+ <.*>", "again", operands)
        lines.append(f"{'again: ' if at == 0 else ''}{mnemonic} {operands}")
    return "\n".join(lines) + "\n"


def cycles(mca: str, cpu: str, needs: str, text: str) -> float:
    command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", f"-mattr={needs}", "-iterations=100", "-"]
    said = subprocess.run([part for part in command if part != "-mattr="], input=text, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", said).group(1)) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("listing", type=Path)
    parser.add_argument("--mca", default="llvm-mca-19")
    parser.add_argument("--cpus", nargs="+", required=True)
    parser.add_argument("--print", action="store_true", help="the loops, too")
    options = parser.parse_args()
    listing = options.listing.read_text()
    print("| loop | instructions | products | multiplications | " + " | ".join(options.cpus) + " |")
    print("|---|---|---|---|" + "---|" * len(options.cpus))
    for name, (where, products, each) in KERNELS.items():
        loop, count = longest(listing, where, products)
        text, cells = assembly(loop), []
        alone = assembly([one for one in loop if re.fullmatch(products, one[1])])
        for cpu in options.cpus:
            if cpu in LACK.get(name, ()):
                cells.append("–")
                continue
            took, least = (cycles(options.mca, cpu, NEEDS.get(name, ""), lines) for lines in (text, alone))
            cells.append(f"{took:.0f} ({least:.0f}), {count * each / took:.1f}")
        print(f"| {name} | {len(loop)} | {count} | {count * each} | " + " | ".join(cells) + " |")
        if options.print:
            print(text)


if __name__ == "__main__":
    main()
