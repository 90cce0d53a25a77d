"""From rounds to ratios, a table and a chart."""

import statistics

#: Okabe and Ito's colours: apart from each other for every kind of colour vision.
COLOURS = {"ours": "#0072b2", "onnxruntime": "#e69f00", "onnxruntime-exact": "#d55e00", "openvino": "#009e73", "litert": "#cc79a7"}


def quartiles(values: list[float]) -> dict:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"q1": low, "median": median, "q3": high}


def summarise(rounds: list[dict]) -> dict:
    """Each round has the median latency of every engine: `{"ours": 1.0, "onnxruntime": 1.2}`.

    Ratios are taken within a round, so that a clock that drifts from one round to the next does not matter.
    """
    engines = {name: quartiles([one[name] for one in rounds]) for name in rounds[0]}
    ratios = {name: quartiles([one["ours"] / one[name] for one in rounds]) for name in rounds[0] if name != "ours"}
    return {"rounds": len(rounds), "latency_ms": engines, "ours_over": ratios}


def table(document: dict) -> str:
    peers = [name for name in document["engines"] if name != "ours"]
    head = ["model", "threads", "rounds", "ours ms"] + [f"{name} ms" for name in peers] + [f"ours / {name} [quartiles]" for name in peers]
    rows = [head, ["---"] * len(head)]
    for result in document["results"]:
        latency, ratio = result["latency_ms"], result["ours_over"]
        row = [result["model"], str(result["threads"]), str(result["rounds"])]
        row += [f"{latency[name]['median']:.2f}" if name in latency else "-" for name in ["ours", *peers]]
        row += ["{median:.3f} [{q1:.3f}, {q3:.3f}]".format(**ratio[name]) if name in ratio else "-" for name in peers]
        rows.append(row)
    return lines(rows)


def memory_table(document: dict) -> str:
    """Highest resident size of each engine's process, in 10⁶ bytes; the Python ones hold an interpreter and NumPy too."""
    rows = [["model", "threads", "file MB"] + [f"{name} MB" for name in document["engines"]]]
    rows.append(["---"] * len(rows[0]))
    for result in document["results"]:
        row = [result["model"], str(result["threads"]), f"{result['model_mb']:.1f}"]
        rows.append(row + [f"{result['memory_mb'][name]['VmHWM']:.0f}" for name in document["engines"]])
    return lines(rows)


def agreement_table(document: dict) -> str:
    """Largest difference to our outputs, of the largest output."""
    peers = [name for name in document["engines"] if name != "ours"]
    rows = [["model", *peers], ["---"] * (1 + len(peers))]
    seen = set()
    for result in document["results"]:
        if result["model"] not in seen:
            seen.add(result["model"])
            rows.append([result["model"]] + [f"{100 * result['agreement'][name]:.2g} %" for name in peers])
    return lines(rows)


def lines(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def chart(document: dict, path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "peers"  # the same figures give the same file
    import matplotlib.pyplot as plt

    results, engines = document["results"], document["engines"]
    figure, axes = plt.subplots(1, len(results), figsize=(1.1 + 1.45 * len(results), 3.6), layout="constrained")
    for axis, result in zip([axes] if len(results) == 1 else axes, results):
        for at, name in enumerate(engines):
            if name not in result["latency_ms"]:
                continue
            spread = result["latency_ms"][name]
            error = [[spread["median"] - spread["q1"]], [spread["q3"] - spread["median"]]]
            axis.bar(at, spread["median"], 0.8, yerr=error, capsize=3, color=COLOURS.get(name, "#999999"), label=name)
            axis.text(at, spread["median"] * 0.5, f"{spread['median']:.1f}", ha="center", color="white", fontsize=8)
        threads = result["threads"]
        axis.set_title(f"{result['model']}\n{threads} thread{'s' if threads > 1 else ''}", fontsize=9)
        axis.set_xticks([])
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axis = figure.axes[0]
    axis.set_ylabel("milliseconds per image (median, quartiles)", fontsize=8)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    machine = document["machine"]
    figure.suptitle(f"int8, 1x1x224x224, {machine['cpu']}, {document['isa']}", fontsize=9)
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)
