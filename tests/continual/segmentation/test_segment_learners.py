"""Methods of class-incremental segmentation, on images that a small network learns in seconds."""

import math
import random
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from myosotis.continual.segmentation.checks import check_segmentation
from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationState
from myosotis.continual.segmentation.losses import local_pod_distance
from myosotis.continual.segmentation.memory import SegmentationMemory
from myosotis.continual.segmentation.methods import METHODS, build_learner, check_settings
from myosotis.continual.segmentation.methods.dkd_m import decomposed, labelled_binary
from myosotis.continual.segmentation.methods.plop import median_entropies
from myosotis.continual.segmentation.methods.ssul_m import spectral_residual, summed_binary
from myosotis.continual.segmentation.pseudo_label_figures import pseudo_label_figures
from myosotis.continual.segmentation.saved import (
    SegmentLearnerSpec,
    load_segment_learner,
    make_segment_learner,
    save_segment_learner,
)
from myosotis.continual.segmentation.scenario import class_incremental_segmentation
from myosotis.continual.segmentation.settings import SegmentationSettings
from myosotis.continual.segmentation.training import learn_segments
from myosotis.data.masks import resident
from myosotis.engine.errors import DivergedError, InputError
from myosotis.engine.fingerprint import weights_hash
from myosotis.models.segmenter import SegmenterSpec, build_segmenter

SPEC = SegmenterSpec("own", "small-segmenter", 3, (0.3,) * 3, (0.3,) * 3, {"widths": [8, 8, 8], "dilations": [1]})
NAMES = ("ash", "birch", "cedar", "elm", "fir")
COLOURS = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]]) * 180
OWN = {"plop": {"features": 0.001}, "mib_augm": {"scope": "stored"}}


