"""The frozen body of an exact classifier, in the directory of the classifier."""

import hashlib
from dataclasses import replace
from pathlib import Path

from myosotis.engine.artifact import read_description, read_weights, readable_weights, write_description
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import weights_hash
from myosotis.models.backbone import Backbone, build_backbone
from myosotis.models.image_classifier import ClassifierSpec

BODY = "body.json"
"""The file that describes the body; its weights are in ``net.safetensors``, their names begin with ``backbone.``"""

_PREFIX = "backbone."


def body_hash(body: Backbone) -> str:
    """Return a hash of a body's weights and of what is done to images before them."""
    pixels = body.normalize
    described = f"{weights_hash(body)}:{pixels.mean.tolist()}:{pixels.std.tolist()}:{pixels.size}"
    return hashlib.sha256(described.encode()).hexdigest()


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
    weights = path / "net.safetensors"
    with readable_weights(weights):
        tensors = read_weights(weights)
        body.load_state_dict(
            {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
        )
    if body_hash(body) != expected:
        raise InputError(f"{weights}: is not the body that the sums were made with")
    return body.eval().requires_grad_(False)
