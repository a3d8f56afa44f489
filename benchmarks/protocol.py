"""Speed of the protocol: trials per minute with one and two workers, overhead over bare training, and of the probe.

python benchmarks/protocol.py trials --idx DIRECTORY
python benchmarks/protocol.py probe
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path


def trials(arguments):
    # Not above: each worker runs this file too, where the command line is quick.
    from myosotis.protocol.config import ProtocolConfig
    from myosotis.protocol.job import ProtocolJob

    stream = {
        "train": {"idx": arguments.idx},
        "test": {"idx": arguments.idx, "split": "test"},
        "limit": 1500,
        "test_limit": 2500,
    }
    content = {
        "name": "speed",
        "shared": {
            "scenario": {"first": 2, "per_task": 1},
            "model": {"options": {"widths": [8, 16, 32], "blocks": [1, 1, 1], "stem_stride": 2}},
            "memory": {"total": 100},
            "training": {"batch_size": 32, "epochs": 4},
        },
        "tuning": {**stream, "only": ["0", "1", "2", "3", "4"]},
        "evaluation": {**stream, "only": ["5", "6", "7", "8", "9"]},
        "methods": {
            name: {
                "space": {
                    "training.learning_rate": [0.01, 0.02, 0.03, 0.04, 0.05],
                    "training.weight_decay": [1e-4, 2e-4, 5e-4, 1e-3],
                }
            }
            for name in ("er", "icarl", "bic")
        },
        "trials": arguments.trials,
        "seeds": 2,
        "evaluation_seeds": 1,
        "conventional": False,
    }
    print("| workers | runs | wall, s | runs per minute | in training, s | overhead |")
    print("| --- | --- | --- | --- | --- | --- |")
    for workers in arguments.workers:
        config = ProtocolConfig.model_validate({**content, "executor": {"workers": workers}})
        with tempfile.TemporaryDirectory() as folder:
            job = ProtocolJob(config, Path(folder) / "run", say=lambda _: None)
            job.prepare()
            started = time.perf_counter()
            run = job.run()
            wall = time.perf_counter() - started
            bare = [event["seconds"] for event in run.events()]
            rows = (len(bare), wall, 60 * len(bare) / wall, sum(bare))
        # Each worker's share of the wall time, less what it spent in learn_classes.
        overhead = f"{(workers * wall - sum(bare)) / sum(bare):.1%}"
        print(f"| {workers} | {rows[0]} | {rows[1]:.1f} | {rows[2]:.1f} | {rows[3]:.1f} | {overhead} |", flush=True)


def probe(arguments):
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from myosotis.evaluation.probe import PENALTIES, linear_probe

    torch.manual_seed(0)
    count, width, classes = 10_000, 512, 10
    centres = torch.randn(classes, width) * 0.11
    mixing = torch.randn(width, width) / width**0.5

    def draw(number):
        labels = torch.arange(number) % classes
        return torch.relu((centres[labels] + torch.randn(number, width)) @ mixing + 0.3), labels

    train, test = draw(count), draw(5_000)

    def ours(penalties):
        return linear_probe(*train, *test, penalties=penalties).accuracy

    def theirs(penalty):
        scaler = StandardScaler().fit(train[0].numpy())
        # scikit-learn's C is against the sum of the losses.
        model = LogisticRegression(C=1 / (penalty * count), max_iter=arguments.iterations)
        model.fit(scaler.transform(train[0].numpy()), train[1].numpy())
        return float(model.score(scaler.transform(test[0].numpy()), test[1].numpy()))

    print(f"| {count:,} x {width}, {classes} classes | accuracy | s |")
    print("| --- | --- | --- |")
    for penalty in (1e-1, 1e-2, 1e-3):
        for name, run in (("here", lambda one=penalty: ours([one])), ("scikit-learn", lambda one=penalty: theirs(one))):
            print(f"| {name}, penalty {penalty:g} | {measured(run)} |", flush=True)
    print(f"| here, penalty chosen of {len(PENALTIES)} | {measured(lambda: ours(PENALTIES))} |", flush=True)


def measured(run):
    times = []
    for _ in range(3):
        started = time.perf_counter()
        accuracy = run()
        times.append(time.perf_counter() - started)
    return f"{accuracy:.4f} | {sorted(times)[1]:.2f}"


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("trials")
    one.add_argument("--idx", required=True, help="directory of idx files, e.g. those of Fashion-MNIST")
    one.add_argument("--trials", type=int, default=6)
    one.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    one.set_defaults(run=trials)
    other = commands.add_parser("probe")
    other.add_argument("--iterations", type=int, default=1000, help="of scikit-learn's solver")
    other.set_defaults(run=probe)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
