"""The frozen body of an exact classifier, in the directory of the classifier."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from myosotis.engine.artifact import read_description, read_weights, readable_weights, write_description
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import weights_hash
from myosotis.exact.classifier import ExactClassifier
from myosotis.models.backbone import Backbone, build_backbone
from myosotis.models.image_classifier import ClassifierSpec

BODY = "body.json"
"""The file that describes the body."""
WEIGHTS = "net.safetensors"
"""The file of its weights, whose names begin with ``backbone.``"""

_PREFIX = "backbone."


def body_hash(body: Backbone, spec: ClassifierSpec | None) -> str:
    """Return a hash of a body: its architecture, options and weights, and what is done to images before them.

    Args:
        body: Body.
        spec: Description that it was made from, if there is one.
    """
    pixels = body.normalize
    described = {
        "architecture": None if spec is None else [spec.architecture, spec.options],
        "pixels": [pixels.mean.tolist(), pixels.std.tolist(), pixels.size],
        "weights": weights_hash(body),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def check_body(body: Backbone, spec: ClassifierSpec | None, expected: str, path: Path) -> None:
    """Raise unless a body is the one that sums were made with; whoever opens a learner calls it.

    Args:
        body: Body as it was read.
        spec: Description that it was made from.
        expected: Its :func:`body_hash` when the sums were made, which their digest covers.
        path: Directory of the learner, for the error.

    Raises:
        InputError: It is another one.
    """
    if body_hash(body, spec) != expected:
        raise InputError(
            f"{path / WEIGHTS}: is not the body that the sums were made with: its weights, architecture, options or "
            "normalisation have changed"
        )


def check_learner(path: Path) -> None:
    """Raise unless sums, head, records, tables and body in the directory of a learner belong together.

    Args:
        path: Directory of a learner that forgets exactly.

    Raises:
        InputError: Something is missing, damaged, of another version, or was exchanged.
    """
    load_body(path, ExactClassifier.load(path).spec.body)


def describe_body(spec: ClassifierSpec, path: Path) -> None:
    """Write the description of a body into a directory, without the names of classes."""
    write_description(replace(spec, num_classes=0, classes=()), path / BODY)


def load_body(path: Path, expected: str) -> Backbone:
    """Read a body.

    Args:
        path: Directory of a learner.
        expected: Its :func:`body_hash`.

    Returns:
        The body in evaluation mode, without gradients.

    Raises:
        InputError: A file is missing or damaged, or the body is another one.
    """
    spec = read_description(ClassifierSpec, path / BODY, "a learner with a frozen body")
    body = build_backbone(spec)
    weights = path / WEIGHTS
    with readable_weights(weights):
        tensors = read_weights(weights)
        body.load_state_dict(
            {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
        )
    check_body(body, spec, expected, path)
    return body.eval().requires_grad_(False)
