import stat

import pytest
import torch

from myosotis.engine.errors import InputError
from myosotis.exact.feature_cache import FeatureCache, cached_rows


def photos(count, seed=0):
    return torch.randint(256, (count, 1, 3, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


class Counting:
    """Computes features, and counts for how many images."""

    def __init__(self):
        self.count = 0

    def __call__(self, images):
        self.count += len(images)
        return images.flatten(1).int() * 3


@pytest.fixture
def compute():
    return Counting()


def cache(folder, body="b" * 64, bits=12):
    return FeatureCache(folder, body, bits, 9)


def test_computes_once(tmp_path, compute):
    images = photos(5)
    first = cache(tmp_path).rows(images, compute)
    again = cache(tmp_path).rows(images.flip(0), compute)
    assert compute.count == 5
    assert torch.equal(again.flip(0), first)
    assert first.dtype == torch.int32
    assert torch.equal(cached_rows(None, images, Counting()), first)


def test_adds_what_is_missing(tmp_path, compute):
    images = photos(6)
    cache(tmp_path).rows(images[:4], compute)
    rows = cache(tmp_path).rows(images, compute)
    assert compute.count == 6
    assert torch.equal(rows, images.flatten(1).int() * 3)


def test_the_same_photo_twice_is_one_row(tmp_path, compute):
    images = photos(2)[[0, 0, 1]]
    own = cache(tmp_path)
    assert torch.equal(own.rows(images, compute), images.flatten(1).int() * 3)
    assert own.forget(images[:1]) == 1


@pytest.mark.parametrize(("body", "bits"), [("c" * 64, 12), ("b" * 64, 10)])
def test_another_body_or_grid_has_rows_of_its_own(body, bits, tmp_path, compute):
    images = photos(3)
    cache(tmp_path).rows(images, compute)
    cache(tmp_path, body, bits).rows(images, compute)
    assert compute.count == 6


def test_a_forgotten_photo_is_in_no_file(tmp_path, compute):
    images = photos(4)
    own = cache(tmp_path)
    own.rows(images, compute)
    gone = (images[1].flatten().int() * 3).numpy().tobytes()
    assert any(gone in path.read_bytes() for path in tmp_path.iterdir())
    assert own.forget(images[1:2]) == 1
    assert not any(gone in path.read_bytes() for path in tmp_path.iterdir())
    own.rows(images, compute)
    assert compute.count == 5


def test_forgetting_what_is_not_there_changes_nothing(tmp_path, compute):
    own = cache(tmp_path)
    own.rows(photos(3), compute)
    before = own._path.read_bytes()
    assert own.forget(photos(2, seed=9)) == 0
    assert own._path.read_bytes() == before


def test_a_damaged_row_is_computed_again(tmp_path, compute):
    images = photos(3)
    own = cache(tmp_path)
    own.rows(images, compute)
    content = bytearray(own._path.read_bytes())
    content[-1] ^= 1
    own._path.write_bytes(content)
    assert torch.equal(cache(tmp_path).rows(images, compute), images.flatten(1).int() * 3)
    assert compute.count == 4


def test_a_cut_off_row_is_written_over(tmp_path, compute):
    images = photos(3)
    own = cache(tmp_path)
    own.rows(images, compute)
    own._path.write_bytes(own._path.read_bytes()[:-5])
    assert torch.equal(cache(tmp_path).rows(images, compute), images.flatten(1).int() * 3)
    assert torch.equal(cache(tmp_path).rows(images, compute), images.flatten(1).int() * 3)
    assert compute.count == 4


def test_only_the_owner_reads_it(tmp_path, compute):
    own = cache(tmp_path)
    own.rows(photos(2), compute)
    own.forget(photos(1))
    assert stat.S_IMODE(own._path.stat().st_mode) == 0o600


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="feature cache"):
        cache(tmp_path / "file")
