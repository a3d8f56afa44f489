from .backbone import Backbone as Backbone, as_classifier as as_classifier, build_backbone as build_backbone
from .causal_lm import load_causal_lm as load_causal_lm
from .heads import CosineHead as CosineHead, LinearHead as LinearHead, ProxyHead as ProxyHead
from .image_classifier import (
    ClassifierSpec as ClassifierSpec,
    build_classifier as build_classifier,
    load_classifier as load_classifier,
    save_classifier as save_classifier,
)
from .normalization import NormalizedClassifier as NormalizedClassifier
from .resnet import SmallResNet as SmallResNet
from .segmenter import (
    SegmentationBody as SegmentationBody,
    SegmenterSpec as SegmenterSpec,
    build_segmenter as build_segmenter,
)
