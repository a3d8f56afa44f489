"""What probing a run's encoders has shown, for people."""

from collections.abc import Mapping
from typing import Any

from myosotis.engine.run import Run
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import Line, heat_map, line_chart
from myosotis.report.sections import environment_section


def describe_probe(run: Run, found: Mapping[str, Any]) -> Document:
    """Return the report.

    Args:
        run: Finished.
        found: As :func:`~myosotis.continual.classification.probing.probe_run` returns it.
    """
    result = run.result()
    tasks = list(range(1, len(result["tasks"]) + 1))
    fitted = "all training samples" if found["mode"] == "full" else f"{found['per_class']} samples of each class"
    return Document(
        title=f"Representation: {result['name']}",
        subtitle=(
            f"Encoders after each of {len(tasks)} tasks, frozen; linear probes on {fitted}, standardised, penalty "
            f"chosen on a part of them; {found['neighbours']} nearest neighbours. Method {result['method']}, seed "
            f"{result['seed']}."
        ),
        verdicts=_verdicts(result, found),
        table=_table(result, found, tasks),
        figures=_figures(result, found, tasks),
        sections=[
            Section(
                "What the words mean",
                [
                    "Probe, seen: a linear classifier on the frozen features, on the classes so far. Probe, all: on "
                    "the classes of all tasks, those to come among them. Head gap: probe on the classes so far, less "
                    "the learner's own accuracy. Representation gain: probe on all classes at the end, less that "
                    "after the first task. Stability: similarity (linear CKA) of the first and the last encoder on "
                    "test images of the first task. Plasticity: probe among a task's own classes after it was learnt, "
                    "less that before.",
                ],
            ),
            environment_section(run),
            Section(
                "What this does not show",
                [
                    "A linear probe sees what is linearly there. Optimiser, penalties, k and the standardisation are "
                    "this package's own choice, recorded here; the papers do not agree on them.",
                    "One run and one seed; a difference between methods needs several.",
                ],
            ),
        ],
    )


def _verdicts(result: Mapping[str, Any], found: Mapping[str, Any]) -> list[Verdict]:
    net = found["net_of_naive"]
    beside = "" if net is None else f" Plain fine-tuning gained {found['gain'] - net:+.3f}, so {net:+.3f} is its own."
    own, probe = result["metrics"]["accuracy_curve"][-1], found["probe_seen"][-1]
    return [
        Verdict(
            "Has the representation improved?",
            f"A probe on all classes reaches {found['probe_all'][0]:.3f} after the first task and "
            f"{found['probe_all'][-1]:.3f} at the end: a gain of {found['gain']:+.3f}.{beside}",
        ),
        Verdict(
            "Is it the head that is wrong?",
            f"The learner's own accuracy at the end is {own:.3f}, a linear probe of the same features reaches "
            f"{probe:.3f}: {probe - own:+.3f} is lost between the features and the answer.",
        ),
        Verdict("Were the encoders left alone?", "By the hash of each before and after.", found["unchanged"]),
    ]


def _table(result: Mapping[str, Any], found: Mapping[str, Any], tasks: list[int]) -> Table:
    gap, alignment = found["head_gap"], found["head_to_probe"]
    rows = []
    for place, task in enumerate(tasks):
        rows.append(
            Row(
                f"Task {task}",
                [
                    f"{result['metrics']['accuracy_curve'][place]:.3f}",
                    f"{found['probe_seen'][place]:.3f}",
                    f"{gap[place]:+.3f}",
                    f"{found['knn_seen'][place]:.3f}",
                    f"{found['probe_all'][place]:.3f}",
                    "-" if place == 0 else f"{found['plasticity'][place - 1]:+.3f}",
                    "-" if alignment[place] is None else f"{alignment[place]:.2f}",
                    *(f"{values[place]:.3f}" for values in found["downstream"].values()),
                ],
            )
        )
    columns = [
        "Own accuracy",
        "Probe, seen",
        "Head gap",
        "k-NN, seen",
        "Probe, all",
        "Plasticity",
        "Head to probe, cosine",
        *(f"Probe, {name}" for name in found["downstream"]),
    ]
    stability = "" if found["stability"] is None else f"; stability from first to last {found['stability']:.3f}"
    return Table(f"After each task{stability}", columns, rows, "After")


def _figures(result: Mapping[str, Any], found: Mapping[str, Any], tasks: list[int]) -> list[Figure]:
    lines = [
        Line("own accuracy", tasks, result["metrics"]["accuracy_curve"], "forget"),
        Line("linear probe, classes so far", tasks, found["probe_seen"], "retain"),
        Line("linear probe, all classes", tasks, found["probe_all"], "unseen"),
    ]
    labels = [str(task) for task in tasks]
    return [
        Figure(
            line_chart(lines, x_label="tasks learnt", y_label="accuracy", name="probes"),
            "The space between the learner and its probe is the head's fault; the rise of the third line is what later "
            "tasks have added to the representation.",
        ),
        Figure(
            heat_map(
                found["probe_task"],
                labels,
                labels,
                x_label="probe among task",
                y_label="encoder after task",
                name="grid",
            ),
            "Probes among the classes of each single task: left of the diagonal what stays, right of it what helps "
            "tasks to come.",
        ),
    ]
