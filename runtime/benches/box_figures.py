#!/usr/bin/env python3
"""What the daemon costs and how quick it is, in one table. On an idle machine, against a release build:

    cargo build --release -p runtime -p exporter
    .venv/bin/python runtime/benches/box_figures.py                  five minutes
    .venv/bin/python runtime/benches/box_figures.py --burst 600      the burst under a slow disk, ten minutes, alone
    .venv/bin/python runtime/benches/box_figures.py --only stores --before OTHER --sync-ms 30    two builds in turns
    .venv/bin/python runtime/benches/box_figures.py --only end_to_end    each stage of one image, by a ResNet-50
    .venv/bin/python runtime/benches/box_figures.py --only answer --before OTHER    last byte to result, two builds in turns
    .venv/bin/python runtime/benches/box_figures.py --only shadow    answers with a bundle in the shadow and without
    .venv/bin/python runtime/benches/box_figures.py --json

The burst sends images of 0.8 MB at 4 a second. Every fsync takes `--sync-ms` longer and they queue up, as on an SD card
(`runtime/tests/common/faults.c`). Stored, answered and delivered are counted while the sender is still at it. The ResNet-50 has random weights, as in `peers.py`.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

from drills import faults, sender, wire  # noqa: E402
from drills.peers import EXAMPLE, Ours, Storescp, destination  # noqa: E402

#: 632² pixels of 16 bits are 0.8 MB.
SIDE, TICKS = 632, os.sysconf("SC_CLK_TCK")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ours", type=Path, default=ROOT / "target/release/runtime")
    parser.add_argument("--exporter", type=Path, default=ROOT / "target/release/exporter")
    parser.add_argument("--only", nargs="+", choices=[figure.__name__ for figure in FIGURES])
    parser.add_argument("--burst", type=float, metavar="SECONDS", help="the burst, and nothing else")
    parser.add_argument("--sync-ms", type=int, help="an fsync takes so much longer: 40 in the burst, 0 elsewhere")
    parser.add_argument("--before", type=Path, help="another build of the daemon, for `stores` and `answer`")
    parser.add_argument("--rounds", type=int, default=3, help="of what is measured in turns")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Bench:
    def __init__(self, folder: Path, options: argparse.Namespace):
        self.folder, self.options, self.made = folder, options, 0

    def make(self, binary: Path | None = None, **how) -> Ours:
        self.made += 1
        return Ours(self.folder / str(self.made), (binary or self.options.ours).resolve(), **how)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def memory_mb(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def until_answered(peer: Ours, count: int, patience: float = 300) -> None:
    deadline = time.monotonic() + patience
    while peer.get("/health")["queue"]["answered"] < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{count} images are not answered after {patience} s: {peer.get('/health')}")
        time.sleep(0.02)


def seconds_to_ready(peer: Ours) -> float:
    ready, began = peer.folder / "ready", time.monotonic()
    ready.unlink(missing_ok=True)
    peer.start(wait=False)
    while not ready.exists():
        if peer.process.poll() is not None:
            raise RuntimeError(f"the daemon ended before it was ready: see {peer.folder / 'log'}")
        time.sleep(0.001)
    return time.monotonic() - began


def ready(bench: Bench) -> dict:
    """Milliseconds from the start to READY with 100,000 answered images in the spool, the median of five."""
    peer = bench.make(spool="keep_answered = 1000000").start()
    sent = wire.uid()
    wire.Association(peer).store(sent, wire.dataset(sent))
    until_answered(peer, 1)
    peer.stop()
    (image,), (result,) = (list((peer.kept / name).iterdir()) for name in ("images", "results"))
    before, _, after = image.stem.split("_")
    for number in range(1, 100_000):
        name = f"{int(before) + number:0{len(before)}}_{sender.instance(0, number)}_{after}"
        # The start looks at names, sizes and times; what is in the files, it leaves to whoever asks.
        for like, path in ((image, f"images/{name}.dcm"), (result, f"results/{name}.json")):
            with open(peer.kept / path, "wb") as file:
                file.truncate(like.stat().st_size)
    times = []
    for _ in range(5):
        times.append(seconds_to_ready(peer))
        answered = peer.get("/health")["queue"]["answered"]
        peer.stop()
        if answered != 100_000:
            raise RuntimeError(f"100,000 answered images were made, {answered} were found")
    return {"ready_100000_ms": round(1e3 * percentile(times, 0.5))}


def health(bench: Bench) -> dict:
    """`/health` beside sixteen senders of small images, 1,000 questions on one connection."""
    with_senders = bench.make().start()
    times = []
    with sender.Senders(with_senders, 16, 160) as senders:
        while senders.stored.value < 64:
            time.sleep(0.05)
        connection, before, began = http.client.HTTPConnection("127.0.0.1", with_senders.http), senders.stored.value, time.monotonic()
        for _ in range(1000):
            time.sleep(0.005)
            asked = time.monotonic()
            connection.request("GET", "/health")
            connection.getresponse().read()
            times.append(time.monotonic() - asked)
        rate = (senders.stored.value - before) / (time.monotonic() - began)
    with_senders.stop()
    if senders.failed:
        raise RuntimeError(f"{senders.failed} senders failed")
    return {"health_p50_ms": round(1e3 * percentile(times, 0.5), 1), "health_p99_ms": round(1e3 * percentile(times, 0.99), 1), "health_stores_per_s": round(rate)}


def answers(bench: Bench) -> dict:
    """Answers a second of 100 images of 0.8 MB that wait, by the example bundle."""
    rate, stores = answered_and_stored(bench)
    return {"answers_per_s": round(rate, 1), "stores_per_s_one_sender": round(stores, 1)}


def answered_and_stored(bench: Bench, tables: str = "") -> tuple[float, float]:
    peer, data = bench.make(bundle=False).start(), sender.template(SIDE)
    association, began = wire.Association(peer, timeout=60), time.monotonic()
    for number in range(100):
        one = sender.instance(0, number)
        if (answer := association.store(one, sender.fill(data, one))) != "0000":
            raise RuntimeError(f"C-STORE: {answer}")
    stores = 100 / (time.monotonic() - began)
    peer.stop()
    peer.has_bundle, peer.tables = True, tables
    peer.start(wait=False)
    while not peer.is_ready():
        time.sleep(0.005)
    first, began = peer.get("/health")["queue"]["answered"], time.monotonic()
    until_answered(peer, 100)
    rate = (100 - first) / (time.monotonic() - began)
    peer.stop()
    return rate, stores


def shadow(bench: Bench) -> dict:
    """Answers a second as above, with the same bundle in the shadow of all images and without, in turns. Then a steady sender at 4
    images a second, where the shadow has time for each: from arrival to answer, and processor time an image, from the start on."""
    looks_on = f"[shadow]\npath = {json.dumps(str(EXAMPLE.with_suffix('.bundle')))}\nshare = 1.0"
    rates: dict[str, list[float]] = {"without": [], "with": []}
    waits: dict[str, list[float]] = {"without": [], "with": []}
    costs: dict[str, list[float]] = {"without": [], "with": [], "of_the": []}
    compared = 0
    for _ in range(bench.options.rounds):
        for name, tables in (("without", ""), ("with", looks_on)):
            rates[name].append(answered_and_stored(bench, tables)[0])
            peer = bench.make(tables=tables).start()
            with sender.Senders(peer, 1, SIDE, rate=4) as senders:
                time.sleep(10)
            until_answered(peer, senders.stored.value)
            waits[name].append(1e3 * metric(peer, "cxr_answer_seconds_sum") / metric(peer, "cxr_answer_seconds_count"))
            pid, stored = peer.process.pid, senders.stored.value
            costs[name].append(1e3 * cpu_seconds(pid) / stored)
            if tables:
                compared += peer.get("/shadow")["status"]["compared"]
                costs["of_the"].append(1e3 * sum(cpu_seconds(child) for child in children(pid)) / stored)
            peer.stop()
    return {"compared_at_4_per_s": compared} | {
        f"{what}_{name}_shadow": " ".join(f"{one:.1f}" for one in values) for what, all_values in (("answers_per_s", rates), ("ms_to_answer_at_4_per_s", waits), ("cpu_ms_per_image", costs)) for name, values in all_values.items()
    }


def stores(bench: Bench) -> dict:
    """Small images stored a second by 1, 4 and 16 senders, four seconds each; two builds in turns."""
    builds = {"now": bench.options.ours} | ({"before": bench.options.before} if bench.options.before else {})
    library, rates = faults.build(bench.folder), {}
    for _ in range(bench.options.rounds):
        for count in (1, 4, 16):
            for name, binary in builds.items():
                peer = bench.make(binary, bundle=False)
                slow = faults.Faults(library, peer.folder / "block", peer.kept)
                peer.start(environment=slow.environment() if bench.options.sync_ms else None)
                slow.set("sync_ms", bench.options.sync_ms or 0)
                with sender.Senders(peer, count, 160) as senders:
                    while senders.stored.value < 2 * count:
                        time.sleep(0.02)
                    before, began = senders.stored.value, time.monotonic()
                    time.sleep(4)
                    rate = (senders.stored.value - before) / (time.monotonic() - began)
                peer.stop()
                if senders.failed:
                    raise RuntimeError(f"{senders.failed} senders failed")
                rates.setdefault(f"stores_per_s_{count}_senders_{name}", []).append(rate)
    return {"sync_ms": bench.options.sync_ms or 0} | {name: " ".join(f"{rate:.1f}" for rate in all_rates) for name, all_rates in rates.items()}


def resnet50(bench: Bench) -> dict:
    """From the start to READY with a ResNet-50, by the clock and of the processor, medians of five; memory while 40 images of 0.8 MB are received and answered; then the processor when idle."""
    peer = bench.make()
    peer.bundle, peer.trusted = resnet50_bundle(bench), "allow_unsigned = true"
    times, costs = [], []
    for _ in range(5):
        times.append(seconds_to_ready(peer))
        costs.append(cpu_seconds(peer.process.pid))
        peer.stop()
    peer.start()
    data, association = sender.template(SIDE), wire.Association(peer, timeout=60)
    for number in range(40):
        one = sender.instance(0, number)
        association.store(one, sender.fill(data, one))
    association.release()
    until_answered(peer, 40)
    pid = peer.process.pid
    peak, now = memory_mb(pid, "VmHWM"), memory_mb(pid, "VmRSS")
    time.sleep(3)
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(30)
    share = (cpu_seconds(pid) - before) / (time.monotonic() - began)
    peer.stop()
    ready_ms = {"resnet50_ready_ms": round(1e3 * percentile(times, 0.5)), "resnet50_ready_cpu_ms": round(1e3 * percentile(costs, 0.5))}
    return ready_ms | {"resnet50_rss_mb": round(now), "resnet50_peak_rss_mb": round(peak), "idle_cpu_percent": round(100 * share, 2)}


def real_chest() -> Path:
    """NEMA's RG1: 1955x1841 pixels of 16 bits, uncompressed, 7.2 MB."""
    from pydicom.data import get_testdata_file

    return Path(get_testdata_file("RG1_UNCR.dcm"))


