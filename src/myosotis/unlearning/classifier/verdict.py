"""The verdict of a run: did the model know the instances, are they forgotten, is the rest kept, how sure are we?

Photos of an easy class are answered well by a model that never saw them, so the instances are compared with test images
of their own classes, and where there is a reference, by how much more the model knows of them than the reference does:
a reference that is unsure of everything is unsure of test images too. *Forgotten* is an equivalence, with *no* and
*undecided* beside *yes*: what is left of what had been learnt is shown to be within a share of it. Methods that aim at
errors have to reach them; but an error on the very pixels of a photo may be a patch, so slightly changed copies count.
A mean hides a class, so the class that lost most stands beside it and can turn *kept* to no.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import scipy  # its parts are loaded where they are used, half a second each
import torch
from torch import Tensor

from myosotis.engine.result import ResultPart
from myosotis.evaluation.comparison import (
    MIN_UNITS,
    TOLERANCE,
    Comparison,
    UnlearningVerdict,
    WorstSubject,
    all_of,
    answer,
    compared,
    fixed,
    one_sided,
    unmeasured,
)
from myosotis.evaluation.intervals import (
    Interval,
    change_interval,
    clopper_pearson,
    mean_interval,
    student_change,
    student_interval,
)
from myosotis.evaluation.learning import difference_of
from myosotis.evaluation.membership import Trace, stratified_membership
from myosotis.evaluation.rank_test import RankTest, stratified_rank_test
from myosotis.evaluation.stratified import matched
from myosotis.unlearning.classifier.audit import Audit, log_odds

COPIES, SHADOWS = "slightly changed copies", "an attack with shadow models"

_REFERENCE = "the reference, on the same images"
_TEST = "test images of the same classes, before"

_CHANCE_AUC = 0.5
_AUC_MARGIN = 0.1
"""Distance of an AUC from that of no trace below which the two count as equal."""

_WHOLLY_LOST = 0.8
"""A class is wholly lost where at least this share of its right answers is gone."""

_LEAST_KNOWN = 0.3
"""A class of which less was right before cannot be wholly lost."""

_LEAST_IMAGES = 5
"""A class with fewer images cannot be wholly lost."""


@dataclass(frozen=True)
class VerdictSettings:
    """What counts as forgotten and as kept.

    Attributes:
        most_lost: Largest loss of accuracy that still counts as kept.
        margin: Largest share of what had been learnt of the instances that may be left, or be missing.
        confidence: Level of every interval and test; that of each end of an interval of a difference.
    """

    most_lost: float = 0.05
    margin: float = 0.2
    confidence: float = 0.95


class Chance(ResultPart):
    """Whether the answers before unlearning are any better than by chance."""

    at_chance: bool
    """Whether they are not shown to be better."""
    accuracy: float
    """Share of right answers."""
    level: float
    """Share that chance would get, or the most frequent class."""
    of: str
    """Set that was looked at: ``test``, or without test images ``forget``."""


class ClassifierVerdict(UnlearningVerdict):
    """Answers with the comparisons that they rest on; null where an answer cannot be given."""

    control: Comparison
    """Positive control: the instances against what was never seen, before unlearning."""
    chance: Chance
    """Whether the answers are any better than chance."""
    by_goal: bool
    """Whether the method aims at errors, so that every instance has to reach the goal."""
    goal_reached: Interval | None
    """Share of the instances that were right before and have reached the goal; null where none was right."""
    wrong_before: int
    """Instances that were answered wrongly before, which count for nothing."""
    unseen: Comparison | None
    """Accuracy on the instances after, against that of a model that never saw them; null where nothing tells it."""
    untested: list[str]
    """What was not tested, in words."""
    most_lost: float
    """Largest loss of accuracy that counts as kept."""


def judge(
    audits: Mapping[str, Audit],
    outcome: Mapping[str, Any],
    labels: Mapping[str, Tensor],
    classes: Sequence[str],
    settings: VerdictSettings,
    *,
    by_goal: bool,
    kept_sets: Sequence[str],
    shadow: Mapping[str, Any] | None = None,
    forgotten_classes: Collection[int] = (),
) -> ClassifierVerdict:
    """Answer the questions of a verdict, each with the comparisons that it rests on.

    Args:
        audits: Audits of the models ``before``, ``after``, and of the ``reference`` if there is one.
        outcome: Outcome of the unlearning: ``converged`` and ``instances``.
        labels: True classes by set.
        classes: Names of the classes.
        settings: What counts as forgotten and as kept.
        by_goal: Whether the method aims at errors, so that instances are forgotten once they are misclassified; else
            they are when their accuracy is that of a model that never saw them.
        kept_sets: Sets that decide whether the rest is kept: those that the unlearning did not train on.
        shadow: Results of the attacks with shadow models.
        forgotten_classes: Classes of which every training image was to be forgotten, so that they need not be kept.
    """
    before, after, reference = audits["before"], audits["after"], audits.get("reference")
    reasons: dict[str, str] = {}
    chance = better_than_chance(before, labels, len(classes), settings.confidence)
    control = positive_control(before, reference, labels, chance, settings)
    known = None if chance.at_chance else control.holds
    if chance.at_chance:
        reasons["known"] = "at_chance"
    elif control.incomparable is not None:
        reasons["known"] = "no_test_images"
    instances = outcome["instances"]
    right_before = [instance for instance in instances if instance["answer_before"] == instance["label"]]
    reached = sum(instance["forgotten"] for instance in right_before)
    accuracy = None if by_goal else accuracy_comparison(before, after, reference, labels, settings)
    forgetting = [] if accuracy is None else [accuracy]
    copies = copies_comparison(before, after, reference, labels, len(classes), settings)
    forgetting += [] if copies is None else [copies]
    at_goal = [bool(outcome["converged"]) and reached == len(right_before)] if by_goal else []
    forgotten = all_of([*at_goal, *(row.holds for row in forgetting if row.incomparable is None)])
    if not right_before:
        reasons["forgotten"] = "all_wrong_before"
    elif chance.at_chance:
        reasons["forgotten"] = "at_chance"
    elif not known:
        reasons["forgotten"] = "not_known"
    elif not by_goal and accuracy is None:
        reasons["forgotten"] = "no_reference"
    elif accuracy is not None and accuracy.incomparable is not None and forgotten is not False:
        reasons["forgotten"] = "nothing_comparable"
    keeping = keeping_comparisons(before, after, labels, kept_sets, settings, forgotten_classes)
    worst = worst_class(before, after, labels, kept_sets, classes, forgotten_classes)
    kept = answer(keeping)
    if worst is not None and worst.whole:
        kept = False
    if not keeping:
        reasons["kept"] = "nothing_to_compare"
    elif chance.at_chance:
        reasons["kept"] = "at_chance"
    forgotten, kept = (None if key in reasons else said for key, said in (("forgotten", forgotten), ("kept", kept)))
    unseen = unseen_accuracy(before, after, reference, labels, settings)
    trace = trace_of(after, reference, labels, settings.confidence)
    over, as_unseen = _both_sides(unseen, trace, shadow)
    untested = [COPIES] if copies is None or copies.incomparable is not None else []
    return ClassifierVerdict(
        known=known,
        forgotten=forgotten,
        kept=kept,
        as_unseen=as_unseen,
        over_forgotten=over,
        sure=True if None not in (forgotten, kept) else None,
        reasons=reasons,
        control=control,
        chance=chance,
        by_goal=by_goal,
        goal_reached=_share(reached, len(right_before), settings.confidence) if right_before else None,
        wrong_before=len(instances) - len(right_before),
        forgetting=forgetting,
        keeping=keeping,
        worst_kept=worst,
        unseen=unseen,
        trace=trace,
        untested=untested if shadow is not None else [*untested, SHADOWS],
        confidence=settings.confidence,
        margin=settings.margin,
        most_lost=settings.most_lost,
    )


def better_than_chance(before: Audit, labels: Mapping[str, Tensor], classes: int, confidence: float) -> Chance:
    """Return whether the answers before are better than chance, on test images or else on the instances.

    Args:
        before: Audit of the model before unlearning.
        labels: True classes by set.
        classes: Number of classes.
        confidence: Level of the test.
    """
    name = "test" if "test" in before.right else "forget"
    right, level = before.right[name], 1 / classes
    if name == "test":
        # A model that always predicts the most frequent class is right as often as that class occurs.
        level = max(level, torch.bincount(labels[name]).max().item() / len(labels[name]))
    p_value = _p_better(right, level)
    return Chance(at_chance=p_value > 1 - confidence, accuracy=right.mean().item(), level=level, of=name)


def positive_control(
    before: Audit, reference: Audit | None, labels: Mapping[str, Tensor], chance: Chance, settings: VerdictSettings
) -> Comparison:
    """Return whether the model knew the instances, before unlearning, better than what it never saw.

    The figure is the log-odds of the true class, and with a reference how much higher they are than under the
    reference. Their rank on an instance is compared with those on test images of the same class, by van Elteren's test;
    test images tell how much a reference differs from the model anyway, so without them it is of no use. With neither,
    the test is whether the model gets more of the instances right than chance would. It is shown not to know them where
    their odds are at most the margin above those of test images.

    Args:
        before: Audit of the model before unlearning.
        reference: Audit of a model that never saw the instances.
        labels: True classes by set.
        chance: Whether the answers are any better than chance.
        settings: Confidence and margin.
    """
    level, total = settings.confidence, len(before.losses["forget"])
    if "test" not in before.losses and reference is None:
        return _against_chance(before.right["forget"], chance.level, level)
    name, source = "log_odds", "test images of the same classes"
    if reference is not None:
        name, source = "log_odds_gain", "the same on test images of the same classes"
        if "test" not in before.losses:
            reason = "there are no test images to tell how much the two models differ anyway"
            return unmeasured(name, reason, source, total)
    own = {name: log_odds(before.losses[name]) for name in ("forget", "test")}
    if reference is not None:
        own = {name: rows - log_odds(reference.losses[name]) for name, rows in own.items()}
    side = matched(own["forget"], own["test"], labels["forget"].tolist(), labels["test"].tolist())
    if side is None:
        return unmeasured(name, "no test image is of a class of the instances", source, total)
    test = stratified_rank_test(side.values, side.others, side.strata, side.other_strata, alternative="greater")
    return Comparison(
        name=name,
        value=student_interval(side.values, level=level),
        against=side.level_interval(level),
        against_of=source,
        difference=side.difference(one_sided(level)),
        rule="above",
        margin=math.log1p(settings.margin),
        total=total,
        p_value=test.p_value,
        smallest_p_value=test.smallest,
        confidence=level,
    )


def _against_chance(right: Tensor, chance: float, level: float) -> Comparison:
    test = RankTest(_p_better(right, chance), chance ** len(right), (len(right), len(right)))
    return Comparison(
        name="accuracy",
        value=mean_interval(right, level=level),
        against=fixed(chance),
        against_of="chance",
        difference=mean_interval(right, level=one_sided(level)).transformed(lambda mean: mean - chance),
        rule="above",
        margin=0.0,
        total=len(right),
        p_value=test.p_value,
        smallest_p_value=test.smallest,
        confidence=level,
    )


def accuracy_comparison(
    before: Audit,
    after: Audit,
    reference: Audit | None,
    labels: Mapping[str, Tensor],
    settings: VerdictSettings,
) -> Comparison | None:
    """Return :func:`unseen_accuracy`, which cannot be compared where the model had learnt nothing of the instances.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        reference: Audit of a model that never saw the instances.
        labels: True classes by set.
        settings: Confidence and margin.

    Returns:
        None where there is neither a reference nor a test image of these classes.
    """
    row = unseen_accuracy(before, after, reference, labels, settings)
    if row is None or row.margin > settings.margin * TOLERANCE:
        return row
    whose = "the reference's" if reference is not None else "that on test images of the same classes"
    reason = f"before unlearning it was no higher than {whose}, so it does not tell what is left"
    return row.model_copy(update={"incomparable": reason})


def copies_comparison(
    before: Audit,
    after: Audit,
    reference: Audit | None,
    labels: Mapping[str, Tensor],
    classes: int,
    settings: VerdictSettings,
) -> Comparison | None:
    """Return the comparison of the log-odds of the true class of noisy copies of the instances.

    A model that errs on the very pixels of a photo alone has patched an answer: on a copy with noise it knows the photo
    as before. The level is that of the reference on the same copies, else that of noisy copies of test images of the
    same classes before; the margin is a share of what the copies were above it before. Log-odds below those of chance
    count as chance, so that a copy that is far off does not make up for some that are remembered.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        reference: Audit of a model that never saw the instances.
        labels: True classes by set.
        classes: Number of classes.
        settings: Confidence and margin.

    Returns:
        None where copies were not measured, or nothing tells their level.
    """
    if "forget" not in before.copies or "forget" not in after.copies:
        return None
    chance = -math.log(classes - 1)
    was, now = (log_odds(audit.copies["forget"]).clamp_min(chance) for audit in (before, after))
    level, ends = settings.confidence, one_sided(settings.confidence)
    if reference is not None and "forget" in reference.copies:
        other = log_odds(reference.copies["forget"]).clamp_min(chance)
        value, against = (student_interval(rows, level=level) for rows in (now, other))
        difference, learnt = student_change(now, other, level=ends), (was - other).mean().item()
        source = "the reference, on the same copies"
    elif reference is None and "test" in before.copies:
        unseen = log_odds(before.copies["test"]).clamp_min(chance)
        strata = labels["forget"].tolist(), labels["test"].tolist()
        side, side_before = (matched(rows, unseen, *strata) for rows in (now, was))
        if side is None or side_before is None:
            return None
        value, against = student_interval(side.values, level=level), side.level_interval(level)
        difference, learnt = side.difference(ends), side_before.difference(ends).mean
        source = "copies of test images of the same classes, before"
    else:
        return None
    few = None if learnt > TOLERANCE else f"before unlearning they were no better known than {source}"
    return compared(
        "copies_log_odds",
        value,
        against,
        difference,
        "at most",
        against_of=source,
        margin=settings.margin * max(learnt, 0.0),
        total=len(now),
        confidence=level,
        incomparable=few,
    )


def keeping_comparisons(
    before: Audit,
    after: Audit,
    labels: Mapping[str, Tensor],
    sets: Sequence[str],
    settings: VerdictSettings,
    left_out: Collection[int] = (),
) -> list[Comparison]:
    """Return the comparisons of the accuracy after with that before, set by set.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        labels: True classes by set.
        sets: Sets that the unlearning did not train on; sets that were not audited are skipped.
        settings: What counts as kept.
        left_out: Classes that need not be kept.
    """
    rows, level = [], settings.confidence
    for name in sets:
        if name not in after.right:
            continue
        counts = ~torch.isin(labels[name], torch.tensor(list(left_out), dtype=labels[name].dtype))
        if not bool(counts.any()):
            continue
        was, now = (audit.right[name][counts] for audit in (before, after))
        rows.append(
            compared(
                name,
                mean_interval(now, level=level),
                mean_interval(was, level=level),
                change_interval(now, was, level=one_sided(level)),
                "at least",
                against_of="before",
                margin=settings.most_lost,
                total=len(labels[name]),
                confidence=level,
            )
        )
    return rows


def worst_class(
    before: Audit,
    after: Audit,
    labels: Mapping[str, Tensor],
    sets: Sequence[str],
    classes: Sequence[str],
    left_out: Collection[int] = (),
) -> WorstSubject | None:
    """Return the class that lost the largest share of its right answers, over all sets together.

    It is wholly lost where at least four fifths of them are gone, of at least five images of which at least three in
    ten were right before. Smaller classes, and those that the model hardly knew, come last.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        labels: True classes by set.
        sets: Sets that the unlearning did not train on; sets that were not audited are skipped.
        classes: Names of the classes.
        left_out: Classes that need not be kept.

    Returns:
        None where no image of these sets was right before.
    """
    there = [name for name in sets if name in after.right]
    if not there:
        return None
    label = torch.cat([labels[name] for name in there])
    was, now = (torch.cat([audit.right[name] for name in there]) for audit in (before, after))
    rows = []
    for number in sorted(set(label.tolist()) - set(left_out)):
        own = label == number
        first, last = was[own].mean().item(), now[own].mean().item()
        if first <= 0:
            continue
        lost = 1 - last / first
        counts = first >= _LEAST_KNOWN and int(own.sum()) >= _LEAST_IMAGES
        whole = counts and lost >= _WHOLLY_LOST - TOLERANCE
        subject = WorstSubject(subject=classes[number], before=first, after=last, level=None, whole=whole)
        rows.append((counts, lost, subject))
    return max(rows, key=lambda row: row[:2])[2] if rows else None


def unseen_accuracy(
    before: Audit,
    after: Audit,
    reference: Audit | None,
    labels: Mapping[str, Tensor],
    settings: VerdictSettings,
) -> Comparison | None:
    """Return the comparison of the accuracy on the instances with that of a model that never saw them.

    With the reference's on the same images, else with that on test images of the same classes before.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        reference: Audit of a model that never saw the instances.
        labels: True classes by set.
        settings: Confidence and margin.

    Returns:
        None where there is neither, or no test image of these classes.
    """
    if reference is not None:
        return _accuracy_of_reference(before, after, reference, settings)
    if "test" not in before.right:
        return None
    strata = labels["forget"].tolist(), labels["test"].tolist()
    side, side_before = (matched(audit.right["forget"], before.right["test"], *strata) for audit in (after, before))
    if side is None or side_before is None:
        return None
    level, ends = settings.confidence, one_sided(settings.confidence)
    return compared(
        "forget_accuracy",
        mean_interval(side.values, level=level),
        side.share_interval(level),
        difference_of(mean_interval(side.values, level=ends), side.share_interval(ends)),
        "at most",
        against_of=_TEST,
        margin=settings.margin * max(side_before.difference(ends).mean, 0.0),
        total=len(labels["forget"]),
        confidence=level,
    )


def trace_of(after: Audit, reference: Audit | None, labels: Mapping[str, Tensor], confidence: float) -> Trace | None:
    """Return whether the loss tells the instances from test images of their classes; None without such.

    With a reference, whether the loss less that under the reference does: then it is no trace that the instances are
    easier, or harder, than other images.

    Args:
        after: Audit of the model after unlearning.
        reference: Audit of a model that never saw the instances.
        labels: True classes by set.
        confidence: Level of the test.
    """
    if "test" not in after.losses:
        return None
    own, other = after.losses["forget"], after.losses["test"]
    against = "test images"
    if reference is not None and "test" in reference.losses:
        own, other = own - reference.losses["forget"], other - reference.losses["test"]
        against = "test images, relative to the reference"
    found = stratified_membership(own, other, labels["forget"].tolist(), labels["test"].tolist(), level=confidence)
    return None if found is None else Trace.of(found, against)


def _both_sides(
    unseen: Comparison | None, trace: Trace | None, shadow: Mapping[str, Any] | None
) -> tuple[bool | None, bool | None]:
    """Whether the model is shown to know less of the instances than unseen, and whether nothing tells them apart.

    The second is no as soon as one test finds a trace in either direction, and yes only by equivalence of both the
    accuracy and the AUC; else it is undecided.
    """
    if unseen is None:
        return None, None
    by_loss = False if trace is None else bool(trace.over_forgotten)
    difference = unseen.difference
    bounded = difference is not None and difference.low is not None and difference.units >= MIN_UNITS
    could_show = bounded or (trace is not None and trace.over_forgotten is not None)
    over = (bool(unseen.beyond) or by_loss) if could_show else None
    told = shadow is not None and shadow["u_lira"]["accuracy"]["low"] > _CHANCE_AUC
    if over or told or unseen.holds is False or (trace is not None and trace.traceable):
        return over, False
    if trace is None or trace.low is None or trace.high is None:
        return over, None
    same = max(abs(end - _CHANCE_AUC) for end in (trace.low, trace.high)) <= _AUC_MARGIN
    return over, True if same and unseen.holds and unseen.beyond is False else None


def _accuracy_of_reference(before: Audit, after: Audit, reference: Audit, settings: VerdictSettings) -> Comparison:
    was, now, other = (audit.right["forget"] for audit in (before, after, reference))
    level = settings.confidence
    return compared(
        "forget_accuracy",
        mean_interval(now, level=level),
        mean_interval(other, level=level),
        change_interval(now, other, level=one_sided(level)),
        "at most",
        against_of=_REFERENCE,
        margin=settings.margin * max((was.mean() - other.mean()).item(), 0.0),
        confidence=level,
    )


def _share(hits: int, count: int, confidence: float) -> Interval:
    return Interval(hits / count, *clopper_pearson(hits, count, confidence), count, count)


def _p_better(right: Tensor, level: float) -> float:
    """p-value of more right answers than a level would give."""
    test = scipy.stats.binomtest(int(right.sum()), len(right), level, alternative="greater")
    return float(test.pvalue)
