"""Exact forgetting by the command line: learn, forget, and let an auditor look."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from myosotis.api import load
from myosotis.engine.errors import InputError
from myosotis.exact import check_learner
from myosotis.models.image_classifier import ClassifierSpec, build_classifier

CLASSES = ("ash", "birch", "cedar", "elm")
OPTIONS = {"widths": [4, 8], "blocks": [1, 1]}


@pytest.fixture(scope="module")
def world(tmp_path_factory, write_classes):
    folder = tmp_path_factory.mktemp("exact-world")
    write_classes(folder / "train", 8, 1, CLASSES)
    write_classes(folder / "test", 6, 2, CLASSES)
    body = build_classifier(ClassifierSpec("small-resnet", 0, 1, (0.5,), (0.25,), OPTIONS), seed=3).classifier
    save_file(body.state_dict(), folder / "body.safetensors")
    job = {
        "job": "learn-classes",
        "name": "learned",
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}},
        "scenario": {"first": 2, "per_task": 2},
        "model": {
            "architecture": "small-resnet",
            "options": OPTIONS,
            "weights": "body.safetensors",
            "mean": [0.5],
            "std": [0.25],
        },
        "method": {"name": "ranpac", "projection": 30},
    }
    (folder / "learn.yaml").write_text(yaml.safe_dump(job))
    for name, number in (("birch", 3), ("birch", 5), ("elm", 0)):
        (folder / "out" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "train" / name / f"{number:02d}.png", folder / "out" / name)
    forget = {
        "job": "unlearn-exact",
        "name": "forgotten",
        "model": {"learner": "learned"},
        "data": {"forget": {"folder": "out"}, "train": {"folder": "train"}, "test": {"folder": "test"}},
        "request": {"id": "2026-7"},
    }
    (folder / "forget.yaml").write_text(yaml.safe_dump(forget))
    return folder


@pytest.fixture(scope="module")
def runs(world):
    from typer.testing import CliRunner

    from myosotis.cli.app import app

    runner = CliRunner()
    for job in ("learn", "forget"):
        out = world / ("learned" if job == "learn" else "forgotten")
        done = runner.invoke(app, ["run", str(world / f"{job}.yaml"), "--out", str(out)])
        assert done.exit_code == 0, done.output
    return world


def result(run):
    return json.loads((run / "result.json").read_text())


def content(run):
    """Types, shapes and bytes of the tensors of sums and head; the files carry a salt of their learner."""
    return {
        (name, key): (tensor.dtype, tensor.shape, tensor.numpy().tobytes())
        for name in ("statistics", "head")
        for key, tensor in load_file(run / "model" / f"{name}.safetensors").items()
    }


def rest(world, target):
    """The training photos without those that were to be forgotten."""
    shutil.copytree(world / "train", target)
    for path in (world / "out").glob("*/*.png"):
        (target / path.relative_to(world / "out")).unlink()
    return target


class TestForgetting:
    def test_says_what_it_did(self, runs):
        found = result(runs / "forgotten")
        assert found["kind"] == "unlearn-exact"
        assert found["images"]["by_class"] == {"birch": 2, "elm": 1}
        assert (found["images"]["records_before"], found["images"]["records_after"]) == (32, 29)
        assert (found["images"]["remaining"], found["images"]["copies_left"]) == (29, 0)
        verdict = found["verdict"]
        assert (verdict["known"], verdict["forgotten"], verdict["kept"], verdict["sure"]) == (True, True, None, None)
        assert found["metrics"]["after"]["remaining"]["count"] == 29
        assert found["digests"]["before"] != found["digests"]["after"]
        # The chain of runs is the history of one model.
        assert found["lineage"]["model_in"] == result(runs / "learned")["lineage"]["model_out"]
        assert found["lineage"]["model_out"] == found["digests"]["after"]["statistics"]

    def test_is_what_learning_the_rest_gives(self, runs, tmp_path, invoke, monkeypatch):
        rest(runs, tmp_path / "train")
        status = invoke(
            "run",
            str(runs / "learn.yaml"),
            "--out",
            str(tmp_path / "again"),
            "--set",
            f"data.train.folder={tmp_path / 'train'}",
        ).exit_code
        assert status == 0
        assert content(tmp_path / "again") == content(runs / "forgotten")

    def test_an_auditor_finds_the_same_digests(self, runs, tmp_path, invoke):
        done = invoke("audit", "classifier", str(runs / "forgotten"), "--against", str(rest(runs, tmp_path / "rest")))
        assert done.exit_code == 0, done.output
        assert "equal: the learner is, byte for byte" in done.output

    @pytest.mark.parametrize("change", ["more", "fewer", "edited"])
    def test_an_auditor_finds_other_images(self, change, runs, tmp_path, invoke):
        folder = rest(runs, tmp_path / "rest")
        if change == "more":
            shutil.copy(next((runs / "out" / "elm").iterdir()), folder / "elm")
        elif change == "fewer":
            (folder / "ash" / "01.png").unlink()
        else:
            pixels = np.array(Image.open(folder / "ash" / "01.png"))
            pixels[0, 0] ^= 1
            Image.fromarray(pixels).save(folder / "ash" / "01.png")
        done = invoke("audit", "classifier", str(runs / "forgotten"), "--against", str(folder))
        assert done.exit_code == 1
        assert "different: it learned other images" in done.output

    def test_an_auditor_finds_a_head_that_the_sums_do_not_give(self, runs, tmp_path, invoke):
        model = tmp_path / "model"
        shutil.copytree(runs / "forgotten/model", model)
        from myosotis.exact import ExactClassifier

        forged, old = ExactClassifier.load(model), ExactClassifier.load(runs / "learned/model")
        forged._solved = dict(old.solved())  # the old head is served on
        forged.save(model)
        done = invoke("audit", "classifier", str(model), "--against", str(rest(runs, tmp_path / "rest")))
        assert done.exit_code == 1
        assert "the sums are equal, the head is not" in done.output

    def test_an_auditor_finds_changed_sums(self, runs, tmp_path, invoke):
        model = tmp_path / "model"
        shutil.copytree(runs / "forgotten/model", model)
        description = json.loads((model / "exact.json").read_text())
        tensors = load_file(model / "statistics.safetensors")
        tensors["shared.gram"][0, 0] += 1
        from myosotis.exact import ExactClassifier
        from myosotis.exact.sums import Sums

        forged = ExactClassifier.load(model)
        forged.sums = Sums.of(description["classes"], tensors)
        forged.save(model)  # with fitting digests: only recomputation tells
        done = invoke("audit", "classifier", str(model), "--against", str(rest(runs, tmp_path / "rest")))
        assert done.exit_code == 1
        assert "sums or head were changed" in done.output

    def test_the_result_is_a_learner_again(self, runs, tmp_path, invoke):
        predictor = load(runs / "forgotten")
        assert predictor.classes == load(runs / "learned").classes
        assert predictor.scores(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).isfinite().all()
        more = tmp_path / "more"
        for number in range(8):
            if number not in (3, 5):
                (more / "birch").mkdir(parents=True, exist_ok=True)
                shutil.copy(runs / "train" / "birch" / f"{number:02d}.png", more / "birch")
        done = invoke(
            "run",
            str(runs / "forget.yaml"),
            "--out",
            str(tmp_path / "second"),
            "--set",
            f"model.learner={runs / 'forgotten'}",
            "--set",
            f"data.forget.folder={more}",
        )
        assert done.exit_code == 0, done.output
        found = result(tmp_path / "second")
        assert found["classes_gone"] == ["birch"]
        assert found["classes"] == ["ash", "cedar", "elm"]
        # Test images of the class that was to go do not count as lost.
        assert found["metrics"]["after"]["test"]["count"] == 24
        assert [(row["value"]["count"], row["rule"]) for row in found["verdict"]["keeping"]] == [(18, "at least")]
        predictor = load(tmp_path / "second")
        assert predictor.classes == ("elm", "cedar", "ash")
        scores = predictor.scores(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
        assert scores.shape == (1, 3)
        assert scores.isfinite().all()

    def test_a_draw_is_among_what_was_learned(self, runs, tmp_path, invoke):
        settings = ["data.forget={count: 29}", f"model.learner={runs / 'forgotten'}"]  # of 32 photos 29 are learned
        options = [part for setting in settings for part in ("--set", setting)]
        done = invoke("run", str(runs / "forget.yaml"), "--out", str(tmp_path / "all"), *options)
        assert done.exit_code == 0, done.output
        assert result(tmp_path / "all")["images"]["records_after"] == 0
        options[1] = "data.forget={count: 30}"
        done = invoke("run", str(runs / "forget.yaml"), "--out", str(tmp_path / "more"), *options)
        assert done.exit_code == 2
        assert "but 29 images of data.train were learned" in done.output

    def test_reports_have_no_pixels_and_no_names_of_files(self, runs):
        for name in ("result.json", "report.html", "config.yaml"):
            assert "03.png" not in (runs / "forgotten" / name).read_text()


class TestPublished:
    """What others may read of a run says nothing of the photos to whoever has no key."""

    def test_no_hash_is_a_plain_one_of_sums_or_head(self, runs):
        hashes = set()
        for run in ("learned", "forgotten"):
            for name in ("statistics", "head"):
                file = runs / run / "model" / f"{name}.safetensors"
                tensors = load_file(file)
                with safe_open(file, "pt") as stream:
                    described = json.loads(stream.metadata()["exact"])
                described.pop("salt", None)
                text = json.dumps(described, sort_keys=True)
                for content in (f"{len(text)}:{text};".encode(), b"0:;"):
                    digest = hashlib.sha256(content)
                    for key in sorted(tensors):
                        digest.update(f"{key}:{tensors[key].dtype}:{tuple(tensors[key].shape)};".encode())
                        digest.update(tensors[key].numpy().tobytes())
                    hashes.add(digest.hexdigest())
                hashes.add(hashlib.sha256(save(tensors, {"exact": text})).hexdigest())
        for run in ("learned", "forgotten"):
            for name in ("result.json", "report.html", "model/exact.json", "model/manifest.json"):
                text = (runs / run / name).read_text()
                assert not [digest for digest in hashes if digest in text], name

    def test_the_same_photos_learned_twice_have_other_digests(self, runs, tmp_path, invoke):
        done = invoke("run", str(runs / "learn.yaml"), "--out", str(tmp_path / "again"))
        assert done.exit_code == 0, done.output
        assert content(tmp_path / "again") == content(runs / "learned")
        made = [json.loads((run / "model/exact.json").read_text()) for run in (tmp_path / "again", runs / "learned")]
        assert made[0]["spec"] == made[1]["spec"]
        assert not set(made[0]["digests"].values()) & set(made[1]["digests"].values())


@pytest.fixture(scope="module")
def twice(world, tmp_path_factory):
    from typer.testing import CliRunner

    from myosotis.cli.app import app

    folder = tmp_path_factory.mktemp("twice")
    shutil.copytree(world / "train", folder / "train")
    shutil.copy(world / "train" / "birch" / "03.png", folder / "train" / "cedar" / "copy.png")
    options = ["--set", f"data.train.folder={folder / 'train'}", "--out", str(folder / "learned")]
    done = CliRunner().invoke(app, ["run", str(world / "learn.yaml"), *options])
    assert done.exit_code == 0, done.output
    return folder


class TestTwoClasses:
    """A photo that was learned as birch, and as cedar too."""

    def forget(self, invoke, world, twice, out, *settings):
        options = [f"model.learner={twice / 'learned'}", f"data.train.folder={twice / 'train'}", *settings]
        words = [part for setting in options for part in ("--set", setting)]
        return invoke("run", str(world / "forget.yaml"), "--out", str(out), *words)

    @pytest.mark.parametrize("recompute", ["false", "true"])
    def test_a_copy_is_left(self, recompute, world, twice, tmp_path, invoke):
        done = self.forget(invoke, world, twice, tmp_path / "run", f"recompute={recompute}")
        assert done.exit_code == 0, done.output
        found = result(tmp_path / "run")
        assert found["verdict"]["forgotten"] is False
        assert (found["images"]["copies_left"], found["images"]["copies_by_class"]) == (1, {"cedar": 1})
        text = "Not all, a copy is left: 1 record with the same pixels, learned as cedar, stayed in the sums"
        assert text in " ".join(done.output.split())
        assert text in " ".join((tmp_path / "run/report.html").read_text().split())
        assert "those of a learner that never saw them" not in done.output

    def test_asked_for_under_both_it_is_gone(self, world, twice, tmp_path, invoke):
        shutil.copytree(world / "out", tmp_path / "out")
        (tmp_path / "out" / "cedar").mkdir()
        shutil.copy(world / "out" / "birch" / "03.png", tmp_path / "out" / "cedar")
        done = self.forget(invoke, world, twice, tmp_path / "run", f"data.forget.folder={tmp_path / 'out'}")
        assert done.exit_code == 0, done.output
        found = result(tmp_path / "run")
        assert found["verdict"]["forgotten"] is True
        assert (found["images"]["copies_left"], found["images"]["copies_by_class"]) == (0, {})


class TestBody:
    """Sums are of one body: whoever opens a learner refuses another one, even with a fitting manifest."""

    @pytest.fixture(params=["weights", "bit", "options"])
    def changed(self, request, runs, tmp_path):
        shutil.copytree(runs / "learned", tmp_path / "changed")
        model = tmp_path / "changed" / "model"
        if request.param == "options":
            for name in ("learner.json", "body.json"):
                described = json.loads((model / name).read_text())
                described.get("backbone", described)["options"]["last_relu"] = False
                (model / name).write_text(json.dumps(described))
        else:
            tensors = load_file(model / "net.safetensors")
            if request.param == "weights":
                tensors = {name: value.flip(0).contiguous() for name, value in tensors.items()}
            else:
                name = next(name for name in tensors if name.endswith("weight"))
                tensors[name].view(-1).view(torch.int32)[0] ^= 1
            save_file(tensors, model / "net.safetensors")
        manifest = json.loads((model / "manifest.json").read_text())
        for name in manifest:
            content = (model / name).read_bytes()
            manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (model / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path / "changed"

    MESSAGE = (
        "is not the body that the sums were made with: its weights, architecture, options or normalisation have changed"
    )

    def test_is_not_opened(self, changed):
        with pytest.raises(InputError, match=self.MESSAGE):
            load(changed)
        with pytest.raises(InputError, match=self.MESSAGE):
            check_learner(changed / "model")

    def test_learns_forgets_and_is_audited_no_more(self, changed, runs, tmp_path, invoke, write_classes):
        for part, seed in (("train", 7), ("test", 8)):
            write_classes(tmp_path / part, 4, seed, (*CLASSES, "fir"))
        more = [f"data.{part}.folder={tmp_path / part}" for part in ("train", "test")]
        more.append("scenario={first: 1, per_task: 1}")
        for words, settings in (
            (("run", runs / "learn.yaml"), [f"continue_from={changed}", "name=later", *more]),
            (("run", runs / "forget.yaml"), [f"model.learner={changed}"]),
            (("audit", "classifier", changed, "--against", runs / "train"), []),
        ):
            options = [part for setting in settings for part in ("--set", setting)]
            if words[0] != "audit":
                options += ["--out", str(tmp_path / "run")]
            done = invoke(*map(str, words), *options)
            assert done.exit_code == 2, done.output
            assert self.MESSAGE in done.output
            assert not (tmp_path / "run").exists()

    def test_an_unchanged_learner_passes(self, runs):
        for run in ("learned", "forgotten"):
            check_learner(runs / run / "model")


class TestPerson:
    def test_half_a_page_claims_what_is_proven(self, runs, invoke):
        """No test compared the photos with unseen ones, so the page must not say that one did."""
        done = invoke("report", runs / "forgotten", "--for", "person", "--out", runs / "person.html")
        assert done.exit_code == 0, done.output
        text = " ".join((runs / "person.html").read_text().split())
        assert "They were among the pictures that it had learnt from." in text
        assert "exactly what it would be without them" in text
        assert "taken out of its sums again" in text
        assert "better than pictures" not in text


class TestRefusals:
    def refused(self, invoke, world, tmp_path, *settings):
        options = [part for setting in settings for part in ("--set", setting)]
        done = invoke("run", str(world / "forget.yaml"), "--out", str(tmp_path / "run"), *options)
        assert done.exit_code == 2, done.output
        assert not (tmp_path / "run").exists()
        assert len(done.output.strip().splitlines()) <= 2
        return done.output

    def test_a_photo_that_was_never_learned(self, runs, tmp_path, invoke):
        (tmp_path / "out" / "ash").mkdir(parents=True)
        shutil.copy(runs / "test" / "ash" / "00.png", tmp_path / "out" / "ash")
        output = self.refused(invoke, runs, tmp_path, f"data.forget.folder={tmp_path / 'out'}")
        assert "1 of 1 images were never learned with these pixels and this class" in output

    def test_a_photo_under_another_class(self, runs, tmp_path, invoke):
        (tmp_path / "out" / "ash").mkdir(parents=True)
        shutil.copy(runs / "train" / "elm" / "01.png", tmp_path / "out" / "ash")
        output = self.refused(invoke, runs, tmp_path, f"data.forget.folder={tmp_path / 'out'}")
        assert "never learned with these pixels and this class" in output
        assert "the same pixels were learned as 'elm'; ash/01.png first" in output

    def test_a_request_that_was_answered_already(self, runs, tmp_path, invoke):
        assert "never learned" in self.refused(invoke, runs, tmp_path, f"model.learner={runs / 'forgotten'}")

    def test_a_trained_learner(self, runs, tmp_path, invoke):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "learner.json").write_text("{}")
        output = self.refused(invoke, runs, tmp_path, f"model.learner={tmp_path / 'model'}")
        assert "its body was trained" in output

    def test_no_learner(self, runs, tmp_path, invoke):
        assert "no such run" in self.refused(invoke, runs, tmp_path, f"model.learner={tmp_path / 'nothing'}")

    def test_another_body(self, runs, tmp_path, invoke):
        shutil.copytree(runs / "learned/model", tmp_path / "model")
        tensors = load_file(tmp_path / "model/net.safetensors")
        name = next(name for name in tensors if name.endswith("weight"))
        tensors[name] += 1e-6
        save_file(tensors, tmp_path / "model/net.safetensors")
        output = self.refused(invoke, runs, tmp_path, f"model.learner={tmp_path / 'model'}")
        assert "is not the body that the sums were made with" in output

    def test_another_machine_and_how_to_go_on(self, runs, tmp_path, invoke, monkeypatch):
        from myosotis.forgetting_learner.exact.learner import ExactLearner

        real = ExactLearner.rows

        def other(self, images):
            rows = real(self, images)
            rows[0, 0] += 1
            return rows

        monkeypatch.setattr(ExactLearner, "rows", other)
        output = self.refused(invoke, runs, tmp_path)
        assert "1 of 3 images have other features here than when they were learned" in output
        assert "recompute=true" in output
        done = invoke(
            "run",
            str(runs / "forget.yaml"),
            "--out",
            str(tmp_path / "run"),
            "--set",
            "recompute=true",
        )
        assert done.exit_code == 0, done.output
        assert result(tmp_path / "run")["recomputed"] is True
        assert result(tmp_path / "run")["images"]["records_after"] == 29

    def test_recomputing_from_fewer_images(self, runs, tmp_path, invoke):
        folder = tmp_path / "fewer"
        shutil.copytree(runs / "train", folder)
        (folder / "ash" / "00.png").unlink()
        output = self.refused(invoke, runs, tmp_path, "recompute=true", f"data.train.folder={folder}")
        assert "29 records remain, but data.train holds 28 of their images" in output

    def test_an_audit_without_images(self, runs, invoke):
        done = invoke("audit", "classifier", str(runs / "forgotten"))
        assert done.exit_code == 2
        assert "forgets exactly, which is checked with --against FOLDER" in done.output

    def test_size_without_images(self, runs, invoke):
        done = invoke("audit", "classifier", str(runs / "forgotten"), "--size", "8")
        assert done.exit_code == 2
        assert "--size belongs to --against" in done.output


def test_a_draft_and_its_check(runs, tmp_path, invoke):
    path = tmp_path / "request.yaml"
    done = invoke(
        "init", "unlearn-exact", str(runs / "out"), str(runs / "learned"), str(runs / "test"), "--out", str(path)
    )
    assert done.exit_code == 0, done.output
    assert f"then: myosotis run {path}" in done.output
    done = invoke("check", str(path), "--no-time", "--out", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    assert "is a configuration of 'unlearn-exact'" in done.output
    done = invoke("init", "unlearn-exact", str(runs / "out"), "--out", str(tmp_path / "other.yaml"))
    assert done.exit_code == 2
    assert "the learner is missing" in done.output


class TestFeatureCache:
    def learn(self, invoke, world, out, *settings):
        options = [part for setting in settings for part in ("--set", setting)]
        done = invoke("run", str(world / "learn.yaml"), "--out", str(out), *options)
        assert done.exit_code == 0, done.output

    def test_a_second_method_computes_no_feature_and_a_forgotten_photo_leaves_it(
        self, world, tmp_path, invoke, monkeypatch
    ):
        from myosotis.continual.classification.methods import closed_form

        cache = f"model.feature_cache={tmp_path / 'cache'}"
        self.learn(invoke, world, tmp_path / "first", cache)
        self.learn(invoke, world, tmp_path / "plain", "method=simplecil")
        monkeypatch.setattr(closed_form, "exact_features", None)
        self.learn(invoke, world, tmp_path / "second", cache, "method=simplecil")
        assert content(tmp_path / "plain") == content(tmp_path / "second")
        (file,) = (tmp_path / "cache").glob("*.features")
        size = file.stat().st_size
        options = ["--set", f"model={{learner: {tmp_path / 'first'}, feature_cache: {tmp_path / 'cache'}}}"]
        done = invoke("run", str(world / "forget.yaml"), "--out", str(tmp_path / "gone"), *options)
        assert done.exit_code == 0, done.output
        assert file.stat().st_size == size * 29 // 32

    def test_features_that_change_are_not_kept(self, class_world, tmp_path, invoke):
        options = ["--set", f"model.feature_cache={tmp_path / 'cache'}"]
        done = invoke("run", str(class_world / "job.yaml"), "--out", str(tmp_path / "run"), *options)
        assert done.exit_code == 2
        assert "'model.feature_cache' has no effect: 'ssil' changes the features" in done.output
        assert not (tmp_path / "cache").exists()


class TestLearning:
    def refused(self, invoke, world, tmp_path, *settings):
        options = [part for setting in settings for part in ("--set", setting)]
        done = invoke("run", str(world / "learn.yaml"), "--out", str(tmp_path / "run"), *options)
        assert done.exit_code == 2, done.output
        return done.output

    def test_settings_of_a_training_are_refused(self, world, tmp_path, invoke):
        assert "trains nothing: leave out 'training.epochs'" in self.refused(
            invoke, world, tmp_path, "training.epochs=3"
        )

    def test_a_body_without_weights_is_refused(self, world, tmp_path, invoke):
        output = self.refused(invoke, world, tmp_path, "model.weights=null")
        assert "needs weights: give 'model.pretrained'" in output

    def test_another_norm_is_refused(self, world, tmp_path, invoke):
        assert "leaves the body as it is: leave out 'norm'" in self.refused(invoke, world, tmp_path, "norm=gn")

    def test_the_weights_of_another_body_are_refused(self, world, tmp_path, invoke):
        output = self.refused(invoke, world, tmp_path, 'model.options={"widths": [8, 8], "blocks": [1, 1]}')
        assert "body.safetensors" in output


@pytest.mark.processes
def test_two_processes_make_the_same_bytes(world, tmp_path, write_classes):
    write_classes(tmp_path / "train", 20, 5, CLASSES)  # more than one batch of features
    (tmp_path / "out" / "elm").mkdir(parents=True)
    shutil.copy(tmp_path / "train" / "elm" / "07.png", tmp_path / "out" / "elm")
    made = {}
    for count in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        for job, settings in (
            ("learn", [f"data.train.folder={tmp_path / 'train'}", "scenario.first=4"]),
            (
                "forget",
                [
                    f"model.learner={tmp_path / f'learn-{count}'}",
                    f"data.forget.folder={tmp_path / 'out'}",
                    f"data.train.folder={tmp_path / 'train'}",
                ],
            ),
        ):
            options = [part for setting in settings for part in ("--set", setting)]
            out = tmp_path / f"{job}-{count}"
            program = ["-m", "myosotis", "run", str(world / f"{job}.yaml"), "--out", str(out), *options]
            done = subprocess.run([*launcher, *program], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            made.setdefault(job, []).append(content(out))
    assert all(contents[0] == contents[1] for contents in made.values())


class TestLedger:
    """A ledger of an exact forgetting: ``verify --recompute`` learns the remaining photos anew."""

    @pytest.fixture
    def ledger(self, runs, invoke, tmp_path):
        assert invoke("ledger", "init", tmp_path / "life").exit_code == 0
        for name in ("learned", "forgotten"):
            done = invoke("ledger", "add", tmp_path / "life", runs / name, "--key", tmp_path / "life.key")
            assert done.exit_code == 0, done.output
        return tmp_path / "life"

    def test_the_remaining_photos_make_the_sums(self, runs, ledger, invoke, tmp_path):
        verify = (
            "ledger",
            "verify",
            ledger,
            "--key",
            ledger / "keys" / "operator.pub",
            "--model",
            runs / "forgotten",
            "--recompute",
        )
        done = invoke(*verify, rest(runs, tmp_path / "rest"))
        assert done.exit_code == 0, done.output
        assert "ok     recomputed: 29 images make the sums and the head of line 2, to the bit" in done.output

    def test_the_forgotten_photos_do_not(self, runs, ledger, invoke):
        done = invoke("ledger", "verify", ledger, "--model", runs / "forgotten", "--recompute", runs / "train")
        assert done.exit_code == 19, done.output
        assert "which line 2 did not leave" in done.output

    def test_another_head_is_no_model_of_the_line(self, runs, ledger, invoke, tmp_path):
        """Sums of the remaining photos beside the head from before: the model check sees it first."""
        shutil.copytree(runs / "forgotten", tmp_path / "forged")
        shutil.copy(runs / "learned" / "model" / "head.safetensors", tmp_path / "forged" / "model")
        verify = (
            "ledger",
            "verify",
            ledger,
            "--key",
            ledger / "keys" / "operator.pub",
            "--model",
            tmp_path / "forged",
            "--recompute",
        )
        done = invoke(*verify, rest(runs, tmp_path / "rest"))
        assert done.exit_code == 15, done.output

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--recompute", "train"), "--recompute goes with --model"),
            (("--size", "8"), "--size belongs to --recompute"),
            (("--model", "out", "--recompute", "train"), "is no learner that forgets exactly"),
            (("--model", "forgotten", "--recompute", "none"), "none"),
        ],
    )
    def test_mistakes(self, options, message, runs, ledger, invoke):
        words = [word if word.startswith("--") or word.isdigit() else runs / word for word in options]
        done = invoke("ledger", "verify", ledger, *words)
        assert done.exit_code == 2, done.output
        assert message in done.output
