#!/usr/bin/env python3
"""Broken rules, broken disks, broken clocks: what the daemon does, and what others do, in one table.

    make setup && bash .ci/setup.sh judges && cargo build -p runtime
    cargo install --debug --locked --root target/dicom-rs dicom-storescp@0.10.1
    .venv/bin/python runtime/benches/drills.py                      all rows, ten minutes, as root: some mount a small disk
    .venv/bin/python runtime/benches/drills.py --only EIO       measures these rows again
    .venv/bin/python runtime/benches/drills.py --only TLS HTTP --print

Every cell is what the program measured in this run; a peer that cannot be drilled in a row has the reason. Peers run with
their defaults. Rows say what is done, `drills/*.py` how. The table goes to `runtime/docs/drills.md`.
"""

import argparse
import concurrent.futures
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

DOCUMENT = ROOT / "runtime/docs/drills.md"
BEGIN, END = "<!-- written by runtime/benches/drills.py -->\n", "<!-- until here -->\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", help="groups or rows with one of these words")
    parser.add_argument("--ours", type=Path, default=ROOT / "target/debug/runtime")
    parser.add_argument("--dicom-rs", type=Path, default=ROOT / "target/dicom-rs/bin/dicom-storescp")
    parser.add_argument("--print", action="store_true", help="print the table instead of writing it")
    return parser.parse_args()


def in_own_mounts() -> None:
    """Goes on where what we mount is seen by nobody else and ends with us."""
    if os.geteuid() == 0 and "DRILLS_IN_OWN_MOUNTS" not in os.environ:
        os.environ["DRILLS_IN_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])


def missing(options, names) -> dict[str, str]:
    """Peers that are not installed, and why no cell of theirs can be measured."""
    from drills.rows import DICOM_RS, ORTHANC, OURS, STORESCP

    found = {OURS: options.ours.exists(), DICOM_RS: options.dicom_rs.exists(), ORTHANC: shutil.which("Orthanc"), STORESCP: shutil.which("storescp")}
    if not found[OURS]:
        sys.exit(f"error: {options.ours} is not there; build it as this file says at its top")
    return {name: "not installed" for name in names if not found[name]}


def cell(lab, row, name: str) -> str:
    if not row.slow:
        lab.mend(name)
    began = time.monotonic()
    try:
        said = row.drill(lab, name)
    except Exception as error:  # noqa: BLE001: a peer that breaks a drill has a cell that says so
        said = f"broke off: {type(error).__name__} {error}".replace("\n", " ")[:90].strip()
    print(f"{time.monotonic() - began:6.1f} s  {row.title} | {name}: {said}", file=sys.stderr)
    return said.replace("|", "/")


def measure(lab, rows, names, without) -> list[list[str]]:
    """A cell a row and peer. Rows that wait for minutes run at once, behind the others."""
    cells = {}
    with concurrent.futures.ThreadPoolExecutor(16) as waiting:
        for row in sorted(rows, key=lambda row: row.slow):
            for name in names:
                key, why = (row.group, row.title, name), row.absent.get(name) or without.get(name)
                if why:
                    cells[key] = f"— ({why})"
                elif row.slow:
                    cells[key] = waiting.submit(cell, lab, row, name)
                else:
                    cells[key] = cell(lab, row, name)
    done = {key: one if isinstance(one, str) else one.result() for key, one in cells.items()}
    return [[row.group, row.title, *(done[row.group, row.title, name] for name in names)] for row in rows]


def table(measured, names, versions) -> str:
    text, group = "", None
    for its_group, title, *cells in measured:
        if its_group != group:
            group = its_group
            text += f"\n## {group}\n\n| drill | {' | '.join(f'{name} {versions[name]}'.strip() for name in names)} |\n|{'---|' * (len(names) + 1)}\n"
        text += f"| {title} | {' | '.join(cells)} |\n"
    return text.lstrip("\n")


def main() -> None:
    options = arguments()
    in_own_mounts()
    from drills import faults, protocol, security, web, disks, delivery  # noqa: F401, I001: they add their rows, in this order
    from drills.rows import ALL, ROWS, Lab

    without = missing(options, ALL)
    rows = [row for row in ROWS if not options.only or any(word in f"{row.group} {row.title}" for word in options.only)]
    with tempfile.TemporaryDirectory(prefix="drills") as folder:
        lab = Lab(Path(folder), options.ours.resolve(), options.dicom_rs.resolve(), faults.build(Path(folder)))
        try:
            versions = {name: "" if name in without else lab.make(name).version() for name in ALL}
            measured = measure(lab, rows, ALL, without)
        finally:
            lab.close()
    text = table(measured, ALL, versions)
    if options.print:
        print(text)
    elif options.only:
        replace_rows(measured)
    else:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def replace_rows(measured) -> None:
    lines = DOCUMENT.read_text().splitlines()
    for _, title, *cells in measured:
        (at,) = (at for at, line in enumerate(lines) if line.startswith(f"| {title} |"))
        lines[at] = f"| {title} | {' | '.join(cells)} |"
    DOCUMENT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