def images(count=40, seed=0, prefix="i"):
    """Blocks of four by four, each class with a colour of its own, one to three of them on a dark ground."""
    source, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    pictures, masks = [], []
    for _ in range(count):
        mask = torch.zeros(12, 12, dtype=torch.uint8)
        slots = source.sample(range(9), source.randint(1, 3))
        for slot in slots:
            top, left = 4 * (slot // 3), 4 * (slot % 3)
            mask[top : top + 4, left : left + 4] = source.randint(1, len(NAMES))
        colour = COLOURS[mask.long()].movedim(-1, 0) + 60 * torch.rand(3, 12, 12, generator=noise)
        pictures.append(colour.byte())
        masks.append(mask)
    return resident(pictures, masks, [f"{prefix}{place:03d}" for place in range(count)], NAMES)


def stream(kind="partitioned", count=40, **options):
    return class_incremental_segmentation(images(count), images(12, 1, "t"), 2, (2, 1), kind=kind, **options)


def learner(name, settings=None, seed=0, spec=SPEC):
    given = OWN.get(name) if settings is None else settings
    return build_learner(name, given, lambda number: build_segmenter(spec, seed=number), seed)


def settings(**options):
    plain = {"iterations": 12, "batch_size": 8, "optimizer": "adamw", "learning_rate": 0.01}
    return SegmentationSettings(**{**plain, "later_rate": None, **options})


def learn(name, own=None, *, given=None, scenario=None, seed=0, memory=8, checkpoints=None, on_task=None, **options):
    one = learner(name, own, seed) if given is None else given
    return learn_segments(
        one,
        stream() if scenario is None else scenario,
        SegmentationMemory(memory if one.reads_memory else 0, seed),
        settings(**options),
        seed=seed,
        checkpoints=checkpoints,
        checkpoint_every=5,
        panels=[0, 1],
        on_task=on_task,
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_a_stream(name):
    given = learner(name)
    hashes = []
    before = given.before_task

    def watched(task):
        before(task)
        if given.teacher is not None:
            hashes.append((given.teacher, weights_hash(given.teacher)))
            assert not given.teacher.training

    given.before_task = watched
    outcome = learn(name, given=given)
    assert [len(record.confusion) for record in outcome.records] == [3, 5, 6]
    assert outcome.records[0].pseudo_labels is None
    assert outcome.records[1].pseudo_labels["seen"]["images"] == 0
    assert sorted(outcome.panels) == [f"task-{task}-{at}" for task in (1, 2, 3) for at in (0, 1)]
    assert all(record.memory["leaks"] == 0 for record in outcome.records)
    assert (outcome.records[-1].memory["images"] == 8) == given.reads_memory
    # Old networks stay as they were, buffers too.
    assert len(hashes) == (0 if name == "joint" else 2)
    assert all(weights_hash(teacher) == known for teacher, known in hashes)
    again = learn(name)
    assert again.records[-1].confusion == outcome.records[-1].confusion
    assert weights_hash(again.learner.net) == weights_hash(outcome.learner.net)


def test_a_first_task_is_learnt_and_fine_tuning_forgets_it():
    found = learn("finetune", iterations=60).records
    assert found[0].iou()[1:3].mean() > 0.8
    assert found[-1].iou()[1:3].mean() < 0.1
    joint = learn("joint", {"from_scratch": False}, iterations=150).records[-1]
    assert joint.iou().mean() > 0.8


def test_nothing_differs_while_there_is_nothing_to_forget():
    found = {}
    for name in ("finetune", "mib", "mib_m", "mib_augm", "plop", "ewf"):
        learn(name, iterations=3, on_task=lambda task, one, name=name: found.setdefault(name, weights_hash(one.net)))
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("name", ["mib", "ssul_m"])
def test_old_classes_are_kept(name):
    own = {"mib": {"distillation": 3.0}}.get(name)
    first = learn("finetune", iterations=60).records[-1].iou()[1:3].mean()
    assert learn(name, own, iterations=60).records[-1].iou()[1:3].mean() > first + 0.3


@pytest.mark.parametrize("name", METHODS)
def test_a_stream_that_stopped_in_the_middle_of_a_task_goes_on(name, tmp_path):
    whole = learn(name, checkpoints=tmp_path / "whole")
    given = learner(name)
    calls, plain = [0], given.loss

    def stops(*arguments):
        calls[0] += 1
        if calls[0] == 12 + 9:  # in the second task, after its first checkpoint
            raise KeyboardInterrupt
        return plain(*arguments)

    given.loss = stops
    with pytest.raises(KeyboardInterrupt):
        learn(name, given=given, checkpoints=tmp_path / "stopped")
    assert (tmp_path / "stopped" / "after-0").is_dir()
    resumed = learn(name, checkpoints=tmp_path / "stopped")
    assert [record.confusion for record in resumed.records] == [record.confusion for record in whole.records]
    assert weights_hash(resumed.learner.net) == weights_hash(whole.learner.net)
    assert resumed.records[1].seconds is None
    assert torch.equal(resumed.panels["task-1-0"], whole.panels["task-1-0"])


def test_what_was_seen_is_labelled_better():
    """The control of the overlapped scenario: images that a network was trained on, and others."""
    scenario = stream("overlapped", count=60)
    found = learn("finetune", scenario=scenario, iterations=60).records[1].pseudo_labels
    assert found["seen"]["images"] > 0
    assert found["seen"]["old_pixels"] > 0
    # Overlapped: whatever shows an old class has been seen.
    assert found["unseen"]["old_pixels"] == 0
    assert found["unseen"]["right"] is None


def test_pseudo_label_figures_by_hand():
    scenario = stream("partitioned")

    always = learner("finetune")  # answers with channel 1 everywhere
    always.scores = lambda pixels: functional.one_hot(torch.ones(len(pixels), 12, 12).long(), 3).movedim(-1, 1).float()
    found = pseudo_label_figures(always, scenario, 1, "cpu")["unseen"]
    rows = scenario.train.areas[scenario.tasks[1].train]
    assert found["old_pixels"] == rows[:, 1:3].sum()
    assert found["right"] == pytest.approx(rows[:, 1].sum().item() / rows[:, 1:3].sum().item())
    assert found["other_pixels"] == rows[:, 3:6].sum()
    assert found["taken_for_old"] == 1


# Closed forms ---------------------------------------------------------------------------------------------------------


def grown(name, own=None):
    """A learner in its second task, and its state."""
    one = learner(name, own)
    one.before_task(SegmentationState((2,), lambda: iter(()), 0))
    state = SegmentationState((2, 1), lambda: iter(()), 0)
    one.before_task(state)
    return one, state


def a_batch(current=2, remembered=2):
    stream_ = torch.Generator().manual_seed(4)
    count = current + remembered
    target = torch.randint(4, (count, 12, 12), generator=stream_)
    target[:current][target[:current] < 3] = 0  # the third class is new
    target[current:][target[current:] == 3] = 0
    target[:, 0, 0] = 255
    labelled = torch.zeros(count, 4, dtype=torch.bool)
    labelled[:current, 3] = True
    labelled[current:, 1:3] = True
    return SegmentationBatch(torch.rand(count, 3, 12, 12, generator=stream_), target, labelled, current)


def test_terms_of_mib_with_memory():
    batch = a_batch()
    for name, own, row in (
        ("mib_m", {}, [1, 2, 3]),
        ("mib_augm", {"scope": "old"}, [1, 2]),
        ("mib_augm", {"scope": "stored"}, [1, 2]),
    ):
        one, _ = grown(name, own)
        terms = one.loss(one.net, batch)
        probabilities = one.net(batch.images).logits.softmax(1)
        losses = []
        for image in range(4):
            shown = [3] if image < 2 else row
            hidden = [channel for channel in range(4) if channel not in shown]
            grouped = probabilities[image, hidden].sum(0)
            each = torch.zeros(12, 12)
            for place in (batch.target[image] != 255).nonzero().tolist():
                value = int(batch.target[image, place[0], place[1]])
                right = grouped if value in hidden else probabilities[image, value]
                each[place[0], place[1]] = -right[place[0], place[1]].log()
            losses.append(each.mean())
        assert terms["unbiased"].item() == pytest.approx(torch.stack(losses[:2]).mean().item() / 2, rel=1e-5)
        assert terms["memory"].item() == pytest.approx(torch.stack(losses[2:]).mean().item() / 2, rel=1e-5)
        # The old network's probabilities are kept by balanced heads: its entropy, over its channels.
        old = one.teacher(batch.images).logits.softmax(1)
        entropy = torch.special.entr(old).sum(1).mean().item() / 3
        assert terms["distillation"].item() == pytest.approx(10 * entropy, rel=1e-4)


def test_a_stored_scope_reads_the_label_of_each_exemplar():
    batch = a_batch()
    other = SegmentationBatch(batch.images, batch.target.clamp(max=1), batch.labelled.clone(), 2)
    other.labelled[3, 2] = False
    stored, _ = grown("mib_augm", {"scope": "stored"})
    official, _ = grown("mib_augm", {"scope": "old"})
    assert stored.remembered(other).tolist() == [[False, True, True, False], [False, True, False, False]]
    assert official.remembered(other).tolist() == [[False, True, True, False]] * 2
    assert official.all_labelled(1, torch.device("cpu")).tolist() == [[False, True, True, True]]


def test_the_old_network_is_asked_once_a_batch():
    for name in METHODS:
        if name == "joint":
            continue
        one, _ = grown(name, {"pseudo_labels": True} if name == "finetune" else None)
        one.thresholds = torch.ones(3)
        calls = []
        one.teacher.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        one.loss(one.net, a_batch())
        assert len(calls) == 1, name


def test_fused_weights():
    one, state = grown("ewf")
    old, new = one.teacher.state_dict(), {name: value.clone() for name, value in one.net.state_dict().items()}
    with torch.no_grad():
        for value in one.net.parameters():
            value.add_(1.0)
    one.after_task(state)
    share = math.sqrt(1 / 4)  # one new class, two old ones and the background
    for name, value in one.net.state_dict().items():
        if name in old and value.is_floating_point() and "normalize" not in name:
            torch.testing.assert_close(value, (1 - share) * old[name] + share * (new[name] + 1))
        elif name in ("heads.weights.2", "heads.biases.2"):
            torch.testing.assert_close(value, new[name] + 1)


def test_a_frozen_body_stays():
    outcome = learn("ssul_m")
    first = learn("ssul_m", scenario=stream(), iterations=12)
    body = {name: value for name, value in outcome.learner.net.state_dict().items() if name.startswith("body")}
    one = learner("ssul_m")
    states = []
    learn_segments(
        one,
        stream(),
        SegmentationMemory(8),
        settings(),
        on_task=lambda _, at: states.append({key: value.clone() for key, value in at.net.state_dict().items()}),
    )
    assert all(torch.equal(states[0][name], value) for name, value in body.items())
    assert not torch.equal(states[0]["heads.biases.0"], states[1]["heads.biases.0"])
    assert torch.equal(states[0]["heads.weights.1"], states[2]["heads.weights.1"])
    assert weights_hash(first.learner.net) == weights_hash(outcome.learner.net)


def test_summed_binary_and_unknown_scores():
    logits = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    target = torch.tensor([[[1, 255]]])
    softplus = functional.softplus(torch.tensor([0.5, 1.0, 2.0])).sum().item()
    every = torch.ones(1, 3, dtype=torch.bool)
    assert summed_binary(logits, target, every).item() == pytest.approx(softplus / 2)
    every[:, 2] = False
    without = functional.softplus(torch.tensor([0.5, 1.0])).sum().item()
    assert summed_binary(logits, target, every).item() == pytest.approx(without / 2)
    one, _ = grown("ssul_m")
    pixels = torch.rand(1, 3, 12, 12)
    one.net.eval()
    outputs = one.net(pixels).logits.sigmoid()
    scores = one.scores(pixels)
    assert scores.shape[1] == outputs.shape[1] - 1 == 4
    torch.testing.assert_close(scores[:, 0], torch.maximum(outputs[:, 0], outputs[:, -1]))
    torch.testing.assert_close(scores[:, 1:], outputs[:, 1:-1])


def test_what_stands_out():
    pixels = 0.5 + 0.1 * torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels[:, :, 12:18, 14:20] = 1.0
    found = spectral_residual(pixels)
    assert found.min() == 0
    assert found.max() == 1
    inside, outside = found[0, 11:19, 13:21].mean(), found[0, :8].mean()
    assert inside > 3 * outside
    assert spectral_residual(torch.zeros(1, 3, 8, 8)).isfinite().all()


def test_decomposed_parts_add_up():
    one, _ = grown("dkd_m")
    features = torch.randn(2, 8, 3, 3)
    positive, negative = decomposed(one.net.heads, features)
    bias = torch.cat(list(one.net.heads.biases))[1:]
    torch.testing.assert_close(positive + negative + bias[None, :, None, None], one.net.heads(features)[:, 1:])
    # The auxiliary output does not reach the features.
    pixels = torch.rand(1, 3, 12, 12)
    one.net(pixels).logits[:, 0].sum().backward()
    assert all(value.grad is None or value.grad.eq(0).all() for value in one.net.body.parameters())
    assert one.net.heads.biases[0].grad.abs().sum() > 0


def test_binary_losses_count_what_is_labelled():
    logits = torch.tensor([3.0, 0.5, -1.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    target = torch.tensor([[[1, 255]]])
    labelled = torch.tensor([[False, True, False]])
    own = functional.softplus(torch.tensor(-0.5)).item()
    assert labelled_binary(logits, target, labelled).item() == pytest.approx(own / 2)
    assert labelled_binary(logits, target, labelled, 2.0).item() == pytest.approx(own)
    both = torch.tensor([[False, True, True]])
    other = functional.softplus(torch.tensor(-1.0)).item()
    assert labelled_binary(logits, target, both).item() == pytest.approx((own + other) / 2)


def test_an_answer_of_independent_outputs():
    one, _ = grown("dkd_m")
    one.net.eval()
    assert one.scores(torch.rand(1, 3, 12, 12))[:, 0].eq(0.5).all()


def test_median_entropies_are_exact():
    teacher = learner("finetune")
    teacher.grow(0, 2)
    batch = SegmentationBatch(
        torch.rand(3, 3, 12, 12), torch.randint(2, (3, 12, 12)) * 255, torch.zeros(3, 4, dtype=torch.bool), 3
    )
    state = SegmentationState((2, 1), lambda: iter([batch]), 0)
    found = median_entropies(teacher.net, state)
    with torch.no_grad():
        probabilities = teacher.net(batch.images).logits.softmax(1)
    entropy = torch.special.entr(probabilities).sum(1) / math.log(3)
    for channel in range(3):
        some = entropy[(probabilities.argmax(1) == channel) & (batch.target == 0)]
        expected = some.sort().values[(len(some) - 1) // 2] if len(some) else 1.0
        assert found[channel].item() == pytest.approx(float(expected))


def test_plop_weighs_an_image_by_the_background_that_counts():
    one, _ = grown("plop", {"features": 0.0, "logits": 0.0})
    batch = a_batch(2, 0)
    one.thresholds = torch.zeros(3)  # nothing is sure: no background counts
    assert one.loss(one.net, batch)["cross_entropy"].item() == 0
    one.thresholds = torch.ones(3)  # everything is
    full = one.loss(one.net, batch)["cross_entropy"].item()
    answer = one.teacher(batch.images).logits.argmax(1)
    target = torch.where(batch.target == 0, answer, batch.target)
    expected = functional.cross_entropy(one.net(batch.images).logits, target, ignore_index=255, reduction="sum")
    assert full == pytest.approx(expected.item() / target.numel(), rel=1e-5)
    assert one.loss(one.net, batch)["features"].item() == 0


def test_plop_takes_new_logits_for_background():
    one, _ = grown("plop", {"features": 0.0, "logits": 1.0})
    batch = a_batch(2, 0)
    one.thresholds = torch.ones(3)
    with torch.no_grad():
        # Without the shift of balanced heads new logits of nothing leave the old ones as they were.
        one.net.heads.weights[-1].zero_()
        one.net.heads.biases[-1].zero_()
        one.net.heads.biases[0].copy_(one.teacher.heads.biases[0])
        assert one.loss(one.net, batch)["logits"].item() == pytest.approx(0, abs=1e-4)
        one.net.heads.biases[-1].fill_(0.5)
        small = one.teacher(batch.images).small
        moved = torch.cat([small[:, :1] + 0.5, small[:, 1:]], dim=1)
        layers = len(one.teacher(batch.images).maps) + 1
        expected = math.sqrt(4 / 1) * local_pod_distance(moved, small) / (layers + 1)
        assert one.loss(one.net, batch)["logits"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_plop_begins_with_balanced_heads_and_has_a_least_median():
    one, _ = grown("plop", {"least": 0.5})
    assert torch.equal(one.net.heads.weights[-1], one.net.heads.weights[0])
    batch = a_batch(2, 0)
    one.thresholds = torch.zeros(3)
    some = one.loss(one.net, batch)["cross_entropy"].item()
    one.thresholds = torch.full((3,), 0.5)
    assert one.loss(one.net, batch)["cross_entropy"].item() == some


def test_exemplars_of_ssul_say_nothing_of_classes_that_came_later():
    one, _ = grown("ssul_m")
    batch = a_batch()
    one.loss(
        one.net,
        replace(batch, images=batch.images[2:], target=batch.target[2:], labelled=batch.labelled[2:], n_current=0),
    )["cross_entropy"].backward()
    assert one.net.heads.weights[-1].grad.abs().sum() == 0
    assert one.net.heads.weights[1].grad.abs().sum() > 0
    one.loss(one.net, batch)["cross_entropy"].backward()
    assert one.net.heads.weights[-1].grad.abs().sum() > 0


def test_joint_training_sees_every_label_so_far():
    given = learner("joint")
    seen, plain = [], given.loss
    given.loss = lambda net, batch: (seen.append(set(batch.target.unique().tolist())), plain(net, batch))[1]
    learn("joint", given=given)
    assert set().union(*seen[:12]) == {0, 1, 2}
    assert set().union(*seen[12:24]) == {0, 1, 2, 3, 4}
    assert set().union(*seen[24:]) == {0, 1, 2, 3, 4, 5}


# Settings -------------------------------------------------------------------------------------------------------------


def test_a_learner_is_saved_and_read(tmp_path):
    spec = SegmentLearnerSpec("mib_augm", {"scope": "stored"}, SPEC, NAMES, (2, 2, 1), 0)
    outcome = learn("mib_augm", given=make_segment_learner(spec))
    save_segment_learner(outcome.learner, spec, tmp_path / "model")
    again, same = load_segment_learner(tmp_path / "model")
    assert same == spec
    pixels = torch.rand(2, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(again.scores(pixels), outcome.learner.scores(pixels))
    (tmp_path / "model" / "net.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="its weights cannot be loaded"):
        load_segment_learner(tmp_path / "model")
    (tmp_path / "model" / "segmenter.json").write_text("{}")
    with pytest.raises(InputError, match="does not describe a segmentation learner"):
        load_segment_learner(tmp_path / "model")
    with pytest.raises(InputError, match="holds no segmenter.json"):
        load_segment_learner(tmp_path)


def test_settings_that_do_not_fit():
    check = check_segmentation
    scenario, memory = stream(), SegmentationMemory(8)
    with pytest.raises(ValueError, match="'mib_m' needs a 'memory'"):
        check(learner("mib_m"), scenario, SegmentationMemory(), settings())
    with pytest.raises(ValueError, match="'mib' reads no exemplars"):
        check(learner("mib"), scenario, memory, settings())
    with pytest.raises(ValueError, match="must divide into current and remembered halves"):
        check(learner("mib_m"), scenario, memory, settings(batch_size=7))
    with pytest.raises(ValueError, match="needs a 'crop'"):
        check(learner("mib_m"), scenario, memory, settings(scale=(0.5, 2.0)))
    with pytest.raises(ValueError, match="did you mean 'scope'"):
        check_settings("mib_augm", {"scop": "old"})
    with pytest.raises(ValueError, match="unknown method 'mibm'"):
        check_settings("mibm")
    with pytest.raises(DivergedError, match="diverged in task 1"):
        learn("finetune", learning_rate=1e12, schedule="constant", optimizer="sgd")


def test_first_and_later_tasks_may_differ_in_length():
    records = learn("finetune", first_iterations=20).records
    assert [record.steps for record in records] == [20, 12, 12]
    # Of the eight images of a step half are new where there is a memory.
    sizes = [len(task.train) for task in stream().tasks]
    found = learn("mib_m", {}, iterations=None, epochs=2).records
    assert [record.steps for record in found] == [
        2 * math.ceil(sizes[0] / 8),
        2 * math.ceil(sizes[1] / 4),
        2 * math.ceil(sizes[2] / 4),
    ]