def end_to_end(bench: Bench) -> dict:
    """One real chest radiograph from its sender to the archive, by a ResNet-50 on one thread: `runtime bench --end-to-end`."""
    command = [bench.options.ours, "bench", "--bundle", resnet50_bundle(bench), "--folder", bench.folder, "--json", "--end-to-end", real_chest()]
    told = json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout)
    (file,), network = told["files"], told["network_ms"]
    stages = {f"end_to_end_{name}_ms": f"{one['p50']:.2f} (p90 {one['p90']:.2f})" for name, one in file["stages"].items()}
    share = file["stages"]["answer"]["p50"] / network
    return {"network_alone_ms": round(network, 2), "answer_by_network": round(share, 2), "end_to_end_peak_rss_mb": round(told["peak_rss_mb"])} | stages


def answer(bench: Bench) -> dict:
    """Milliseconds from the last byte of a real chest radiograph to its result in the spool and to the acknowledgement; two builds in turns."""
    builds = {"now": bench.options.ours} | ({"before": bench.options.before} if bench.options.before else {})
    instance, data = wire.real(real_chest())
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in builds}
    peers = {name: bench.make(binary) for name, binary in builds.items()}
    for peer in peers.values():
        peer.bundle, peer.trusted = resnet50_bundle(bench), "allow_unsigned = true"
        peer.start()
    for number in range(8 * bench.options.rounds):
        for name, peer in peers.items():
            one = sender.instance(0, number)
            times[name].append(seconds_to_answer(peer, one, wire.renamed(data, instance, one)))
    figures = {f"peak_rss_mb_{name}": round(memory_mb(peer.process.pid, "VmHWM")) for name, peer in peers.items()}
    for peer in peers.values():
        peer.stop()
    for name, all_times in times.items():
        for what, values in zip(("answer", "acknowledge"), zip(*all_times[1:], strict=True), strict=True):
            figures[f"{what}_ms_{name}"] = f"{1e3 * percentile(values, 0.5):.1f} (least {1e3 * min(values):.1f}, p90 {1e3 * percentile(values, 0.9):.1f})"
    return figures


