"""Tables and a chart of what `pixels.py` measured."""

from engines.report import lines

#: Okabe and Ito's colours, as in `engines/report.py`.
COLOURS = {"ours": "#0072b2", "python": "#e69f00", "dcmtk": "#009e73", "limit": "#000000"}


def table(document: dict) -> str:
    head = ["file", "MB", "ours ms", "of it read", "Python ms", "decode + LUT + resize", "dcmtk ms", "ours / Python [quartiles]", "limit ms", "limit / ours"]
    rows = [head, ["---"] * len(head)]
    for one in document["results"]:
        ours, python = one["ms"]["ours"]["median"], one["ms"]["python"]["median"]
        stages = one["stages"]["python"]
        parts = " + ".join(f"{stages[name]:.1f}" for name in ("decode", "lut", "resize"))
        dcmtk = one["ms"].get("dcmtk")
        rows.append([
            one["file"], f"{one['bytes'] / 1e6:.1f}", f"{ours:.2f}", f"{one['stages']['ours']['read']:.2f}", f"{python:.1f}", f"{parts} ({one['plugin']})",
            f"{dcmtk['median']:.0f}" if dcmtk else "-", "{median:.3f} [{q1:.3f}, {q3:.3f}]".format(**one["ours_over_python"]),
            f"{one['limit_ms']:.2f}", f"{one['limit_ms'] / ours:.2f}",
        ])  # fmt: skip
    return lines(rows)


def notes(document: dict) -> str:
    text = [f"{document['machine']['cpu']}; one thread; memory read at {document['gigabytes_per_second']:.1f} GB/s; load {document['load']:.1f}"]
    worst = max((one["difference"] for one in document["results"]), default=0.0)
    text.append(f"largest mean difference of the two network inputs: {worst:.4f} of the range")
    text += [f"left out: {name}: {why}" for name, why in document["missing"].items()]
    return "\n".join(text)


def chart(document: dict, path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "pixels"  # the same figures give the same file
    import matplotlib.pyplot as plt

    results = document["results"]
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.42 * len(results)), layout="constrained")
    for row, one in enumerate(results):
        for at, name in enumerate(("ours", "python", "dcmtk")):
            if name in one["ms"]:
                axis.barh(row + 0.27 * (at - 1), one["ms"][name]["median"], 0.25, color=COLOURS[name], label=name if row == 0 else None)
        axis.plot([one["limit_ms"]] * 2, [row - 0.42, row + 0.42], color=COLOURS["limit"], linewidth=1, label="limit: bytes by memory bandwidth" if row == 0 else None)
    axis.set_yticks(range(len(results)), [one["file"] for one in results], fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds of processor time, from the file's bytes to the network's input", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(f"one thread, {document['machine']['cpu']}", fontsize=9)
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)
