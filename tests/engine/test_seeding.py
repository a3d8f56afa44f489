"""Streams of randomness."""

from contextlib import contextmanager

import pytest
import torch

from myosotis.engine.processes import seed_global_generator
from myosotis.engine.seeding import derive_seed, derive_seeds, generator, seeded


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


class Generators:
    """Stands for ``torch.mps``, whose functions take no device, or for ``torch.xpu``, whose functions take one."""

    def __init__(self, *, one):
        self.one, self.states, self.current = one, {0: "own of 0", 1: "own of 1"}, 0

    def index(self, which):
        assert bool(which) != self.one
        return which[0].index if which else 0

    def get_rng_state(self, *which):
        return self.states[self.index(which)]

    def set_rng_state(self, state, *which):
        self.states[self.index(which)] = state

    def manual_seed(self, seed):
        self.states[self.current] = seed

    @contextmanager
    def device(self, device):
        self.current = device.index
        yield
        self.current = 0


@pytest.mark.parametrize(("device", "seeds"), [("mps", {0: 7, 1: "own of 1"}), ("xpu:1", {0: "own of 0", 1: 7})])
def test_one_accelerator_is_seeded_and_restored(monkeypatch, device, seeds):
    kind = Generators(one=device == "mps")
    monkeypatch.setattr(torch, "get_device_module", lambda _: kind)
    before, own = torch.get_rng_state(), dict(kind.states)
    with seeded(7, torch.device(device)):
        assert kind.states == seeds
    assert kind.states == own
    assert bool((torch.get_rng_state() == before).all())
