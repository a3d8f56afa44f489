import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from myosotis.engine.seeding import generator
from myosotis.unlearning.classifier.attack import draw_targets
from myosotis.unlearning.classifier.methods import METHODS, Request, Samples, build_method
from myosotis.unlearning.classifier.methods.distillation import distillation_loss
from myosotis.unlearning.classifier.methods.method import evaluation_copy, step_indices
from myosotis.unlearning.classifier.methods.retaining import reinitialize
from myosotis.unlearning.classifier.methods.selective import diagonal_fisher, saliency_mask

CLASSES = 4


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, CLASSES)
    ).eval()


def samples(count, seed):
    stream = torch.Generator().manual_seed(seed)
    return Samples(torch.rand(count, 1, 4, 4, generator=stream), torch.randint(CLASSES, (count,), generator=stream))


def request(goal="misclassify", forget=3, retain=10, batch=4, epochs=4):
    instances = samples(forget, 1)
    return Request(
        instances,
        goal,
        (instances.labels + 1) % CLASSES if goal == "relabel" else None,
        CLASSES,
        samples(retain, 2),
        forget_batch=2,
        batch=batch,
        epochs=epochs,
        seed=0,
    )


def begun(name, asked, model, **settings):
    return build_method(name, settings).begin(model, evaluation_copy(model), asked)


def ce(model, images, labels):
    return functional.cross_entropy(model(images), labels)


def test_neggrad_and_relabel():
    model = network()
    asked = request()
    forget = asked.forget
    terms = begun("neggrad", asked, model).terms(model, 0)
    assert terms["forget"].item() == pytest.approx(-ce(model, forget.images[:2], forget.labels[:2]).item(), abs=1e-6)
    # The second batch holds what is left.
    terms = begun("neggrad", asked, model).terms(model, 3)
    assert terms["forget"].item() == pytest.approx(-ce(model, forget.images[2:], forget.labels[2:]).item(), abs=1e-6)
    asked = request("relabel")
    terms = begun("relabel", asked, model).terms(model, 0)
    assert terms["forget"].item() == pytest.approx(
        ce(model, asked.forget.images[:2], asked.new_labels[:2]).item(), abs=1e-6
    )


@pytest.mark.parametrize("goal", ["misclassify", "relabel"])
def test_adv_is_one_mean_over_both_batches(goal):
    model, asked = network(), request(goal)
    objective = begun("adv", asked, model, copies=3, eps=0.5, step_size=0.1, steps=5)
    held = objective.held
    assert len(held) == 9
    assert objective.steps_per_epoch == 3
    terms = objective.terms(model, 0)
    forget = asked.forget
    if goal == "misclassify":
        wanted = functional.cross_entropy(model(forget.images[:2]), forget.labels[:2], reduction="sum") * -1
    else:
        wanted = functional.cross_entropy(model(forget.images[:2]), asked.new_labels[:2], reduction="sum")
    targets = draw_targets(forget.labels, CLASSES, 3, generator(0, "targets")).flatten()
    kept = functional.cross_entropy(model(held.images[:4]), targets[:4], reduction="sum")
    assert sum(terms.values()).item() == pytest.approx(((wanted + kept) / 6).item(), abs=1e-6)


def test_outputs_that_are_held_pull_nowhere_at_the_start():
    model, asked = network(), request("relabel")
    objective = begun("adv", asked, model, copies=2, eps=0.5, step_size=0.1, steps=5, hold="outputs")
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
def test_weight_of_the_forget_batch(forget, batch, weight):
    """The share that the released code gives it: 16 of 272, 32 of 288."""
    model = network()
    asked = Request(samples(forget, 1), "misclassify", None, CLASSES, None, 32, batch, 1, 0)
    objective = begun("adv", asked, model, copies=16, eps=0.5, step_size=0.1, steps=1)
    alone = -functional.cross_entropy(model(asked.forget.images), asked.forget.labels).item()
    assert objective.terms(model, 0)["forget"].item() / alone == pytest.approx(weight, abs=1e-6)


def test_what_holds_lets_go():
    model, asked = network(), request()
    firm = begun("adv_imp", asked, model, copies=2, eps=0.5, step_size=0.1, steps=3)
    loose = begun("adv_imp", asked, model, copies=2, eps=0.5, step_size=0.1, steps=3, release=4)
    with torch.no_grad():
        model[4].weight.mul_(1.5)
    # Six examples in batches of four: the steps are a multiple of two apart, so that they see the same.
    for step, grip in ((0, 1), (4, 1), (6, 0.5), (8, 0), (100, 0)):
        one, other = firm.terms(model, step), loose.terms(model, step)
        assert other["forget"].item() == one["forget"].item()
        assert other["adversarial"].item() == pytest.approx(grip * one["adversarial"].item())
        assert other["importance"].item() == pytest.approx(grip * one["importance"].item())
        assert one["importance"] > 0


