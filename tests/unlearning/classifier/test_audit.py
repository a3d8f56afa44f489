import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from myosotis.data.images import ImageSet
from myosotis.unlearning.classifier.audit import (
    Audit,
    audit_sets,
    log_odds,
    losses,
    measure,
    output_distances,
    population_membership,
    predict,
    share,
)
from myosotis.unlearning.classifier.stress import augmented_copies


def test_a_set_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    labels = torch.tensor([0, 1, 1, 0])
    found = measure(logits, labels, ("a", "b"))
    assert found["accuracy"]["mean"] == 0.75
    assert found["accuracy"]["count"] == 4
    top = math.exp(2) / (math.exp(2) + 1)
    assert found["loss"] == pytest.approx((-3 * math.log(top) - math.log(1 - top)) / 4)
    assert found["top_probability"] == pytest.approx(top)
    assert found["calibration_error"] == pytest.approx(top - 0.75)
    assert found["by_class"] == {"a": 1.0, "b": 0.5}
    assert found["worst_class"] == {"name": "b", "accuracy": 0.5}
    assert losses(logits, labels)[2].item() == pytest.approx(-math.log(1 - top))


@pytest.mark.parametrize(("count", "bound"), [(16, 0.2059), (64, 0.0560), (128, 0.0284)])
def test_none_of_n_leaves_room(count, bound):
    assert share(0, count)["high"] == pytest.approx(bound, abs=5e-5)


def test_both_signs_of_the_attack():
    remembered, unseen = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = population_membership(remembered, unseen)
    assert (found["auc"], found["auc_reversed"], found["auc_either"]) == (1, 0, 1)
    assert found["traceable"]
    assert not found["over_unlearned"]
    assert found["tpr"]["0.01"]["mean"] == 1
    assert found["tpr_reversed"]["0.01"]["mean"] == 0
    over = population_membership(torch.tensor([9.0, 8.0, 7.0, 6.0]), unseen)
    assert (over["auc"], over["auc_either"]) == (0, 1)
    assert over["over_unlearned"]
    assert over["tpr_reversed"]["0.1"]["mean"] == 1
    # Three against four can show as little as one in 35, twice that for both signs.
    few = population_membership(remembered[:3], unseen)
    assert (few["auc"], few["decidable"], few["traceable"]) == (1, False, False)
    same = population_membership(unseen, unseen)
    assert same["auc"] == same["auc_reversed"] == 0.5


def test_the_attack_is_against_images_of_the_same_class():
    easy, hard = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([5.0, 6.0, 7.0, 8.0])
    found = population_membership(easy, torch.cat([easy, hard]), [0] * 4, [0] * 4 + [1] * 4)
    assert (found["auc"], found["members"], found["others"]) == (0.5, 4, 4)
    assert population_membership(easy, hard, [0] * 4, [1] * 4) is None


def test_log_odds_of_sure_answers_are_told_apart():
    odds = torch.tensor([-40.0, -2.0, 0.0, 3.0, 30.0], dtype=torch.float64)
    torch.testing.assert_close(log_odds(functional.softplus(-odds)), odds, rtol=1e-4, atol=1e-9)
    assert log_odds(torch.tensor([0.0, 800.0])).isfinite().all()


def test_an_attack_on_nothing_is_at_chance():
    stream = torch.Generator().manual_seed(0)
    values = torch.randn(400, generator=stream)
    found = population_membership(values[:200], values[200:])
    standard_error = math.sqrt(401 / (12 * 200 * 200))
    assert abs(found["auc"] - 0.5) < 3 * standard_error


def test_distances():
    sharp, flat = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.1, 0.9]]).log()
    found = output_distances(sharp, flat)
    # The published 0.2554 for this pair divides by the number of classes and swaps the arguments.
    assert found["jensen_shannon"] == pytest.approx(0.3681, abs=5e-5)
    assert found["activation"] == pytest.approx(0.8 * math.sqrt(2))
    assert output_distances(sharp, sharp) == pytest.approx({"disagreement": 0, "jensen_shannon": 0, "activation": 0})
    far = output_distances(torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 100.0]]))
    assert far["jensen_shannon"] == pytest.approx(math.log(2))


def image_set(count, seed=0):
    stream = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=stream, dtype=torch.uint8)
    return ImageSet(images, torch.arange(count) % 2, tuple(f"{seed}-{place}" for place in range(count)), ("a", "b"))


def test_sets_together_and_in_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2)).train()
    sets = {"forget": image_set(5), "remaining": image_set(9, 1), "test": image_set(7, 2)}
    audit = audit_sets(model, sets)
    found = audit.metrics
    assert model.training
    model.eval()
    with torch.no_grad():
        whole = model(sets["remaining"].pixels())
    truth = sets["remaining"].labels
    assert audit.right["remaining"].tolist() == (whole.argmax(dim=1) == truth).double().tolist()
    torch.testing.assert_close(audit.losses["remaining"].float(), losses(whole, truth))
    assert audit.copies == {}
    again = Audit.read(json.loads(json.dumps(audit.as_json())))
    assert (again.metrics, again.right["test"].tolist()) == (found, audit.right["test"].tolist())
    assert torch.allclose(predict(model, sets["remaining"], batch_size=2), whole, atol=1e-6)
    assert found["remaining"]["loss"] == pytest.approx(
        functional.cross_entropy(whole, sets["remaining"].labels).item(), rel=1e-5
    )
    assert set(found["membership"]) == {"forget", "remaining"}
    assert "membership" not in audit_sets(model, {"forget": image_set(5)}).metrics


def test_every_model_sees_the_same_noisy_copies():
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval() for _ in range(2)]
    sets = {"forget": image_set(5), "remaining": image_set(9, 1), "test": image_set(7, 2)}
    for model in models:
        audit = audit_sets(model, sets, copies_seed=3)
        assert set(audit.copies) == {"forget", "test"}
        copies = augmented_copies(sets["forget"].pixels(), 3)["noisy"]
        with torch.no_grad():
            expected = losses(model(copies).double(), sets["forget"].labels)
        torch.testing.assert_close(audit.copies["forget"], expected, rtol=1e-5, atol=1e-6)
        again = Audit.read(json.loads(json.dumps(audit.as_json())))
        assert torch.equal(again.copies["test"], audit.copies["test"])
