"""The report of ``myosotis probe``."""

from collections.abc import Mapping
from typing import Any

from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.result import ClassResult
from myosotis.engine.run import Run
from myosotis.evaluation.learning import LearningVerdict
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import Line, curves, heat_map
from myosotis.report.learning import kept_verdict, learnt_verdict
from myosotis.report.sections import environment_section, run_facts


def describe_probe(run: Run, probe: Mapping[str, Any]) -> Document:
    """Return the report.

    Args:
        run: Finished run.
        probe: Result of :func:`~myosotis.continual.classification.probing.probe_run`.
    """
    result = run.result_as(ClassResult)
    tasks = list(range(1, len(result.tasks) + 1))
    fitted = "all training samples" if probe["mode"] == "full" else f"{probe['per_class']} samples of each class"
    return Document(
        title=f"Representation: {result.name}",
        subtitle=(
            f"Encoders after each of {len(tasks)} tasks, frozen; linear probes on {fitted}, standardised, penalty "
            f"chosen on a part of them; {probe['neighbours']} nearest neighbours. Method {result.method}, seed "
            f"{result.seed}."
        ),
        facts=run_facts(run, METHODS.card(result.method).title, hashes=[None, result.lineage.model_out]),
        verdicts=_verdicts(result, probe),
        limits=[
            "A linear probe measures what is linearly separable. Optimiser, penalties, k and the standardisation are "
            "this package's own choice, recorded here; the papers do not agree on them.",
            "One run and one seed; a difference between methods needs several.",
        ],
        table=_table(result, probe, tasks),
        figures=_figures(result, probe, tasks),
        sections=[
            Section(
                "Definitions",
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
        ],
    )


def _verdicts(result: ClassResult, probe: Mapping[str, Any]) -> list[Verdict]:
    net, judged = probe["net_of_naive"], LearningVerdict.model_validate(probe["verdict"])
    beside = (
        "" if net is None else f" That is {net:+.3f} above plain fine-tuning, which gained {probe['gain'] - net:+.3f}."
    )
    own, fitted = result.metrics.accuracy_curve[-1], probe["probe_seen"][-1]
    return [
        learnt_verdict(judged),
        kept_verdict(judged),
        Verdict(
            "Has the representation improved since the first task?",
            f"A probe on all classes reaches {probe['probe_all'][0]:.3f} after the first task and "
            f"{probe['probe_all'][-1]:.3f} at the end: a gain of {probe['gain']:+.3f}.{beside}",
        ),
        Verdict(
            "Does the head lose accuracy?",
            f"The learner's own accuracy at the end is {own:.3f}, a linear probe of the same features reaches "
            f"{fitted:.3f}: {fitted - own:+.3f} is lost between the features and the prediction.",
        ),
        Verdict("Are the encoders unchanged?", "By the hash of their weights before and after.", probe["unchanged"]),
    ]


def _table(result: ClassResult, probe: Mapping[str, Any], tasks: list[int]) -> Table:
    gap, alignment = probe["head_gap"], probe["head_to_probe"]
    rows = []
    for index, task in enumerate(tasks):
        rows.append(
            Row(
                f"Task {task}",
                [
                    f"{result.metrics.accuracy_curve[index]:.3f}",
                    f"{probe['probe_seen'][index]:.3f}",
                    f"{gap[index]:+.3f}",
                    f"{probe['knn_seen'][index]:.3f}",
                    f"{probe['probe_all'][index]:.3f}",
                    "-" if index == 0 else f"{probe['plasticity'][index - 1]:+.3f}",
                    "-" if alignment[index] is None else f"{alignment[index]:.2f}",
                    *(f"{values[index]:.3f}" for values in probe["downstream"].values()),
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
        *(f"Probe, {name}" for name in probe["downstream"]),
    ]
    stability = "" if probe["stability"] is None else f"; stability from first to last {probe['stability']:.3f}"
    return Table(f"After each task{stability}", columns, rows, "After")


def _figures(result: ClassResult, probe: Mapping[str, Any], tasks: list[int]) -> list[Figure]:
    lines = [
        Line("own accuracy", tasks, result.metrics.accuracy_curve, "forget"),
        Line("linear probe, classes so far", tasks, probe["probe_seen"], "retain"),
        Line("linear probe, all classes", tasks, probe["probe_all"], "unseen"),
    ]
    labels = [str(task) for task in tasks]
    return [
        curves(
            lines,
            "Accuracy of the learner and of probes: the gap between the learner and its probe is due to the head; the "
            "rise of the third line is what later tasks have added to the representation.",
            x_label="tasks learnt",
            y_label="accuracy",
            share=True,
            name="probes",
        ),
        Figure(
            heat_map(
                probe["probe_task"],
                labels,
                labels,
                x_label="probe among task",
                y_label="encoder after task",
                name="grid",
            ),
            "Probes among the classes of each single task: left of the diagonal for learnt tasks, right of it for "
            "later tasks.",
        ),
    ]