def test_held_are_the_answers_of_the_old_model():
    model, asked = network(), request()
    objective = begun("adv", asked, model, copies=5, eps=0.01, step_size=0.01, steps=1)
    assert len(objective.held) == 15
    assert torch.equal(model(objective.held.images).argmax(dim=1), objective.held.labels)
    assert objective.facts["adversarial_success"] < 1
    few = begun("adv", asked, model, copies=5, eps=2.0, step_size=0.5, steps=10, keep="success")
    assert 0 < len(few.held) == round(15 * few.facts["adversarial_success"])
    # What reached its target is not taken for its true class.
    assert few.terms(model, 0)["adversarial"] < objective.terms(model, 0)["adversarial"]


def test_importance_adds_nothing_at_the_start_and_holds_afterwards():
    model, asked = network(), request()
    settings = {"copies": 2, "eps": 0.5, "step_size": 0.1, "steps": 3}
    plain, held = begun("adv", asked, model, **settings), begun("adv_imp", asked, model, **settings, strength=2.0)
    a, b = plain.terms(model, 0), held.terms(model, 0)
    assert b["importance"].item() == 0
    assert {name: b[name].item() for name in a} == {name: value.item() for name, value in a.items()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1)
    assert held.terms(model, 0)["importance"].item() > 0


def test_neggrad_plus():
    model, asked = network(), request()
    objective = begun("neggrad_plus", asked, model, alpha=0.7)
    terms = objective.terms(model, 0)
    indices = step_indices(10, 4, 0, 0, "retain")
    keep = asked.retain.batch(indices)
    assert terms["retain"].item() == pytest.approx(0.7 * ce(model, keep.images, keep.labels).item(), abs=1e-6)
    forget = asked.forget
    assert terms["forget"].item() == pytest.approx(
        -0.3 * ce(model, forget.images[:2], forget.labels[:2]).item(), abs=1e-6
    )
    assert objective.steps_per_epoch == 3


def test_an_epoch_sees_every_retained_sample_once_and_the_next_in_another_order():
    def epoch(first):
        return torch.cat([step_indices(10, 4, step, 0, "retain") for step in range(first, first + 3)]).tolist()

    assert sorted(epoch(0)) == list(range(10))
    assert sorted(epoch(3)) == list(range(10))
    assert epoch(0) != epoch(3)


def test_finetune_ignores_the_forget_set():
    model, asked = network(), request()
    assert set(begun("finetune", asked, model).terms(model, 0)) == {"retain"}


def test_l1_fades_to_nothing():
    model, asked = network(), request(epochs=4)
    objective = begun("l1_sparse", asked, model, strength=0.01)
    size = sum(value.abs().sum() for value in model.parameters()).item()
    found = [objective.terms(model, epoch * 3)["l1"].item() for epoch in range(4)]
    assert found == pytest.approx([0.01 * size * share for share in (1, 0.75, 0.5, 0.25)])


def test_distillation_is_kl_from_teacher_to_student():
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    p, q = teacher.softmax(1), student.softmax(1)
    assert distillation_loss(student, teacher).item() == pytest.approx(
        (p * (p / q).log()).sum(1).mean().item(), abs=1e-6
    )
    p, q = (teacher / 4).softmax(1), (student / 4).softmax(1)
    assert distillation_loss(student, teacher, 4.0).item() == pytest.approx(
        16 * (p * (p / q).log()).sum(1).mean().item(), abs=1e-6
    )


def test_scrub_alternates_and_then_keeps():
    model, asked = network(), request()  # two forget steps, three retain steps
    objective = begun("scrub", asked, model, forget_epochs=2)
    kinds = ["forget" if "forget" in objective.terms(model, step) else "retain" for step in range(16)]
    once = ["forget"] * 2 + ["retain"] * 3
    assert kinds == [*once, *once, *["retain"] * 6]
    # At the start student and teacher agree; afterwards ascent has the sign that drives them apart.
    assert objective.terms(model, 0)["forget"].item() == pytest.approx(0, abs=1e-6)
    original = evaluation_copy(model)
    objective = build_method("scrub").begin(model, original, asked)
    with torch.no_grad():
        model[4].bias[0] += 1.0
    assert objective.terms(model, 0)["forget"].item() < 0
    assert objective.terms(model, 2)["retain_distillation"].item() > 0


