"""First configurations, by the job."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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
    "learn-classes": draft_class_learning,
    "learn-segments": draft_segment_learning,
    "learn-representations": draft_representation_learning,
    "pretrain": draft_pretraining,
    "pretrain-sweep": draft_sweep,
    "denoise-train": draft_denoiser_training,
    "protocol": draft_protocol,
}
"""From paths and the folder of the configuration to a draft, by the kind of job."""
