import pytest
import torch
from torch import nn

from myosotis.unlearning.classifier import unlearn_instances
from myosotis.unlearning.classifier.methods import build_method
from myosotis.unlearning.classifier.methods.distillation import IgnorantTeacher, begin_afresh, distillation_loss
from myosotis.unlearning.classifier.methods.method import evaluation_copy
from myosotis.unlearning.classifier.methods.retaining import reinitialize
from myosotis.unlearning.classifier.settings import UnlearnSettings
from myosotis.unlearning.classifier.training import train_classifier


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


def test_scrub_alternates_and_then_keeps(begun, network, make_request):
    model, request = network(), make_request()  # two forget steps, three retain steps
    objective = begun("scrub", request, model, forget_epochs=2)
    kinds = ["forget" if "forget" in objective.terms(model, step) else "retain" for step in range(16)]
    once = ["forget"] * 2 + ["retain"] * 3
    assert kinds == [*once, *once, *["retain"] * 6]
    # At the start student and teacher agree; afterwards ascent has the sign that drives them apart.
    assert objective.terms(model, 0)["forget"].item() == pytest.approx(0, abs=1e-6)
    original = evaluation_copy(model)
    objective = build_method("scrub").begin(model, original, request)
    with torch.no_grad():
        model[4].bias[0] += 1.0
    assert objective.terms(model, 0)["forget"].item() < 0
    assert objective.terms(model, 2)["retain_distillation"].item() > 0


def test_scrub_sees_every_retained_sample_in_each_pass(begun, network, make_request):
    model, request = network(), make_request()
    seen = []
    objective = begun("scrub", request, model, forget_epochs=1)
    hook = model.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    for step in range(5):
        objective.terms(model, step)
    hook.remove()
    kept = torch.cat(seen[2:])
    assert len(kept) == 10
    assert len(torch.unique(kept, dim=0)) == 10


def test_bad_teacher(begun, network, make_request):
    model, request = network(), make_request()
    objective = begun("bad_teacher", request, model)
    ignorant = evaluation_copy(model)
    reinitialize(ignorant, 0)
    terms = objective.terms(model, 0)
    bad = distillation_loss(model(request.forget.images[:2]), ignorant.eval()(request.forget.images[:2]))
    assert terms["forget"].item() == pytest.approx(bad.item() * 2 / 6, abs=1e-6)
    assert terms["retain"].item() == pytest.approx(0, abs=1e-6)


def test_the_ignorant_teacher_sees_a_share_of_what_is_retained_and_nothing_else(
    begun, network, make_request, monkeypatch
):
    model, request = network(), make_request()
    seen = []

    def watched(teacher, pixels, labels, settings, **options):
        seen.append((pixels, labels, options["shared"]))
        train_classifier(teacher, pixels, labels, settings, **options)

    monkeypatch.setattr("myosotis.unlearning.classifier.methods.distillation.train_classifier", watched)
    objective = begun("ignorant_teacher", request, model, share=0.5, teacher_steps=1, retain_weight=2.0)
    ((pixels, labels, shared),) = seen
    retained = (request.retain.images * 255).round().to(torch.uint8)
    same = [(retained == image).flatten(1).all(1) for image in pixels]
    counts = request.retain.labels.bincount()
    assert torch.equal(labels.bincount(minlength=len(counts)), (counts + 1) // 2)
    assert not shared
    assert all(label in request.retain.labels[row] for row, label in zip(same, labels, strict=True))
    terms = objective.terms(model, 0)
    assert terms["retain"].item() == pytest.approx(0, abs=1e-6)
    assert terms["forget"].item() > 0
    assert objective.new_labels.shape == request.forget.labels.shape


def test_the_answers_of_an_ignorant_teacher_are_reached(network, make_request):
    request, model = make_request(), network()
    result = unlearn_instances(
        model,
        (request.forget.images, request.forget.labels),
        "as_unseen",
        IgnorantTeacher(teacher_steps=1, retain_weight=0.0),
        settings=UnlearnSettings(learning_rate=0.05, epochs=200, max_grad_norm=1.0, batch_norm="freeze"),
        retain=(request.retain.images, request.retain.labels),
    )
    assert (result.converged, result.goal, result.warnings) == (True, "as_unseen", ())
    assert all(one.forgotten and one.answer_after == one.new_label for one in result.instances)


class Backwards(nn.Module):
    """Four layers, defined from the last to the first; one that does not train; one that no image reaches."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)
        self.head = nn.Linear(4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 1)
        self.first = nn.Conv2d(1, 4, 1)
        self.frozen = nn.Conv2d(1, 1, 1).requires_grad_(False)

    def forward(self, images):
        return self.head(self.norm(self.second(self.first(self.frozen(images)))).mean((2, 3)))


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (0.49, 1), (0.5, 2), (0.99, 3)])
def test_a_teacher_takes_over_the_first_layers_of_a_pass(share, kept):
    torch.manual_seed(0)
    model = Backwards().train()
    model.norm.running_mean.fill_(3.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    begin_afresh(model, torch.rand(1, 1, 2, 2), share, seed=1)
    assert model.training
    layers = ("first", "second", "norm", "head")
    after = model.state_dict()
    for place, name in enumerate(layers):
        own = [key for key in before if key.startswith(name) and key.endswith(("weight", "running_mean"))]
        changed = any(not torch.equal(before[key], after[key]) for key in own)
        assert changed == (place >= kept), name
        assert all(value.requires_grad == (place >= kept) for value in getattr(model, name).parameters())
    assert torch.equal(before["frozen.weight"], after["frozen.weight"])
    assert not torch.equal(before["spare.weight"], after["spare.weight"])


def test_a_model_of_one_layer_has_a_teacher_from_fresh_weights():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    before = model[1].weight.clone()
    begin_afresh(model, torch.rand(1, 1, 2, 2), 0.9, seed=1)
    assert not torch.equal(model[1].weight, before)
    assert model[1].weight.requires_grad
