"""Does the number of threads that `runtime device` chooses pay? Its latency beside that of one thread.

    python3 runtime/benches/threads.py --runtime target/release/runtime --bundle chest.bundle [--rounds 9] [--threads 4]

The two alternate in one run, so that both meet the same load; what counts is the median of the ratios of neighbours.
Prints one JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess


def output(*command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def latency(arguments, threads):
    measured = output(
        arguments.runtime, "bench", "--json", "--bundle", arguments.bundle, "--threads", str(threads),
        "--queries", str(arguments.queries), "--seconds", "0",
    )
    return measured["latency_ms"]["p50"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime", required=True, help="the binary, a release build")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--threads", type=int, help="instead of those that `runtime device` chooses")
    arguments = parser.parse_args()
    status = {"profile": None, "threads": arguments.threads}
    if arguments.threads is None:
        status = output(arguments.runtime, "device", "--json")["status"]
    chosen = status["threads"]
    ones, manys, load = [], [], os.getloadavg()[0]
    for _ in range(arguments.rounds):
        ones.append(latency(arguments, 1))
        manys.append(latency(arguments, chosen))
    ratios = [many / one for one, many in zip(ones, manys)]
    print(json.dumps({
        "profile": status["profile"],
        "threads": chosen,
        "milliseconds": {"one": statistics.median(ones), "chosen": statistics.median(manys)},
        "ratio": statistics.median(ratios),
        "ratios": [min(ratios), max(ratios)],
        "rounds": arguments.rounds,
        "load": load,
    }))


main()
