"""Models: how they are found and loaded."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.models.backbone import Backbone, as_classifier, build_backbone
    from myosotis.models.causal_lm import load_causal_lm
    from myosotis.models.heads import CosineHead, LinearHead, ProxyHead
    from myosotis.models.image_classifier import ClassifierSpec, build_classifier, load_classifier, save_classifier
    from myosotis.models.normalization import NormalizedClassifier
    from myosotis.models.resnet import SmallResNet
    from myosotis.models.segmenter import SegmentationBody, SegmenterSpec, build_segmenter
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "backbone": "Backbone as_classifier build_backbone",
            "causal_lm": "load_causal_lm",
            "heads": "CosineHead LinearHead ProxyHead",
            "image_classifier": "ClassifierSpec build_classifier load_classifier save_classifier",
            "normalization": "NormalizedClassifier",
            "resnet": "SmallResNet",
            "segmenter": "SegmentationBody SegmenterSpec build_segmenter",
        },
    )

__all__ = [
    "Backbone",
    "ClassifierSpec",
    "CosineHead",
    "LinearHead",
    "NormalizedClassifier",
    "ProxyHead",
    "SegmentationBody",
    "SegmenterSpec",
    "SmallResNet",
    "as_classifier",
    "build_backbone",
    "build_classifier",
    "build_segmenter",
    "load_causal_lm",
    "load_classifier",
    "save_classifier",
]
