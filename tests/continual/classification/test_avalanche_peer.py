"""Four methods against avalanche-lib: the same stream, network and optimiser; three seeds of scikit-learn's digits."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest

pytest.importorskip("avalanche", reason="avalanche-lib is not installed")
sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
import peer_avalanche


@pytest.mark.slow
@pytest.mark.parametrize("method", peer_avalanche.METHODS)
def test_as_accurate_as_avalanche(method):
    train, test = peer_avalanche.digits()
    arguments = Namespace(epochs=5, learning_rate=0.02, batch=24, memory_batch=8, memory=100, pictures=False)
    gaps = []
    for seed in range(3):
        scenario = peer_avalanche.stream(train, test, seed, len(train))
        pair = [kind(method, scenario, arguments, seed)[0] for kind in (peer_avalanche.ours, peer_avalanche.theirs)]
        gaps.append(pair[0] - pair[1])
    # Weights of the heads and the order of batches differ, so single runs do.
    assert abs(sum(gaps) / len(gaps)) < 0.05
