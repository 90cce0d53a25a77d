#!/usr/bin/env python3
"""Training steps of `trainer bench` and of a PyTorch implementation of PRIOR, in turns within one run.

    cargo build --release --workspace --bin trainer
    python3 trainer/benches/against_pytorch.py --case same --stages 1 2 3 [--rounds 5] [--out results.json]

Cases: `same`        the same shapes in float32: 8 pairs (--batch), 224 px, 128 tokens, 6 sentences
       `bf16`        the same in bf16 autocast with channels-last convolutions
       `as-trained`  reports of --data (an index): the released code pads each to 256 tokens and loops over the pairs,
                     ours pads to the longest of the batch
PyTorch's side is `reference_prior.py` in --reference (default: ../shared/prior/reference beside the repository); it needs
torch 2.11, transformers and scipy. Both sides get the same number of threads, and with --device cuda the same card, whose memory is reported then. A round
is one step of each, one after the other; reported are medians, and the quartiles of the rounds' ratios (theirs / ours: above 1, ours is faster).
"""
import argparse, json, os, pathlib, resource, statistics, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZE = dict(image=224, tokens=128, sentences=6)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker(a):
    """One PyTorch step for each line of standard input, as `trainer bench --on-request`; the first line describes batches."""
    sys.path.insert(0, str(a.reference))
    sys.dont_write_bytecode = True
    import torch
    import reference_prior as reference
    torch.set_num_threads(a.threads)
    torch.set_default_device(a.device)
    torch.manual_seed(0)
    if a.device == "cuda":  # where storing autocast's halves into float32 is refused, which the reference does
        assign = torch.Tensor.__setitem__
        torch.Tensor.__setitem__ = lambda to, at, x: assign(to, at, x.to(to.dtype) if torch.is_tensor(x) else x)
    c = reference.Cfg(attn="sdpa")
    model = reference.Prior(c).train()
    memory = torch.channels_last if a.case == "bf16" else torch.contiguous_format
    model.image_encoder.to(memory_format=memory), model.image_decoder.to(memory_format=memory)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7, weight_decay=1e-6)
    vectorised = a.case != "as-trained"
    batches = [batch(torch, c, reports, a.case) for reports in json.loads(input())]
    card = a.device != "cpu"
    for b, _ in batches: b["image"] = b["image"].contiguous(memory_format=memory)
    print(json.dumps({"ready": True}), flush=True)
    for at, line in enumerate(sys.stdin):
        inputs, noise = batches[at % len(batches)]
        begun, cpu = time.perf_counter(), time.process_time()
        with torch.autocast("cuda" if card else "cpu", torch.bfloat16, enabled=a.case == "bf16"):
            losses = model.step(int(line) + 1, inputs, noise, vec=vectorised)
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        if card: torch.cuda.synchronize()
        answer = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu, "rss_mb": peak_mb()}
        if card: answer["card_mb"] = torch.cuda.max_memory_allocated() / 2**20
        print(json.dumps(answer), flush=True)


def batch(torch, c, reports, case):
    """The sentence of every token as ours describes it (0 = none), padded as the released code pads."""
    width = 256 if case == "as-trained" else max(len(r) for r in reports)
    n, total = len(reports), sum(max(r) for r in reports)
    ids, mask, index = (torch.zeros(n, width, dtype=torch.long) for _ in range(3))
    index -= 1
    for b, report in enumerate(reports):
        report = report[:width]
        ids[b, :len(report)] = torch.randint(5, c.vocab, (len(report),))
        mask[b, :len(report)] = 1
        index[b, :len(report)] = torch.tensor([s if s else -1 for s in report])
    g = lambda: -torch.empty(total, c.spb_k).exponential_().log()
    keep = torch.empty(n, c.embed, 1, 1).bernoulli_(0.5) * 2
    image = torch.randn(n, 1, SIZE["image"], SIZE["image"])
    return dict(image=image, ids=ids, mask=mask, sentence_index=index, n_sent=torch.tensor([max(r) for r in reports])), dict(g1=g(), g2=g(), drop=keep)


