"""``myosotis.load``: one way to open whatever a run made, and what cannot be opened."""

import shutil

import pytest
import torch
import yaml
from typer.testing import CliRunner

import myosotis
from myosotis.cli.app import app
from myosotis.engine import InputError


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_jobs):
    folder = tmp_path_factory.mktemp("runs")
    tiny_jobs.inputs(folder)

    def run(name):
        out = folder / "runs" / name
        if not out.exists():
            arguments = ["run", tiny_jobs.written(folder, name), "--out", out]
            outcome = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
            assert outcome.exit_code == 0, outcome.output
        return out

    return run


@pytest.mark.parametrize("name", ["classes", "photos"])
def test_classifiers_predict_the_index_of_a_class(runs, name, tiny_jobs):
    model = myosotis.load(runs(name))
    images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    assert set(model.classes) == set(tiny_jobs.CLASSES)
    assert model.scores(images).shape == (5, 4)
    assert model.predict(images).equal(model.scores(images).argmax(1))
    # Bytes and numbers in [0, 1] are the same images; so is the model directory by itself.
    again = myosotis.load(runs(name) / "model")
    torch.testing.assert_close(again.scores(images.float() / 255), model.scores(images))


def test_a_segmenter_predicts_a_class_for_every_pixel(runs):
    model = myosotis.load(runs("segments"))
    assert model.classes == ("background", "a", "b", "c")
    assert model.predict(torch.rand(2, 3, 12, 12)).shape == (2, 12, 12)


@pytest.mark.parametrize(("name", "side", "width"), [("streams", 8, 8), ("pretrain", 16, 16)])
def test_encoders_return_features(runs, name, side, width):
    encoder = myosotis.load(runs(name))
    assert encoder.transform(torch.rand(3, 1, side, side)).shape == (3, width)


def test_a_denoiser_denoises(runs):
    from myosotis.denoising import Channel

    denoiser = myosotis.load(runs("denoiser"))
    noisy = torch.randint(2, (16, 16)).numpy()
    assert denoiser.denoise(noisy, Channel.symmetric(2, 0.1)).shape == (16, 16)
    assert myosotis.load(runs("denoiser") / "model" / "denoiser.safetensors").symbols == denoiser.symbols


def test_a_language_model_is_a_pipeline(runs):
    generate = myosotis.load(str(runs("language")))
    (answer,) = generate("The lantern", max_new_tokens=2, do_sample=False)
    assert answer["generated_text"].startswith("The lantern")


def test_a_prompt_goes_into_the_template_of_its_run(runs, tmp_path):
    """Asked without it, a model that was taught with it answered nonsense."""
    run = tmp_path / "run"
    shutil.copytree(runs("language"), run)
    settings = (run / "config.yaml").read_text()
    content = yaml.safe_load(settings)
    content["data"]["template"] = "Q: {prompt}\nA: {response}"
    (run / "config.yaml").write_text(yaml.safe_dump(content))
    (run / "digests.json").unlink()
    options = {"max_new_tokens": 4, "do_sample": False, "return_full_text": False}
    plain, templated = myosotis.load(run / "model"), myosotis.load(run)
    prompts = ["Where does it stand?", "The lantern"]
    expected = [plain(f"Q: {prompt}\nA: ", **options)[0] for prompt in prompts]
    assert [templated(prompt, **options)[0] for prompt in prompts] == expected
    assert [rows[0] for rows in templated(prompts, batch_size=2, **options)] == expected


def test_weights_are_written_once(runs):
    """The largest tensors of a learner are in one file of its directory."""
    for name in ("classes", "streams"):
        model = runs(name) / "model"
        sizes = {path.name: path.stat().st_size for path in model.glob("*.safetensors")}
        assert sizes["net.safetensors"] < sizes["model.safetensors"], (name, sizes)


def test_what_cannot_be_opened(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no model")
    for path, message in (
        (tmp_path / "nothing", "no such file or directory"),
        (tmp_path / "empty", "no model to load: holds none of"),
        (tmp_path / "text.txt", "is not a model of a denoiser"),
    ):
        with pytest.raises(InputError, match=message):
            myosotis.load(path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("name: x\n")
    with pytest.raises(InputError, match="this run is not finished"):
        myosotis.load(run)


@pytest.mark.parametrize("damage", [b"", b"torn"])
def test_a_damaged_model_is_refused_in_one_line(runs, tmp_path, damage):
    import shutil

    shutil.copytree(runs("classes") / "model", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(damage)
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        myosotis.load(tmp_path / "model")
    assert "\n" not in str(caught.value)