def seconds_to_answer(peer: Ours, instance: str, data: bytes) -> tuple[float, float]:
    """From the last byte to the result's name in the spool, and to the acknowledgement."""
    association, results = wire.Association(peer, timeout=60), peer.kept / "results"
    association.send_object(instance, data)
    began, answered, told = time.monotonic(), None, None
    association.stream.setblocking(False)
    while answered is None or told is None:
        if told is None:
            try:
                association.stream.recv(1, socket.MSG_PEEK)
                told = time.monotonic() - began
            except BlockingIOError:
                pass
        if answered is None and any(f"_{instance}_" in name and name.endswith(".json") for name in os.listdir(results)):
            answered = time.monotonic() - began
        if time.monotonic() - began > 60:
            raise RuntimeError("no answer after 60 s")
        time.sleep(0.0002)
    association.stream.settimeout(60)
    if (status := association.response()) != "0000":
        raise RuntimeError(f"C-STORE: {status}")
    association.release()
    return answered, told


def resnet50_bundle(bench: Bench) -> Path:
    from engines import models

    folder = ROOT / "target/peers"
    path, checkpoint, pictures = folder / "resnet50.bundle", folder / "resnet50.checkpoint", folder / "pictures"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        models.write_checkpoint("resnet50", checkpoint)
        (checkpoint / "state.json").write_text('{"step": 0, "epoch": 0}')
        models.write_pictures(pictures)
        command = [bench.options.exporter, "quantize", "--int8", "--checkpoint", checkpoint, "--calibration", pictures, "--observer", "minmax", "--out", path, "-q"]
        subprocess.run([str(part) for part in command], check=True)
    return path


