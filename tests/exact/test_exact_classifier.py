import hashlib
import json
import random
import stat

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file, save_file
from sklearn.covariance import EmpiricalCovariance
from torch import nn

from myosotis.engine.errors import InputError, SettingsError
from myosotis.exact import (
    HEADS,
    ExactClassifier,
    ExactSpec,
    GridOverflowError,
    NotLearnedError,
    OtherFeaturesError,
    exact_features,
    to_grid,
)
from myosotis.exact.fecam import FeCAM, FeCAMSettings
from myosotis.exact.grid import CHUNK, LIMIT, packed_size, second_moments, symmetric
from myosotis.exact.ranpac import RIDGES, RanPAC, RanPACSettings, choose_ridge, fold_of
from myosotis.exact.records import make_records
from myosotis.exact.sums import Sums

KEY = bytes(range(32))
WIDTH = 6
SETTINGS = {"simplecil": {}, "ranpac": {"projection": 9}, "fecam": {}}


def new(head="simplecil", key=KEY, **changes):
    return ExactClassifier(ExactSpec(head, {**SETTINGS[head], **changes}, WIDTH, 3, "body"), key)


def records(count, classes="abc", seed=0):
    """Pixels, rows on the grid and classes."""
    generator = torch.Generator().manual_seed(seed)
    rows = (torch.rand(count, WIDTH, generator=generator) * 3 * 4096).round().int()
    images = torch.randint(256, (count, 1, 2, 2), generator=generator, dtype=torch.uint8)
    return images, rows, [classes[number % len(classes)] for number in range(count)]


def at(data, indices):
    images, rows, classes = data
    return images[indices], rows[indices], [classes[index] for index in indices]


def files(classifier, path):
    classifier.save(path)
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


