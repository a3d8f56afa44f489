import pytest
import torch
from torch.nn import functional

from myosotis.engine.seeding import generator
from myosotis.unlearning.classifier.attack import draw_targets
from myosotis.unlearning.classifier.methods import Request

CLASSES = 4


@pytest.mark.parametrize("goal", ["misclassify", "relabel"])
def test_adv_is_one_mean_over_both_batches(goal, begun, network, make_request):
    model, request = network(), make_request(goal)
    objective = begun("adv", request, model, copies=3, eps=0.5, step_size=0.1, steps=5)
    held = objective.held
    assert len(held) == 9
    assert objective.steps_per_epoch == 3
    terms = objective.terms(model, 0)
    forget = request.forget
    if goal == "misclassify":
        expected = functional.cross_entropy(model(forget.images[:2]), forget.labels[:2], reduction="sum") * -1
    else:
        expected = functional.cross_entropy(model(forget.images[:2]), request.new_labels[:2], reduction="sum")
    targets = draw_targets(forget.labels, CLASSES, 3, generator(0, "targets")).flatten()
    kept = functional.cross_entropy(model(held.images[:4]), targets[:4], reduction="sum")
    assert sum(terms.values()).item() == pytest.approx(((expected + kept) / 6).item(), abs=1e-6)


def test_outputs_that_are_held_pull_nowhere_at_the_start(begun, network, make_request):
    model, request = network(), make_request("relabel")
    objective = begun("adv", request, model, copies=2, eps=0.5, step_size=0.1, steps=5, hold="outputs")
    held = objective.held
    with torch.no_grad():
        old = model(held.images).log_softmax(dim=1)
    assert torch.equal(held.labels, old.argmax(dim=1))
    term = objective.terms(model, 0)["adversarial"]
    assert term.item() == pytest.approx(0, abs=1e-6)
    gradients = torch.autograd.grad(term, list(model.parameters()))
    assert max(gradient.abs().max() for gradient in gradients) < 1e-6
    with torch.no_grad():
        model[4].weight.mul_(1.5)
    new = model(held.images[:4]).log_softmax(dim=1)
    divergence = (old[:4].exp() * (old[:4] - new)).sum()
    count = 4 + 2
    assert objective.terms(model, 0)["adversarial"].item() == pytest.approx(divergence.item() / count, rel=1e-4)


@pytest.mark.parametrize(("forget", "batch", "weight"), [(16, 256, 0.058824), (32, 256, 0.111111)])
def test_weight_of_the_forget_batch(forget, batch, weight, begun, network, samples):
    """The share that the released code gives it: 16 of 272, 32 of 288."""
    model = network()
    request = Request(samples(forget, 1), "misclassify", None, CLASSES, None, 32, batch, 1, 0)
    objective = begun("adv", request, model, copies=16, eps=0.5, step_size=0.1, steps=1)
    alone = -functional.cross_entropy(model(request.forget.images), request.forget.labels).item()
    assert objective.terms(model, 0)["forget"].item() / alone == pytest.approx(weight, abs=1e-6)


def test_what_holds_lets_go(begun, network, make_request):
    model, request = network(), make_request()
    firm = begun("adv_imp", request, model, copies=2, eps=0.5, step_size=0.1, steps=3)
    loose = begun("adv_imp", request, model, copies=2, eps=0.5, step_size=0.1, steps=3, release=4)
    with torch.no_grad():
        model[4].weight.mul_(1.5)
    # Six examples in batches of four: the steps are a multiple of two apart, so that they see the same.
    for step, grip in ((0, 1), (4, 1), (6, 0.5), (8, 0), (100, 0)):
        one, other = firm.terms(model, step), loose.terms(model, step)
        assert other["forget"].item() == one["forget"].item()
        assert other["adversarial"].item() == pytest.approx(grip * one["adversarial"].item())
        assert other["importance"].item() == pytest.approx(grip * one["importance"].item())
        assert one["importance"] > 0


def test_held_are_the_answers_of_the_old_model(begun, network, make_request):
    model, request = network(), make_request()
    objective = begun("adv", request, model, copies=5, eps=0.01, step_size=0.01, steps=1)
    assert len(objective.held) == 15
    assert torch.equal(model(objective.held.images).argmax(dim=1), objective.held.labels)
    assert objective.facts["adversarial_success"] < 1
    few = begun("adv", request, model, copies=5, eps=2.0, step_size=0.5, steps=10, keep="success")
    assert 0 < len(few.held) == round(15 * few.facts["adversarial_success"])
    # What reached its target is not taken for its true class.
    assert few.terms(model, 0)["adversarial"] < objective.terms(model, 0)["adversarial"]


def test_importance_adds_nothing_at_the_start_and_holds_afterwards(begun, network, make_request):
    model, request = network(), make_request()
    settings = {"copies": 2, "eps": 0.5, "step_size": 0.1, "steps": 3}
    plain, held = begun("adv", request, model, **settings), begun("adv_imp", request, model, **settings, strength=2.0)
    a, b = plain.terms(model, 0), held.terms(model, 0)
    assert b["importance"].item() == 0
    assert {name: b[name].item() for name in a} == {name: value.item() for name, value in a.items()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1)
    assert held.terms(model, 0)["importance"].item() > 0
