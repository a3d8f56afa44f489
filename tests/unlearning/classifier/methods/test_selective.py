import pytest
import torch
from torch.nn import functional

from myosotis.unlearning.classifier.methods import Samples
from myosotis.unlearning.classifier.methods.selective import diagonal_fisher, saliency_mask


def test_saliency_mask_takes_the_largest_over_all_tensors(network, samples):
    model, instances = network(), samples(3, 1)
    mask = saliency_mask(model, instances, 0.25)
    model.zero_grad()
    functional.cross_entropy(model(instances.images), instances.labels, reduction="sum").backward()
    sizes = {name: value.grad.abs() for name, value in model.named_parameters()}
    every = torch.cat([value.flatten() for value in sizes.values()])
    count = round(0.25 * len(every))
    assert sum(int(free.sum()) for free in mask.values()) == count
    level = every.sort(descending=True).values[count - 1]
    assert all(bool((sizes[name][free] >= level * (1 - 1e-5)).all()) for name, free in mask.items())


def test_salun_puts_back_what_momentum_and_decay_move(begun, network, make_request):
    model, request = network(), make_request()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    mask = saliency_mask(model, request.forget, 0.3)
    objective = begun("salun", request, model, share=0.3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(4):
        optimizer.zero_grad()
        sum(objective.terms(model, step).values()).backward()
        optimizer.step()
        objective.after_step()
    for name, value in model.named_parameters():
        assert torch.equal(value[~mask[name]], start[name][~mask[name]])
    assert any(not torch.equal(value, start[name]) for name, value in model.named_parameters())


def test_salun_labels(begun, ce, network, make_request):
    model, request = network(), make_request("relabel")
    terms = begun("salun", request, model).terms(model, 0)
    assert terms["forget"].item() == pytest.approx(
        ce(model, request.forget.images[:2], request.new_labels[:2]).item(), abs=1e-6
    )


def test_fisher_squares_sample_by_sample(ce, network, samples):
    model, instances = network(), samples(5, 3)
    found = diagonal_fisher(model, instances)
    expected = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for image, label in zip(instances.images, instances.labels, strict=True):
        model.zero_grad()
        ce(model, image.unsqueeze(0), label.unsqueeze(0)).backward()
        for name, value in model.named_parameters():
            expected[name] += value.grad.square() / 5
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-4)


def test_ssd_shrinks_what_matters_more_for_the_instances(begun, network, make_request):
    model, request = network(), make_request()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    every = Samples(
        torch.cat([request.forget.images, request.retain.images]),
        torch.cat([request.forget.labels, request.retain.labels]),
    )
    of_forget, of_all = diagonal_fisher(model, request.forget), diagonal_fisher(model, every)
    objective = begun("ssd", request, model, selection=2.0, dampening=0.5)
    assert objective.steps_per_epoch == 0
    changed = 0
    for name, value in model.named_parameters():
        chosen = of_forget[name] > 2.0 * of_all[name]
        ratio = (0.5 * of_all[name] / of_forget[name]).clamp_max(1)
        torch.testing.assert_close(value, torch.where(chosen, start[name] * ratio, start[name]))
        changed += int(chosen.sum())
    assert changed > 0
    assert objective.facts["share_of_weights_shrunk"] == changed / sum(value.numel() for value in start.values())
