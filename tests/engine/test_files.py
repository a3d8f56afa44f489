"""Files and directories that are complete or absent."""

import os
import stat

import pytest
import torch
from safetensors.torch import load_file

from myosotis.engine import InputError
from myosotis.engine.checkpoint import MANIFEST, is_complete, seal
from myosotis.engine.errors import DivergedError
from myosotis.engine.files import publish, read_json, write_json, write_tensors, write_text


def folder(path, **files):
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_a_directory_replaces_another_only_when_told(tmp_path):
    old, new = folder(tmp_path / "model", weights="old"), folder(tmp_path / "staged", weights="new")
    with pytest.raises(FileExistsError):
        publish(new, old)
    assert (old / "weights").read_text() == "old"
    publish(new, old, replace=True)
    assert (old / "weights").read_text() == "new"
    assert list(tmp_path.iterdir()) == [old]


def test_nothing_changes_its_kind(tmp_path):
    directory = folder(tmp_path / "directory", file="kept")
    (tmp_path / "file").write_text("kept")
    staged = folder(tmp_path / "staged")
    with pytest.raises(FileExistsError):
        publish(staged, tmp_path / "file", replace=True)
    with pytest.raises(FileExistsError):
        write_text(directory, "text")
    assert (directory / "file").read_text() == (tmp_path / "file").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"directory", "file", "staged"}


def test_replacing_a_link_leaves_what_it_points_to(tmp_path):
    target = folder(tmp_path / "large-disk", file="kept")
    (tmp_path / "model").symlink_to(target)
    publish(folder(tmp_path / "staged", file="new"), tmp_path / "model", replace=True)
    assert (target / "file").read_text() == "kept"
    assert (tmp_path / "model" / "file").read_text() == "new"


def test_a_planted_link_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("kept")
    for name in (".report.html.partial", "report.html"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    write_text(tmp_path / "report.html", "report")
    assert (tmp_path / "precious").read_text() == "kept"
    assert (tmp_path / "report.html").read_text() == "report"


def test_after_an_error_nothing_is_left(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"w": torch.ones(2)})
    with pytest.raises(RuntimeError):
        write_tensors(path, {"w": torch.ones(2).to_sparse()})
    assert load_file(path)["w"].tolist() == [1.0, 1.0]
    with pytest.raises(DivergedError, match="'loss' is nan"):
        write_json(tmp_path / "figures.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == [path]


def test_who_may_read_a_file(tmp_path):
    mask = os.umask(0o022)
    try:
        write_text(tmp_path / "open", "")
        write_text(tmp_path / "private", "", private=True)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 200_000])
def test_json_that_is_none_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: damaged"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    "manifest", ["[]", "null", "{}", "\xff", '{"weights": 3}', '{"weights": {}}', '{"weights": {"bytes": 3}}']
)
def test_a_manifest_that_vouches_for_nothing(tmp_path, manifest):
    seal(folder(tmp_path / "staged", weights="abc"), tmp_path / "step-1")
    assert is_complete(tmp_path / "step-1")
    (tmp_path / "step-1" / MANIFEST).write_bytes(manifest.encode("latin-1"))
    assert not is_complete(tmp_path / "step-1")


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf")])
def test_a_figure_that_json_cannot_hold_is_named_and_nothing_is_written(figure, tmp_path):
    with pytest.raises(DivergedError, match=r"result.json: the figure 'metrics.after.1' is -?(nan|inf)"):
        write_json(tmp_path / "result.json", {"name": "x", "metrics": {"after": [0.5, figure]}, "count": 3})
    assert list(tmp_path.iterdir()) == []