class TestGrid:
    def test_rounds_to_units(self):
        assert to_grid(torch.tensor([[0.3, -0.3]], dtype=torch.float64), 3).tolist() == [[2, -2]]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 256.001, -257.0])
    def test_refuses_what_lies_beyond(self, value):
        with pytest.raises(GridOverflowError, match=r"the grid of 12 bits ends at 256; set 'method\.bits' lower"):
            to_grid(torch.tensor([[0.0, value]], dtype=torch.float64), 12)

    def test_takes_its_end(self):
        assert to_grid(torch.tensor([[256.0]], dtype=torch.float64), 12).item() == LIMIT

    def test_nothing_is_nothing(self):
        assert to_grid(torch.zeros(0, 4), 12).shape == (0, 4)

    def test_products_are_exact_at_the_bound(self):
        rows = torch.full((CHUNK, 2), LIMIT, dtype=torch.int32)
        rows[0] -= 1
        exact = (CHUNK - 1) * LIMIT**2 + (LIMIT - 1) ** 2
        assert second_moments(rows).unique().tolist() == [exact]

    @pytest.mark.parametrize("width", [1, 255, 256, 257, 600])
    def test_second_moments_are_packed_in_strips(self, width):
        rows = torch.randint(-LIMIT, LIMIT, (5, width), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
        packed = second_moments(rows)
        assert packed.shape == (packed_size(width),)
        assert torch.equal(symmetric(packed, width), (rows.long().T @ rows.long()).double())


class TestForgetting:
    @pytest.mark.parametrize("head", HEADS)
    @settings(max_examples=25, deadline=None)
    @given(data=st.data())
    def test_leaves_the_bytes_of_never_having_learned(self, head, data, tmp_path_factory):
        count = data.draw(st.integers(1, 24))
        kept = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
        everything = records(count, seed=data.draw(st.integers(0, 5)))
        shuffled = data.draw(st.permutations(range(count)))
        lots = data.draw(st.integers(1, 7))
        forgotten = [index for index in shuffled if not kept[index]]
        rest = [index for index in range(count) if kept[index]]
        straight, long = new(head), new(head)
        if rest:
            straight.learn(*at(everything, rest))
        for begin in range(0, count, lots):
            long.learn(*at(everything, shuffled[begin : begin + lots]))
        for begin in range(0, len(forgotten), lots):
            long.forget(*at(everything, forgotten[begin : begin + lots]))
        folder = tmp_path_factory.mktemp("exact")
        assert files(long, folder / "long") == files(straight, folder / "straight")
        assert long.digests() == straight.digests()

    @pytest.mark.parametrize("head", HEADS)
    def test_many_records_in_several_chunks(self, head, monkeypatch):
        monkeypatch.setattr("myosotis.exact.head.CHUNK", 16)
        data = records(100)
        chunked, plain = new(head), new(head)
        chunked.learn(*data)
        monkeypatch.undo()
        plain.learn(*data)
        assert chunked.digests() == plain.digests()

    @pytest.mark.parametrize(("head", "width"), [("ranpac", WIDTH), ("fecam", 300)])
    def test_sums_of_several_strips(self, head, width):
        changes = {"projection": 300} if head == "ranpac" else {}
        images, rows, classes = records(30)
        rows = rows.repeat(1, width // WIDTH)
        straight, long = (
            ExactClassifier(ExactSpec(head, {**SETTINGS[head], **changes}, width, 3, "body"), KEY) for _ in range(2)
        )
        straight.learn(images[:20], rows[:20], classes[:20])
        for indices in (range(20, 30), range(20)):
            long.learn(*at((images, rows, classes), list(indices)))
        long.forget(*at((images, rows, classes), list(range(29, 19, -1))))
        assert long.digests() == straight.digests()

    @pytest.mark.parametrize("head", HEADS)
    def test_digests_do_not_depend_on_the_number_of_threads(self, head):
        threads, digests = torch.get_num_threads(), set()
        try:
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                classifier = new(head, **({"projection": 400} if head == "ranpac" else {}))
                classifier.learn(*records(200))
                digests.add(classifier.digests())
        finally:
            torch.set_num_threads(threads)
        assert len(digests) == 1

    def test_learning_something_changes_both_digests(self):
        classifier = new()
        classifier.learn(*records(6))
        before = classifier.digests()
        classifier.learn(*records(1, seed=9))
        after = classifier.digests()
        assert before.statistics != after.statistics
        assert before.head != after.head

    def test_a_class_goes_with_its_last_record(self):
        classifier, data = new("fecam"), records(9)
        classifier.learn(*data)
        classifier.forget(*at(data, [0, 3]))
        assert classifier.classes == ("a", "b", "c")
        classifier.forget(*at(data, [6]))
        assert classifier.classes == ("b", "c")
        assert classifier.scores(torch.rand(5, WIDTH)).shape == (5, 2)

    @pytest.mark.parametrize("head", HEADS)
    def test_everything_can_be_forgotten(self, head, tmp_path):
        classifier, data = new(head), records(4)
        classifier.learn(*data)
        classifier.forget(*data)
        assert classifier.digests() == new(head).digests()
        classifier.save(tmp_path)
        assert ExactClassifier.load(tmp_path).scores(torch.rand(2, WIDTH)).shape == (2, 0)

    def test_the_same_photo_twice_is_in_it_twice(self):
        data = records(3)
        twice, once = new(), new()
        twice.learn(*data)
        twice.learn(*at(data, [1]))
        once.learn(*data)
        twice.forget(*at(data, [1]))
        assert twice.digests() == once.digests()
        assert len(twice) == 3

    def test_more_copies_than_were_learned_are_refused(self):
        classifier, data = new(), records(3)
        classifier.learn(*data)
        before = classifier.digests()
        with pytest.raises(NotLearnedError, match="1 of 2 images were never learned") as error:
            classifier.forget(*at(data, [1, 1]))
        assert error.value.indices == (1,)
        assert classifier.digests() == before
        assert len(classifier) == 3

    def test_what_was_never_learned_is_refused_with_all_that_comes_with_it(self):
        classifier, data = new(), records(5)
        classifier.learn(*at(data, [0, 1, 2]))
        before = classifier.digests()
        with pytest.raises(NotLearnedError, match="so that nothing was subtracted") as error:
            classifier.forget(*at(data, [0, 4]))
        assert error.value.indices == (1,)
        assert not isinstance(error.value, OtherFeaturesError)
        assert classifier.digests() == before
        assert len(classifier) == 3

    def test_another_class_is_another_record_and_is_named(self):
        classifier, (images, rows, classes) = new(), records(3)
        classifier.learn(images, rows, classes)
        with pytest.raises(NotLearnedError, match="the same pixels were learned as 'a'") as error:
            classifier.forget(images[:2], rows[:2], ["b", "b"])
        assert error.value.indices == (0,)

    def test_copies_are_counted_under_every_class(self):
        classifier, (images, rows, classes) = new(), records(6)
        classifier.learn(images, rows, classes)
        classifier.learn(images[[0, 0, 0]], rows[[0, 0, 0]], ["b", "owl", "owl"])
        asked = make_records(KEY, images[:2], rows[:2], classes[:2])
        classifier.forget(images[:2], rows[:2], classes[:2])
        assert classifier.records.copies(asked, classifier.classes) == {"b": 1, "owl": 2}
        classifier.forget(images[[0, 0, 0]], rows[[0, 0, 0]], ["b", "owl", "owl"])
        assert classifier.records.copies(asked, classifier.classes) == {}

    def test_other_features_of_a_learned_image_are_noticed(self):
        classifier, (images, rows, classes) = new(), records(3)
        classifier.learn(images, rows, classes)
        changed = rows.clone()
        changed[1, 0] += 1
        with pytest.raises(OtherFeaturesError, match="1 of 3 images have other features here"):
            classifier.forget(images, changed, classes)
        assert len(classifier) == 3

    def test_an_empty_request_is_refused(self):
        with pytest.raises(SettingsError, match="names no image"):
            new().forget(*records(0))

    def test_an_overflow_leaves_everything_as_it_was(self):
        classifier, data = new("ranpac"), records(4)
        classifier.learn(*data)
        before = classifier.digests()
        aligned = classifier.head.constants()["projection"][:, :1].sign().int().T * LIMIT
        with pytest.raises(GridOverflowError, match="a projected feature"):
            classifier.learn(data[0][:1], aligned, ["a"])
        assert classifier.digests() == before
        assert len(classifier) == 4

    def test_a_grid_that_is_too_coarse_is_said(self):
        images, rows, classes = records(4)
        with pytest.raises(SettingsError, match=r"which is too coarse; set 'method\.bits' higher"):
            new().learn(images, rows.clamp(max=15), classes)

    def test_more_records_than_the_sums_hold_are_refused(self, monkeypatch):
        monkeypatch.setattr("myosotis.exact.classifier.MAX_RECORDS", 3)
        with pytest.raises(SettingsError, match="4 records, but the sums hold at most 3"):
            new().learn(*records(4))

    def test_names_of_classes_do_not_run_together(self):
        # With careless joining "ab" + "c" and "a" + "bc" would give one digest.
        first, second = new(), new()
        images, rows, _ = records(2)
        first.learn(images, rows, ["ab", "c"])
        second.learn(images, rows, ["a", "bc"])
        assert first.digests() != second.digests()


class TestFiles:
    @pytest.mark.parametrize("head", HEADS)
    def test_read_what_was_written(self, head, tmp_path):
        classifier, data = new(head), records(12)
        classifier.learn(*data)
        digests = classifier.save(tmp_path)
        loaded = ExactClassifier.load(tmp_path)
        assert loaded.digests() == digests
        features = torch.rand(4, WIDTH)
        assert torch.equal(loaded.scores(features), classifier.scores(features))
        loaded.forget(*at(data, [5]))
        assert len(loaded) == 11

    def test_sums_and_list_are_the_owners_alone(self, tmp_path):
        classifier = new()
        classifier.learn(*records(3))
        classifier.save(tmp_path)
        for name in ("statistics.safetensors", "records.safetensors"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600

    def test_edited_sums_are_refused(self, tmp_path):
        classifier = new()
        classifier.learn(*records(3))
        classifier.save(tmp_path)
        tensors = load_file(tmp_path / "statistics.safetensors")
        tensors["by_class.features"][0, 0] += 1
        save_file(tensors, tmp_path / "statistics.safetensors")
        with pytest.raises(InputError, match="damaged or edited"):
            ExactClassifier.load(tmp_path)

    def test_another_head_is_refused(self, tmp_path):
        classifier = new()
        classifier.learn(*records(3))
        classifier.save(tmp_path)
        tensors = load_file(tmp_path / "head.safetensors")
        tensors["prototypes"][0, 0] += 1e-9
        save_file(tensors, tmp_path / "head.safetensors")
        with pytest.raises(InputError, match=r"head\.safetensors: damaged or edited"):
            ExactClassifier.load(tmp_path)

    def test_a_shortened_list_of_records_is_refused(self, tmp_path):
        classifier = new()
        classifier.learn(*records(3))
        classifier.save(tmp_path)
        tensors = load_file(tmp_path / "records.safetensors")
        save_file({**tensors, "digests": tensors["digests"][1:].contiguous()}, tmp_path / "records.safetensors")
        with pytest.raises(InputError, match="lists 2 records, the sums hold 3"):
            ExactClassifier.load(tmp_path)

    def test_another_version_is_refused(self, tmp_path):
        classifier = new()
        classifier.learn(*records(3))
        classifier.save(tmp_path)
        description = json.loads((tmp_path / "exact.json").read_text())
        description["spec"]["format"] = 0
        (tmp_path / "exact.json").write_text(json.dumps(description))
        with pytest.raises(InputError, match="sums of version 0"):
            ExactClassifier.load(tmp_path)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"holds no exact\.json"):
            ExactClassifier.load(tmp_path)

    def test_no_file_and_no_digest_is_that_of_another_key(self, tmp_path):
        first, second = new(), new(key=bytes(32))
        made = []
        for classifier, path in ((first, tmp_path / "first"), (second, tmp_path / "second")):
            classifier.learn(*records(3))
            made.append(files(classifier, path))
        assert not set(vars(first.digests()).values()) & set(vars(second.digests()).values())
        assert not first.records.counts.keys() & second.records.counts.keys()
        assert all(made[0][name] != made[1][name] for name in made[0])
        for name in ("statistics.safetensors", "head.safetensors"):
            tensors, others = (load_file(tmp_path / path / name) for path in ("first", "second"))
            assert all(torch.equal(tensors[key], others[key]) for key in tensors)

    @pytest.mark.parametrize("head", HEADS)
    def test_another_table_is_refused(self, head, tmp_path, monkeypatch):
        """As if another version of torch drew, or rounded, one entry otherwise."""
        classifier = new(head)
        classifier.learn(*records(12))
        classifier.save(tmp_path)
        cls, name = {"ranpac": (RanPAC, "_projection"), "fecam": (FeCAM, "_powers")}.get(head, (None, None))
        if cls is None:
            return  # has no table
        table = getattr(classifier.head, name).clone()
        table.view(-1)[5] += 1
        monkeypatch.setattr(cls, name, table)
        with pytest.raises(InputError, match=rf"computes another table of '{head}' here than the one that the sums"):
            ExactClassifier.load(tmp_path)

    def test_another_table_in_the_description_is_refused(self, tmp_path):
        classifier = new("ranpac")
        classifier.learn(*records(3))
        classifier.save(tmp_path)
        description = json.loads((tmp_path / "exact.json").read_text())
        description["spec"]["tables"] = new("ranpac", projection=8).spec.tables
        (tmp_path / "exact.json").write_text(json.dumps(description))
        with pytest.raises(InputError, match="damaged or edited"):
            ExactClassifier.load(tmp_path)


class TestPublishedDigests:
    """Somebody has every photo but the deleted one, and a thousand that it may be."""

    @pytest.fixture
    def published(self):
        """Digests before and after one record went, the records that remain, and the candidates."""
        data = records(40)
        learner = new(key=b"k" * 32)
        learner.learn(*at(data, range(11)))
        before = learner.digests()
        learner.forget(*at(data, [4]))
        return (before, learner.digests()), at(data, [*range(4), *range(5, 11)]), at(data, [*range(11, 40), 4])

    def tried(self, published, key):
        """The candidates that fit the digests, for whoever believes that this is the key."""
        (before, after), rest, candidates = published
        fitting = []
        for index in range(len(candidates[2])):
            learner = new(key=key)
            learner.learn(*rest)
            learner.learn(*at(candidates, [index]))
            own = learner.digests()
            if {own.statistics, own.head} & {*vars(before).values(), *vars(after).values()}:
                fitting.append(index)
        return fitting

    def test_with_the_key_they_name_it(self, published):
        assert self.tried(published, b"k" * 32) == [29]

    @pytest.mark.parametrize("key", [bytes(32), b"", KEY])
    def test_without_the_key_they_do_not(self, published, key):
        assert self.tried(published, key) == []

    def test_they_are_no_plain_hashes(self, published):
        """The candidates by SHA-256 of description and tensors, as it was published once."""
        (before, after), rest, candidates = published
        for index in range(len(candidates[2])):
            learner = new()
            learner.learn(*rest)
            learner.learn(*at(candidates, [index]))
            description = json.dumps({**vars(learner.spec), "classes": list(learner.classes)}, sort_keys=True)
            for tensors in (learner.sums.tensors(), learner.solved()):
                digest = hashlib.sha256(f"{len(description)}:{description};".encode())
                for name in sorted(tensors):
                    digest.update(f"{name}:{tensors[name].dtype}:{tuple(tensors[name].shape)};".encode())
                    digest.update(tensors[name].contiguous().numpy().tobytes())
                assert digest.hexdigest() not in (*vars(before).values(), *vars(after).values())


class TestSimpleCIL:
    def test_is_the_literal_loop(self):
        classifier, (images, rows, classes) = new(), records(20)
        classifier.learn(images, rows, classes)
        features = torch.rand(7, WIDTH, dtype=torch.float64)
        for column, name in enumerate(("a", "b", "c")):
            of_class = [row.double() for row, own in zip(rows, classes, strict=True) if own == name]
            mean = sum(of_class) / len(of_class)
            expected = [float(point @ mean / point.norm() / mean.norm()) for point in features]
            assert classifier.scores(features)[:, column].tolist() == pytest.approx(expected, abs=1e-12)


class TestRanPAC:
    def test_after_tasks_is_one_ridge_regression(self):
        classifier, data = new("ranpac", ridge=2.0), records(40)
        order = sorted(range(40), key=lambda index: data[2][index])  # a task for each class
        for begin, end in ((0, 14), (14, 27), (27, 40)):
            classifier.learn(*at(data, order[begin:end]))
        _, rows, classes = data
        unit = 2.0 ** (2 - 12)
        projected = classifier.head.projected(rows).double() * unit
        targets = torch.tensor([[float(own == name) for name in "abc"] for own in classes], dtype=torch.float64)
        joint = torch.linalg.solve(projected.T @ projected + 2.0 * torch.eye(9), projected.T @ targets)
        assert (classifier.solved()["weight"].T - joint).abs().max() < 1e-9

    def test_order_of_tasks_does_not_matter(self):
        data = records(30)
        digests = set()
        for seed in range(3):
            order = list(range(30))
            random.Random(seed).shuffle(order)
            classifier = new("ranpac")
            for index in order:
                classifier.learn(*at(data, [index]))
            digests.add(classifier.digests())
        assert len(digests) == 1

    def test_projection_rounds_a_float_one_finely(self):
        head = RanPAC(RanPACSettings(projection=50), WIDTH, 0)
        rows = records(30)[1]
        exact = (rows.double() / 4096 @ (head.constants()["projection"].double() / 256)).clamp(min=0)
        assert (head.projected(rows).double() / 1024 - exact).abs().max() <= 2**-10

    @pytest.mark.parametrize("seed", range(8))
    def test_lambda_minimises_the_literal_error_of_folds(self, seed):
        head = RanPAC(RanPACSettings(projection=9, folds=3), WIDTH, seed)
        _, rows, classes = records(60, seed=seed)
        rows = rows + torch.tensor([[4096.0 * "abc".index(own)] for own in classes]).int()
        sums = head.total(rows, classes)
        folds = torch.tensor([fold_of(row, 3) for row in rows])
        projected = head.projected(rows).double() / 1024
        targets = torch.tensor([[float(own == name) for name in "abc"] for own in classes], dtype=torch.float64)
        errors = {}
        for ridge in RIDGES[:14]:
            errors[ridge] = 0.0
            for fold in range(3):
                rest, held = folds != fold, folds == fold
                gram = projected[rest].T @ projected[rest] + ridge * torch.eye(9)
                weight = torch.linalg.solve(gram, projected[rest].T @ targets[rest])
                errors[ridge] += float((projected[held] @ weight - targets[held]).square().sum())
        targets = sums.by_class["targets"].double() * 2.0**-10
        chosen = choose_ridge(head.grams(sums), targets, sums.by_class["counts"])
        assert chosen == min(errors, key=errors.get)

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 999),
        count=st.integers(4, 80),
        noise=st.floats(0.01, 30),
        scale=st.sampled_from([1, 30, 900]),
    )
    def test_no_neighbour_of_lambda_has_a_smaller_error(self, seed, count, noise, scale):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(2, count, 12, generator=generator, dtype=torch.float64).abs() * scale
        signal = (values @ torch.randn(12, 3, generator=generator, dtype=torch.float64)).argmax(2)
        wrong = torch.rand(2, count, generator=generator) * 10 < noise
        labels = torch.where(wrong, torch.randint(3, (2, count), generator=generator), signal)
        targets = torch.nn.functional.one_hot(labels, 3).double()
        grams, products = values.mT @ values, (values.mT @ targets).permute(2, 0, 1)
        chosen = RIDGES.index(choose_ridge(grams, products, targets.sum(1).long().T))

        def error(index):
            total = 0.0
            for fold in range(2):
                gram = grams[1 - fold] + RIDGES[index] * torch.eye(12, dtype=torch.float64)
                weight = torch.linalg.solve(gram, products[:, 1 - fold].T)
                total += float((values[fold] @ weight - targets[fold]).square().sum())
            return total

        neighbours = [index for index in (chosen - 1, chosen + 1) if 0 <= index < len(RIDGES)]
        assert error(chosen) <= min(map(error, neighbours)) * 1.01

    def test_single_precision_chooses_the_same_lambda(self, monkeypatch):
        head = RanPAC(RanPACSettings(projection=64), WIDTH, 0)
        _, rows, classes = records(2000)
        sums = head.total(rows, classes)
        chosen = head.solve(sums)["ridge"]
        monkeypatch.setattr("myosotis.exact.ranpac._SINGLE", 0.0)
        assert torch.equal(head.solve(sums)["ridge"], chosen)

    def test_a_single_record_has_a_head(self):
        classifier = new("ranpac")
        classifier.learn(*records(1))
        assert classifier.solved()["ridge"].item() == 1e8

    def test_folds_share_the_records(self):
        counts = torch.bincount(torch.tensor([fold_of(row, 4) for row in records(400)[1]]), minlength=4)
        assert counts.min() > 60

    def test_an_impossible_ridge_is_said(self):
        classifier, (images, rows, classes) = new("ranpac", ridge=1e-300), records(2)
        classifier.learn(images, rows, classes)
        with pytest.raises(SettingsError, match=r"set 'method\.ridge' higher"):
            classifier.solved()


