"""Was the machine ours while we measured?"""

import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """CPU time all programs have used, and what the hypervisor took, on all processors."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


def process_seconds(pid: int) -> float:
    """CPU time one program has used with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def processor_ms(pid: int) -> float:
    """As `process_seconds` to the nanosecond, of threads that are still there."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6


class Watch:
    """CPU time that others used between `__init__` and `foreign_share`, as a share of one processor."""

    def __init__(self, *pids: int):
        self.pids = (os.getpid(), *pids)
        self.start = time.monotonic()
        self.others = self._others()

    def _others(self) -> float:
        return busy_seconds() - sum(process_seconds(pid) for pid in self.pids)

    def foreign_share(self) -> float:
        return max(0.0, self._others() - self.others) / max(time.monotonic() - self.start, 1e-9)


def wait_until_idle(patience: float) -> bool:
    """Waits for a quiet fifth of a second; whether there was one within `patience` seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        watch = Watch()
        time.sleep(0.2)
        if watch.foreign_share() < 0.08:
            return True
    return False


def describe() -> dict:
    cpu = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].split("\n") if ":" in line)
    cpu = {name.strip(): value.strip() for name, value in cpu.items()}
    flags = set(cpu.get("flags", "").split())
    sets = [name for name in ("avx2", "avx_vnni", "avx512_vnni", "amx_int8") if name in flags]
    return {"cpu": cpu.get("model name", "unknown"), "processors": os.cpu_count(), "instruction_sets": sets}
