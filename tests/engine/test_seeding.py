"""Streams of randomness."""

import torch

from myosotis.engine.processes import seed_global_generator
from myosotis.engine.seeding import derive_seed, derive_seeds, generator


def test_a_single_process_has_the_derived_seed():
    with torch.random.fork_rng():
        seed_global_generator(3, "dropout", 1)
        assert torch.rand(2).equal(torch.rand(2, generator=generator(3, "dropout", 1)))


def test_names_in_another_encoding_are_purposes():
    """They ended in a UnicodeEncodeError; all other names keep their draws."""
    assert derive_seed(0, "caf\udce9.png") != derive_seed(0, "caf\udcea.png")
    assert derive_seed(0, "pairing", 1) == 8347420821149566989


def test_seeds_of_many_names_are_those_of_each():
    names = ["a", "", "caf\udce9.png", "a\x1fb", "雪"]
    assert derive_seeds(3, "limit", names) == [derive_seed(3, "limit", name) for name in names]
    assert derive_seeds(3, "limit", []) == []