class TestFeCAM:
    def sums(self, count=50, **changes):
        head = FeCAM(FeCAMSettings(**changes), WIDTH, 0)
        _, rows, classes = records(count, "ab")
        return head, rows, classes, head.total(rows, classes)

    def test_covariance_is_scikit_learns(self):
        head, rows, classes, sums = self.sums()
        values = (rows.double() / 4096).sqrt()
        for row, name in enumerate(("a", "b")):
            own = values[[index for index, other in enumerate(classes) if other == name]].numpy()
            expected = EmpiricalCovariance().fit(own).covariance_ * len(own) / (len(own) - 1)
            assert abs(head.covariance(sums, row).numpy() - expected).max() < 1e-4

    def test_distance_is_the_literal_one(self):
        head, _, _, sums = self.sums()
        features = torch.rand(5, WIDTH, dtype=torch.float64) * 3
        points = features.sqrt() / features.sqrt().norm(dim=1, keepdim=True)
        solved = head.solve(sums)
        for row in range(2):
            covariance = head.covariance(sums, row)
            size = torch.eye(WIDTH, dtype=torch.float64)
            variance = covariance.diagonal().mean()
            between = covariance[size == 0].mean()
            shrunk = covariance + variance * size + between * (1 - size)
            deviations = shrunk.diagonal().sqrt()
            correlation = shrunk / deviations[:, None] / deviations[None, :]
            mean = sums.by_class["features"][row].double()
            offsets = points - mean / mean.norm()
            expected = [float(offset @ torch.linalg.inv(correlation) @ offset) for offset in offsets]
            assert (-head.scores(solved, features)[:, row]).tolist() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("copies", [1, 3])
    def test_a_class_that_does_not_vary_has_the_euclidean_distance(self, copies):
        head = FeCAM(FeCAMSettings(), WIDTH, 0)
        rows = records(1)[1].repeat(copies, 1)
        solved = head.solve(head.total(rows, ["a"] * copies))
        assert torch.equal(solved["inverses"][0], torch.eye(WIDTH, dtype=torch.float64))

    def test_without_shrinkage_a_pseudo_inverse(self):
        head, _, _, sums = self.sums(count=6, diagonal=0.0, off_diagonal=0.0)
        features = torch.rand(5, WIDTH, dtype=torch.float64)
        assert head.scores(head.solve(sums), features).isfinite().all()

    def test_negative_features_need_no_power(self):
        rows = -records(4)[1]
        with pytest.raises(GridOverflowError, match="set 'method.tukey: null'"):
            FeCAM(FeCAMSettings(), WIDTH, 0).total(rows, ["a"] * 4)
        head = FeCAM(FeCAMSettings(tukey=None), WIDTH, 0)
        assert len(head.total(rows, ["a"] * 4)) == 4


class TestFeatures:
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU())

        def forward(self, images):
            class Output:
                features = self.layers(images).mean(dim=(2, 3))

            return Output

    def test_do_not_depend_on_the_batch(self):
        body = self.Body()
        images = torch.randint(256, (23, 3, 12, 12), dtype=torch.uint8)
        whole = exact_features(body, images, 12)
        assert torch.equal(exact_features(body, images, 12, batch_size=5), whole)
        assert torch.equal(exact_features(body, images[7:9], 12), whole[7:9])
        assert next(body.parameters()).dtype == torch.float32

    def test_overflow_is_raised(self):
        with pytest.raises(GridOverflowError):
            exact_features(self.Body(), torch.full((3, 3, 8, 8), 255, dtype=torch.uint8), 20 + 5)


def test_sums_of_nothing_have_no_records():
    assert len(Sums()) == 0