class Side:
    def __init__(self, command, threads):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def told(self):
        line = self.process.stdout.readline()
        if not line: sys.exit(f"{self.process.args[0]} ended early, status {self.process.wait()}")
        return json.loads(line)

    def step(self, stage):
        self.process.stdin.write(f"{stage}\n")
        self.process.stdin.flush()
        return self.told()

    def cpu(self):
        """CPU seconds of the process so far."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(a):
    ours = [str(a.trainer), "bench", "--json", "--config", str(ROOT / "trainer/configs/prior-resnet50.toml"), "--on-request",
            "--device", a.device, "--threads", str(a.threads), "--set", f"batch={a.batch}", "--set", "min-sentences=1",
            "--set", f"precision={'bf16' if a.case == 'bf16' else 'f32'}", "--set", f"channels-last={str(a.case == 'bf16' or a.channels_last).lower()}"]
    if a.case == "as-trained":
        if not a.data: sys.exit("--case as-trained needs --data, an index")
        ours += ["--data", str(a.data)]
    else: ours += ["--tokens", str(SIZE["tokens"]), "--sentences", str(SIZE["sentences"])]
    here = Side(ours, a.threads)
    batches = here.told()["batches"]
    there = Side([sys.executable, __file__, "--worker", "--case", a.case, "--device", a.device, "--threads", str(a.threads), "--reference", str(a.reference)], a.threads)
    there.process.stdin.write(json.dumps(batches) + "\n")
    there.process.stdin.flush()
    there.told()
    rows = []
    for stage in a.stages:
        for _ in range(a.warm): here.step(stage - 1), there.step(stage - 1)  # what only first steps do
        rounds = []
        for at in range(a.rounds):
            pair = {}
            for name, side in ((("ours", here), ("theirs", there)) if at % 2 == 0 else (("theirs", there), ("ours", here))):
                before = side.cpu()
                pair[name] = side.step(stage - 1)
                pair[name]["cpu"] = side.cpu() - before
            rounds.append(pair)
        row = summary(a.case, stage, rounds)
        rows.append(row)
        print(json.dumps(row), flush=True)
    for side in (here, there): side.process.stdin.close(), side.process.wait()
    return rows


def summary(case, stage, rounds):
    memory = "card_mb" if rounds[0]["theirs"].get("card_mb") else "rss_mb"
    median = lambda side, what: statistics.median(r[side][what] for r in rounds)
    ratios = sorted(r["theirs"]["seconds"] / r["ours"]["seconds"] for r in rounds)
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return dict(case=case, stage=stage, rounds=len(rounds), ours_s=round(median("ours", "seconds"), 4), theirs_s=round(median("theirs", "seconds"), 4),
                ratio=round(quartiles[1], 3), quartiles=[round(quartiles[0], 3), round(quartiles[2], 3)],
                ours_cpu_s=round(median("ours", "cpu"), 2), theirs_cpu_s=round(median("theirs", "cpu"), 2),
                ours_mb=round(max(r["ours"][memory] for r in rounds)), theirs_mb=round(max(r["theirs"][memory] for r in rounds)),
                load=round(os.getloadavg()[0], 2))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter, epilog=__doc__)
    p.add_argument("--case", choices=["same", "bf16", "as-trained"], default="same")
    p.add_argument("--stages", type=int, nargs="+", default=[1, 2, 3])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--batch", type=int, default=8, help="pairs (default 8)")
    p.add_argument("--warm", type=int, default=1, help="steps of each before the first round of a stage (default 1)")
    p.add_argument("--data", type=pathlib.Path)
    p.add_argument("--channels-last", action="store_true", help="ours with channels-last in float32 too")
    p.add_argument("--trainer", type=pathlib.Path, default=ROOT / "target/release/trainer")
    p.add_argument("--reference", type=pathlib.Path, default=ROOT.parent / "shared/prior/reference")
    p.add_argument("--out", type=pathlib.Path)
    p.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.worker: return worker(a)
    rows = measure(a)
    if a.out:
        known = json.loads(a.out.read_text()) if a.out.exists() else []
        a.out.write_text(json.dumps(known + rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
