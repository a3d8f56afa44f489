"""What to do about every answer of a language unlearning run that is no, or undecided: a sentence, and the settings."""

from collections.abc import Iterator, Mapping

from myosotis.evaluation.comparison import MIN_UNITS
from myosotis.report.document import Step
from myosotis.report.sections import count_text, value_at
from myosotis.unlearning.language.audit.prospects import REFERENCE, held_needed, unseen_needed
from myosotis.unlearning.language.audit.settings import VerdictSettings
from myosotis.unlearning.language.job.result import LanguageResult

_RECOMMENDED = "counterfactual"


def next_steps(result: LanguageResult, config: Mapping[str, object]) -> list[Step]:
    """Return the steps, those of the first question first; none where every question has a yes.

    Args:
        result: Result of a run.
        config: Its configuration.
    """
    verdict = result.verdict
    if not verdict.known:
        return [*_known(result, config), *_kept(result, config)]
    if verdict.forgotten is False:
        steps = _forget_more(result, config)
    elif verdict.over_forgotten:
        steps = _forget_less(config)
    elif verdict.forgotten is None or verdict.as_unseen is None:
        steps = _decide_forgotten(result, config)
    elif not verdict.as_unseen:
        steps = _forget_more(result, config)  # the loss still tells
    else:
        steps = iter(())
    return [*steps, *_kept(result, config), *_works(result, config)]


def _known(result: LanguageResult, config: Mapping[str, object]) -> Iterator[Step]:
    verdict = result.verdict
    if "known" in verdict.reasons:
        yield Step("Give every record its 'subject', or say 'rows_per_subject: 1', if each row is about another one.")
    elif verdict.unit == "record":
        yield Step("Of so few subjects it takes five records or more, with different facts.")
    elif verdict.control is None or not verdict.control.could_show:
        needed = unseen_needed(_subjects(result), verdict.confidence)
        yield Step(
            f"Whether it was known takes {count_text(needed, 'unseen subject')} or more, or {REFERENCE}.",
            _retrained(config),
        )
    else:
        yield Step(
            "Ask as the model was taught: with its template ('data.template', or 'chat') and its wording. If it does "
            "not know the records even so, there is nothing to forget."
        )


def _forget_more(result: LanguageResult, config: Mapping[str, object]) -> Iterator[Step]:
    if result.training.stop_reason == "diverged":
        yield Step("Training diverged: take smaller steps.", [f"training.learning_rate={_rate(config, 0.5)}"])
    else:
        yield Step("Train longer.", [f"training.epochs={2 * value_at(config, 'training.epochs')}"])
    if result.method != _RECOMMENDED:
        yield Step(
            "Or take the method that ends at the level of a model that never saw the records.",
            [f"method={{name: {_RECOMMENDED}}}"],
        )


def _forget_less(config: Mapping[str, object]) -> Iterator[Step]:
    if value_at(config, "method.name") != _RECOMMENDED:
        yield Step(
            "Less is known than of unseen records, which can be noticed. Take the method that ends at their level.",
            [f"method={{name: {_RECOMMENDED}}}"],
        )
    else:
        epochs = value_at(config, "training.epochs")
        yield Step(
            "Less is known than of unseen records, which can be noticed: train less.",
            [f"training.epochs={3 * epochs // 4}" if epochs > 1 else f"training.learning_rate={_rate(config, 0.75)}"],
        )


def _decide_forgotten(result: LanguageResult, config: Mapping[str, object]) -> Iterator[Step]:
    verdict = result.verdict
    if verdict.reasons.get("forgotten") == "nothing_comparable":
        yield Step("Give unseen records of the same kind and length, with their facts marked where these have facts.")
        return
    if "the same records" in verdict.forgetting[0].against_of:
        yield Step(f"More {verdict.unit}s to forget would narrow the bounds, if there are any.")
        return
    if _subjects(result) < MIN_UNITS:
        few = f"Less than {MIN_UNITS} subjects decide nothing about such subjects."
        yield Step(f"{few} About these very records {REFERENCE} does.", _retrained(config))
        return
    unseen = max((row.against.units for row in verdict.forgetting if row.against is not None), default=0)
    yield Step(
        f"The bounds go over {count_text(_subjects(result), 'subject')} to forget and {unseen} unseen ones: more of "
        "these narrow them; a model that never saw the records compares each of them with itself.",
        _retrained(config),
    )


def _kept(result: LanguageResult, config: Mapping[str, object]) -> Iterator[Step]:
    verdict, hurt = result.verdict, result.verdict.hurt
    if verdict.kept:
        return
    if verdict.reasons.get("kept") == "no_subjects":
        yield Step("Give every record to retain its 'subject'.")
    elif verdict.reasons.get("kept") == "not_known":
        yield Step("Give records to retain that the model was trained on: those held out were not known before.")
    elif hurt is None:
        yield Step("Give records to retain; a part of them is held out, and shows what is lost ('data.retain').")
    elif verdict.kept is False:
        yield _smaller_steps("Take smaller steps, and more of them.", config)
        yield Step("Give more records to retain, first those about namesakes: what is given is kept best.")
    elif hurt.holds is None:
        settings = VerdictSettings(confidence=verdict.confidence, max_hurt_share=hurt.allowed)
        needed = held_needed(hurt.hurt, settings)
        trained = value_at(result.metrics, "after.retain.nll.units") or 0
        total = trained + hurt.subjects
        who = "nobody is" if not hurt.hurt else f"{hurt.hurt} {'is' if hurt.hurt == 1 else 'are'}"
        share = -(-100 * needed // total) / 100 if total else 1.0
        yield Step(
            f"If {who} hurt, {needed} held-out subjects show that the rest is kept; {hurt.subjects} were held out. "
            "Give more records to retain, or hold more of them out.",
            [f"audit.held_retain={share}"] if share <= 0.75 else (),
        )
    else:
        yield Step("More held-out subjects, or more general text, would narrow the bounds of what is kept.")


def _works(result: LanguageResult, config: Mapping[str, object]) -> Iterator[Step]:
    verdict = result.verdict
    if verdict.works is False and verdict.kept is not False:
        yield _smaller_steps("Its answers break: take smaller steps, and more of them.", config)
    elif verdict.works is None and verdict.working:
        yield Step("Look at the answers: with '--show-samples' they stand in the report.")


def _smaller_steps(text: str, config: Mapping[str, object]) -> Step:
    epochs = 2 * value_at(config, "training.epochs")
    return Step(text, [f"training.learning_rate={_rate(config, 0.5)}", f"training.epochs={epochs}"])


def _subjects(result: LanguageResult) -> int:
    return int(value_at(result.metrics, "before.forget.nll.units"))


def _retrained(config: Mapping[str, object]) -> list[str]:
    """The setting that makes a reference: of a job that teaches its model another model, else invented names."""
    return ["reference=retrain" if config.get("fine_tune") else "reference=names"]


def _rate(config: Mapping[str, object], factor: float) -> str:
    return f"{value_at(config, 'training.learning_rate') * factor:.2g}"
