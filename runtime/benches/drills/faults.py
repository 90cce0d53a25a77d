"""The block that `runtime/tests/common/faults.c` shares with a program: its disk and its clock in our hands."""

import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "tests/common/faults.c"
EIO, ENOSPC = 5, 28


def build(folder: Path) -> Path:
    library = folder / "faults.so"
    subprocess.run(["cc", "-O2", "-fPIC", "-shared", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Faults:
    FIELDS = ("calls", "kill_at", "error", "sync_ms", "clock_s")

    def __init__(self, library: Path, block: Path, under: Path):
        self.block, self.library, self.under = block, library, under
        self.trace = block.with_name("trace")
        block.write_bytes(bytes(8 * len(self.FIELDS)))

    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "FAULTS": str(self.block), "FAULTS_UNDER": str(self.under), "FAULTS_TRACE": str(self.trace)}

    def writes(self) -> int:
        """How many writes of the program to its files were seen; some libraries write past us."""
        return sum(line.startswith("write /") for line in self.trace.read_text().splitlines())

    def set(self, name: str, value: int) -> None:
        with open(self.block, "r+b") as file:
            file.seek(8 * self.FIELDS.index(name))
            file.write(struct.pack("<q", value))

    def get(self, name: str) -> int:
        return struct.unpack_from("<q", self.block.read_bytes(), 8 * self.FIELDS.index(name))[0]
