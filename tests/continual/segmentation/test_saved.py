"""Tests of :mod:`myosotis.continual.segmentation.saved`."""

import pytest
import torch

from myosotis.continual.segmentation.saved import (
    SegmentLearnerSpec,
    load_segment_learner,
    make_segment_learner,
    save_segment_learner,
)
from myosotis.engine.errors import InputError
from myosotis.models.segmenter import SegmenterSpec

SPEC = SegmenterSpec("own", "small-segmenter", 3, (0.3,) * 3, (0.3,) * 3, {"widths": [8, 8, 8], "dilations": [1]})


NAMES = ("ash", "birch", "cedar", "elm", "fir")


def test_a_learner_is_saved_and_read(tmp_path, learn):
    spec = SegmentLearnerSpec("mib_augm", {"scope": "stored"}, SPEC, NAMES, (2, 2, 1), 0)
    outcome = learn("mib_augm", given=make_segment_learner(spec))
    save_segment_learner(outcome.learner, spec, tmp_path / "model")
    again, same = load_segment_learner(tmp_path / "model")
    assert same == spec
    pixels = torch.rand(2, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(again.scores(pixels), outcome.learner.scores(pixels))
    (tmp_path / "model" / "net.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="its weights cannot be loaded"):
        load_segment_learner(tmp_path / "model")
    (tmp_path / "model" / "segmenter.json").write_text("{}")
    with pytest.raises(InputError, match="does not describe a segmentation learner"):
        load_segment_learner(tmp_path / "model")
    with pytest.raises(InputError, match="holds no segmenter.json"):
        load_segment_learner(tmp_path)