def burst(bench: Bench) -> dict:
    """Four images of 0.8 MB a second on a slow disk, their SR to storescp: do the answers keep up, how long is the queue?"""
    seconds, sync_ms = bench.options.burst, 40 if bench.options.sync_ms is None else bench.options.sync_ms
    library = faults.build(bench.folder)
    archive = Storescp(bench.folder / "archive").start()
    peer = bench.make(spool="keep_answered = 200", tables=destination(archive.port, archive.title, commit=False))
    slow = faults.Faults(library, peer.folder / "block", peer.kept)
    peer.start(environment=slow.environment())
    slow.set("sync_ms", sync_ms)
    waiting, began = [], time.monotonic()
    with sender.Senders(peer, 1, SIDE, rate=4) as senders:
        while time.monotonic() - began < seconds:
            time.sleep(0.25)
            queue = peer.get("/health")["queue"]
            waiting.append(queue["waiting"] + queue["running"])
        stored, took = senders.stored.value, time.monotonic() - began
        answered, delivered = metric(peer, "cxr_answer_seconds_count"), sum(1 for _ in archive.kept.iterdir())
    peer.stop()
    archive.stop()
    if senders.failed:
        raise RuntimeError("the sender failed")
    middle = len(waiting) // 2
    return {
        "burst_s": round(took), "sync_ms": sync_ms, "stored": stored, "stores_per_s": round(stored / took, 2), "answered": round(answered), "delivered": delivered,
        "longest_queue_first_half": max(waiting[:middle]), "longest_queue_second_half": max(waiting[middle:]),
    }  # fmt: skip


def metric(peer: Ours, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", peer.http)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    return next(float(line.split()[1]) for line in page.splitlines() if line.split()[0] == name)


FIGURES = [ready, health, answers, resnet50, end_to_end, stores, answer, shadow]


def main() -> None:
    options = arguments()
    if not options.ours.exists():
        sys.exit(f"error: {options.ours} is not there; build it as {Path(__file__).name} says at its top")
    # What is compared in turns takes minutes and is measured when somebody asks for it.
    chosen = [burst] if options.burst else [one for one in FIGURES if one.__name__ in (options.only or ("ready", "health", "answers", "resnet50", "end_to_end"))]
    figures = {"binary": str(options.ours), "machine": f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"}
    with tempfile.TemporaryDirectory(prefix="box-figures", dir=ROOT / "target") as folder:
        for figure in chosen:
            bench = Bench(Path(folder), options)
            print(f"{figure.__name__}: {figure.__doc__}", file=sys.stderr)
            figures |= figure(bench)
            shutil.rmtree(folder)
            Path(folder).mkdir()
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        print("| figure | value |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in figures.items()))


if __name__ == "__main__":
    main()
