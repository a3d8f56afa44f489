import pytest
import torch
from torch import nn

from myosotis.data.images import ImageSet
from myosotis.unlearning.classifier.shadow import ShadowPair, shadow_audit, shadow_pair


def pairs(count, shift, instances=20, test=40, seed=0):
    stream = torch.Generator().manual_seed(seed)

    def normal(size, mean=0.0):
        return (torch.randn(size, generator=stream) + mean).tolist()

    def probability(size):
        return (0.2 + 0.6 * torch.rand(size, generator=stream)).tolist()

    return [
        ShadowPair(
            normal(instances, shift),
            normal(instances),
            probability(instances),
            probability(test),
        )
        for _ in range(count)
    ]


def judged(shift, member=0.5, count=16):
    test = 0.2 + 0.6 * torch.rand(40, generator=torch.Generator().manual_seed(5))
    return shadow_audit(pairs(count, shift), torch.full((20,), shift), {"after": (torch.full((20,), member), test)})


def test_equal_populations_are_at_chance():
    found = judged(0.0)["u_lira"]
    # 640 trials that are nearly independent: three standard errors.
    assert abs(found["accuracy"]["mean"] - 0.5) < 3 * 0.5 / 640**0.5
    # A model that is left out is missing from the mean of its own side, which pulls a little below chance.
    assert 0.4 < found["auc"] < 0.55


def test_different_populations_are_told_apart():
    found = judged(-6.0)["u_lira"]
    assert found["accuracy"]["mean"] > 0.98
    assert found["auc"] > 0.99
    assert found["tpr"]["0.01"]["mean"] > 0.9
    assert found["called_unlearned"] == 1
    assert found["trials"] == 16 * 20 * 2
    other_sign = judged(6.0)["u_lira"]
    assert other_sign["accuracy"]["mean"] > 0.98


def test_rmia_knows_members():
    assert judged(0.0, member=0.99)["rmia"]["after"]["auc"] > 0.7
    assert judged(0.0, member=0.01)["rmia"]["after"]["auc"] < 0.05


def test_rmia_finds_no_trace_where_there_is_none():
    """The model in question is one more that never saw the instances; some images are hard for every model."""
    stream = torch.Generator().manual_seed(3)
    hardness = torch.rand(600, generator=stream)

    def never():
        return (hardness + 0.1 * torch.randn(600, generator=stream)).clamp(0.01, 0.99)

    made = []
    for _ in range(8):
        found = never()
        made.append(ShadowPair([0.0] * 200, [0.0] * 200, found[:200].tolist(), found[200:].tolist()))
    target = never()
    found = shadow_audit(made, torch.zeros(200), {"after": (target[:200], target[200:])})["rmia"]["after"]
    assert found["low"] < 0.5 < found["high"]


def test_too_few_pairs():
    with pytest.raises(ValueError, match="3 pairs"):
        judged(0.0, count=2)


def test_a_pair_sees_what_it_should():
    def images(count, name):
        return ImageSet(
            torch.zeros(count, 1, 2, 2, dtype=torch.uint8),
            torch.zeros(count, dtype=torch.long),
            tuple(f"{name}-{place}" for place in range(count)),
            ("a", "b"),
        )

    forget, remaining, test = images(3, "f"), images(10, "r"), images(4, "t")
    seen, forgot = [], []

    def train(learnt, seed):
        seen.append((learnt.names, seed))
        torch.manual_seed(seed % 2**32)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

    def unlearn(model, asked, kept, seed):
        forgot.append((model, asked.names, kept.names))
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

    pair = shadow_pair(0, forget, remaining, test, train, unlearn, kept_share=0.5, seed=1)
    (knows, one), (never, other) = seen
    assert set(knows) - set(never) == {f"forget/{name}" for name in forget.names}
    assert len(never) == 5
    assert one != other
    assert forgot[0][1:] == (forget.names, never)
    assert (len(pair.unlearned), len(pair.population)) == (3, 4)
    shadow_pair(1, forget, remaining, test, train, unlearn, kept_share=0.5, seed=1)
    assert seen[3][0] != never
