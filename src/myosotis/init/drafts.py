"""First configurations, by the job."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from myosotis.engine.extras import require
from myosotis.init.denoise_draft import draft_denoiser_training
from myosotis.init.draft import Draft
from myosotis.init.forgetting_drafts import (
    draft_classifier_unlearning,
    draft_exact_forgetting,
    draft_learner_forgetting,
)
from myosotis.init.image_drafts import (
    draft_class_learning,
    draft_pretraining,
    draft_protocol,
    draft_representation_learning,
    draft_segment_learning,
    draft_sweep,
)
from myosotis.jobs import JOBS


def _language(name: str) -> Callable[[Sequence[Path], Path], Draft]:
    def draft(paths: Sequence[Path], folder: Path) -> Draft:
        require("language", "a job on a language model")
        from myosotis.init import language_draft  # transformers takes seconds

        made: Draft = getattr(language_draft, name)(paths, folder)
        return made

    return draft


DRAFTS: Mapping[str, Callable[[Sequence[Path], Path], Draft]] = {
    "unlearn-language": _language("draft_language_unlearning"),
    "unlearn-classifier": draft_classifier_unlearning,
    "unlearn-exact": draft_exact_forgetting,
    "unlearn-learner": draft_learner_forgetting,
    "unlearn-adapters": _language("draft_adapter_forgetting"),
    "learn-language": _language("draft_language_learning"),
    "meter": _language("draft_meter"),
    "learn-classes": draft_class_learning,
    "learn-segments": draft_segment_learning,
    "learn-representations": draft_representation_learning,
    "pretrain": draft_pretraining,
    "pretrain-sweep": draft_sweep,
    "denoise-train": draft_denoiser_training,
    "protocol": draft_protocol,
}
"""From paths and the folder of the configuration to a draft, by the kind of job."""


def draft_settings(job: str, paths: Sequence[Path], folder: Path, *settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that ``init`` would write, with those of a caller.

    Args:
        job: Kind of the job.
        paths: What the draft is made from.
        folder: Folder that its relative paths start from.
        settings: The caller's, which go into them key by key, the later ones over the earlier; those with a ``name``,
            and empty ones, replace the whole.

    Raises:
        InputError: The paths are not what the job starts from.
    """
    content = yaml.safe_load(DRAFTS[job](paths, folder).text)
    given = {name for some in settings for name in some}
    if "preset" not in given and given & {"goal", "method", "training"}:
        content.pop("preset", None)
    # Paths of a draft are relative to its folder, the caller's to the working directory.
    absolute = JOBS[job].schema().model_validate(content, context={"folder": folder.resolve()})
    whole = {**absolute.model_dump(mode="json", exclude_unset=True), "job": job, "name": job}
    for some in settings:
        whole = _merged(whole, some)
    return whole


def _merged(content: Mapping[str, object], settings: Mapping[str, object]) -> dict[str, object]:
    merged = dict(content)
    for name, value in settings.items():
        before = merged.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping) and value and "name" not in value:
            merged[name] = _merged(before, value)
        else:
            merged[name] = value
    return merged