def test_scrub_sees_every_retained_sample_in_each_pass():
    model, asked = network(), request()
    seen = []
    objective = begun("scrub", asked, model, forget_epochs=1)
    hook = model.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    for step in range(5):
        objective.terms(model, step)
    hook.remove()
    kept = torch.cat(seen[2:])
    assert len(kept) == 10
    assert len(torch.unique(kept, dim=0)) == 10


def test_bad_teacher():
    model, asked = network(), request()
    objective = begun("bad_teacher", asked, model)
    ignorant = evaluation_copy(model)
    reinitialize(ignorant, 0)
    terms = objective.terms(model, 0)
    bad = distillation_loss(model(asked.forget.images[:2]), ignorant.eval()(asked.forget.images[:2]))
    assert terms["forget"].item() == pytest.approx(bad.item() * 2 / 6, abs=1e-6)
    assert terms["retain"].item() == pytest.approx(0, abs=1e-6)


def test_fresh_weights():
    model = network()
    before = copy.deepcopy(model.state_dict())
    reinitialize(model, 0)
    once = copy.deepcopy(model.state_dict())
    assert not torch.equal(before["0.weight"], once["0.weight"])
    reinitialize(model, 0)
    assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.full((4,), 9.0))

    bare = Bare()
    reinitialize(bare, 0)
    assert bare.token.abs().max().item() < 1


def test_saliency_mask_takes_the_largest_over_all_tensors():
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


def test_salun_puts_back_what_momentum_and_decay_move():
    model, asked = network(), request()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    mask = saliency_mask(model, asked.forget, 0.3)
    objective = begun("salun", asked, model, share=0.3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(4):
        optimizer.zero_grad()
        sum(objective.terms(model, step).values()).backward()
        optimizer.step()
        objective.after_step()
    for name, value in model.named_parameters():
        assert torch.equal(value[~mask[name]], start[name][~mask[name]])
    assert any(not torch.equal(value, start[name]) for name, value in model.named_parameters())


def test_salun_labels():
    model, asked = network(), request("relabel")
    terms = begun("salun", asked, model).terms(model, 0)
    assert terms["forget"].item() == pytest.approx(
        ce(model, asked.forget.images[:2], asked.new_labels[:2]).item(), abs=1e-6
    )


def test_fisher_squares_sample_by_sample():
    model, instances = network(), samples(5, 3)
    found = diagonal_fisher(model, instances)
    wanted = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for image, label in zip(instances.images, instances.labels, strict=True):
        model.zero_grad()
        ce(model, image.unsqueeze(0), label.unsqueeze(0)).backward()
        for name, value in model.named_parameters():
            wanted[name] += value.grad.square() / 5
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=1e-6, rtol=1e-4)


def test_ssd_shrinks_what_matters_more_for_the_instances():
    model, asked = network(), request()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    every = Samples(
        torch.cat([asked.forget.images, asked.retain.images]), torch.cat([asked.forget.labels, asked.retain.labels])
    )
    of_forget, of_all = diagonal_fisher(model, asked.forget), diagonal_fisher(model, every)
    objective = begun("ssd", asked, model, selection=2.0, dampening=0.5)
    assert objective.steps_per_epoch == 0
    changed = 0
    for name, value in model.named_parameters():
        chosen = of_forget[name] > 2.0 * of_all[name]
        ratio = (0.5 * of_all[name] / of_forget[name]).clamp_max(1)
        torch.testing.assert_close(value, torch.where(chosen, start[name] * ratio, start[name]))
        changed += int(chosen.sum())
    assert changed > 0
    assert objective.facts["share_of_weights_shrunk"] == changed / sum(value.numel() for value in start.values())


def test_every_method_says_what_it_reads():
    for name, method in METHODS.items():
        assert method.card.name == name
        assert method.reads_retain == ("retain" in method.card.reads)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("adv_im", {}, "did you mean 'adv_imp'"),
        ("adv", {"epps": 1.0}, "did you mean 'eps'"),
        ("adv", {"eps": -1.0}, "greater than 0"),
        ("neggrad_plus", {"alpha": 2.0}, "less than or equal to 1"),
        ("finetune", {"alpha": 1}, "known: none"),
    ],
)
def test_wrong_settings(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build_method(name, settings)
