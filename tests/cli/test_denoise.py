"""`myosotis denoise`, end to end on small files."""

import gzip
import json
import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import yaml
from PIL import Image

from myosotis.denoising.channel import Channel
from myosotis.denoising.denoiser_file import load_denoiser
from myosotis.denoising.files.images import otsu_threshold, read_bilevel

BASES = np.array(list("ACGT"))


def blobs(seed, side=64):
    draws = np.random.default_rng(seed)
    plane = np.ones((side, side), dtype=np.uint8)
    for _ in range(8):
        top, left = draws.integers(0, side - 16, 2)
        plane[top : top + draws.integers(8, 16), left : left + draws.integers(8, 16)] = 0
    return plane


def save(path, bits, **options):
    Image.fromarray(bits.astype(bool)).save(path, **options)


@pytest.fixture
def scan(tmp_path):
    """A clean and a noisy page."""
    clean = blobs(0)
    noisy = Channel.binary_symmetric(0.1).corrupt(clean, np.random.default_rng(1))
    save(tmp_path / "clean.png", clean)
    save(tmp_path / "noisy.png", noisy)
    return tmp_path, clean, noisy


@pytest.fixture(scope="session")
def denoise(invoke):
    def denoise(*arguments):
        return invoke("denoise", *arguments)

    return denoise


def bits(path):
    return np.asarray(Image.open(path)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".pbm", ".tif"])
def test_an_image_comes_back_in_its_format(scan, suffix, denoise):
    folder, clean, noisy = scan
    source, place = folder / f"in{suffix}", folder / f"out{suffix}"
    save(source, noisy, **({"compression": "group4"} if suffix == ".tif" else {}))
    outcome = denoise("image", source, place, "--flip-rate", 0.1)
    assert outcome.exit_code == 0, outcome.output
    with Image.open(place) as picture, Image.open(source) as before:
        assert (picture.format, picture.mode, picture.size) == (before.format, "1", before.size)
        assert picture.info.get("compression") == before.info.get("compression")
    assert (bits(place) != clean).mean() < 0.3 * (noisy != clean).mean()
    assert not list(folder.glob(".*"))


METHODS = ("as_seen", "median", "dude", "dude_loo", "neural")


@pytest.mark.parametrize("method", METHODS)
def test_methods_share_one_interface(scan, method, denoise):
    folder, clean, noisy = scan
    place, report = folder / "out.png", folder / "report.html"
    epochs = ("--epochs", 2) if method == "neural" else ()
    outcome = denoise(
        "image", folder / "noisy.png", place, "--flip-rate", 0.1, "--method", method, *epochs,
        "--reference", folder / "clean.png", "--report", report,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    told = json.loads((folder / "report.json").read_text())
    assert told["true_error_before"] == pytest.approx((noisy != clean).mean())
    assert told["true_error_after"] == pytest.approx((bits(place) != clean).mean())
    assert told["changed"] == (bits(place) != noisy).sum()
    assert np.sum(told["changes"]) == noisy.size
    assert told["estimated_error_before"] == pytest.approx(0.1)
    if method == "as_seen":
        assert told["changed"] == 0
    else:
        assert told["true_error_after"] < told["true_error_before"]
    if method in ("dude", "dude_loo", "neural"):
        assert told["estimated_error_after"] == pytest.approx(told["true_error_after"], abs=0.04)
    page = report.read_text()
    for text in ("What was changed?", "Is it better?", "What differs", "What this does not show"):
        assert text in page


def test_grey_images_are_made_bilevel_and_it_is_said(scan, denoise):
    folder, _, noisy = scan
    draws = np.random.default_rng(0)
    Image.fromarray((60 + 120 * noisy + draws.integers(0, 20, noisy.shape)).astype(np.uint8)).save(folder / "grey.png")
    grey = read_bilevel(folder / "grey.png")
    assert grey.how.endswith("(Otsu)")
    assert (grey.bits == noisy).all()
    report = folder / "r.html"
    options = ("--flip-rate", 0.1, "--threshold", 130, "--report", report)
    assert denoise("image", folder / "grey.png", folder / "out.png", *options).exit_code == 0
    assert "read as threshold 130" in report.read_text()
    assert otsu_threshold(np.array([[0, 0, 9, 9]], dtype=np.uint8)) in range(9)


def test_a_threshold_does_not_refuse_a_reference_that_is_bilevel(scan, denoise):
    folder, clean, noisy = scan
    Image.fromarray((60 + 120 * noisy).astype(np.uint8)).save(folder / "flat.png")
    for name, reference in (("bits", clean * 255), ("grey", 60 + 120 * clean)):
        Image.fromarray(reference.astype(np.uint8)).convert("1" if name == "bits" else "L").save(folder / f"{name}.png")
        options = ("--flip-rate", 0.1, "--threshold", 130, "--reference", folder / f"{name}.png")
        outcome = denoise("image", folder / "flat.png", folder / f"{name}-out.png", *options)
        assert outcome.exit_code == 0, outcome.output


def test_an_unknown_flip_rate_is_found(tmp_path, denoise):
    clean = np.concatenate([blobs(seed, 96) for seed in range(2)], axis=1)
    save(tmp_path / "noisy.png", Channel.binary_symmetric(0.15).corrupt(clean, np.random.default_rng(1)))
    options = ("--estimate", "--flip-rate", 0.3, "--report", tmp_path / "r.html")
    outcome = denoise("image", tmp_path / "noisy.png", tmp_path / "out.png", *options)
    assert outcome.exit_code == 0, outcome.output
    told = json.loads((tmp_path / "r.json").read_text())
    # It was told 0.3.
    assert told["channel"][0][1] == pytest.approx(0.15, abs=0.06)
    assert "The channel was estimated" in outcome.stderr


def reads(count=200, length=60, seed=0):
    """Copies of two sequences, clean and noisy."""
    draws = np.random.default_rng(seed)
    kinds = draws.integers(0, 4, (2, length))
    clean = kinds[np.arange(count) % 2]
    noisy = Channel.symmetric(4, 0.02).corrupt(clean, draws)
    return clean, noisy


def fastq(rows, *, unknown=None):
    lines = []
    for number, row in enumerate(rows):
        letters = BASES[row].copy()
        if unknown is not None:
            letters[unknown] = "N"
        lines += [f"@read{number} lane", "".join(letters), "+", "I" * len(row)]
    return "\n".join(lines) + "\n"


def test_reads_keep_names_qualities_unknown_and_small_letters(tmp_path, denoise):
    clean, noisy = reads()
    text = fastq(noisy, unknown=30).replace("A", "a")
    source = tmp_path / "in.fastq.gz"
    source.write_bytes(gzip.compress(text.encode()))
    (tmp_path / "clean.fastq").write_text(fastq(clean, unknown=30))
    outcome = denoise(
        "dna", source, tmp_path / "out.fastq.gz", "--substitution-rate", 0.02, "--method", "dude_loo", "--context", 4,
        "--reference", tmp_path / "clean.fastq", "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["true_error_after"] < 0.65 * told["true_error_before"]
    assert "200 N left as they are" in told["read_as"]
    lines = gzip.decompress((tmp_path / "out.fastq.gz").read_bytes()).decode().splitlines()
    before = text.splitlines()
    assert lines[0::4] == before[0::4]
    assert lines[3::4] == before[3::4]
    assert {line[30] for line in lines[1::4]} == {"N"}
    for old, new in zip(before[1::4], lines[1::4], strict=True):
        assert [one.islower() for one in old] == [one.islower() for one in new]
    wrong = sum(
        (BASES[row] != list(new.upper()))[np.arange(60) != 30].sum()
        for row, new in zip(clean, lines[1::4], strict=True)
    )
    assert wrong == round(told["true_error_after"] * told["symbols"])


def test_fasta_and_a_channel_file(tmp_path, denoise):
    _, noisy = reads()
    rows = [f">{number}\n{''.join(BASES[row])}" for number, row in enumerate(noisy)]
    (tmp_path / "in.fasta").write_text("\n".join(rows) + "\n")
    table = Channel.symmetric(4, 0.05).matrix.tolist()
    (tmp_path / "pi.txt").write_text("\n".join(" ".join(map(str, row)) for row in table))
    outcome = denoise("dna", tmp_path / "in.fasta", tmp_path / "out.fasta", "--channel", tmp_path / "pi.txt")
    assert outcome.exit_code == 0, outcome.output
    lines = (tmp_path / "out.fasta").read_text().splitlines()
    assert lines[0::2] == [f">{number}" for number in range(200)]
    assert "symbols on each side" in outcome.output


@pytest.mark.parametrize("name", ["plain.fasta", "packed.fasta.gz"])
def test_lines_of_fasta_stay_as_long_as_they_were(name, tmp_path, denoise):
    _, noisy = reads()
    opened = gzip.open if name.endswith(".gz") else open
    sequences = ["".join(BASES[row])[: 20 + number % 40] for number, row in enumerate(noisy)]
    cuts = [(0, 2, *range(9, len(one), 25), len(one)) if len(one) % 3 else (0, len(one)) for one in sequences]
    broken = [[one[a:b] for a, b in pairwise(cut)] for one, cut in zip(sequences, cuts, strict=True)]
    with opened(tmp_path / name, "wt") as out:
        out.write("#a\n# a longer remark\n>no bases\n\n")
        out.write("".join(f">{number}\n" + "\n#\n".join(lines) + "\n" for number, lines in enumerate(broken)))
    outcome = denoise("dna", tmp_path / name, tmp_path / f"new-{name}", "--substitution-rate", 0.05)
    assert outcome.exit_code == 0, outcome.output
    before, after = (opened(tmp_path / one, "rt").read().splitlines() for one in (name, f"new-{name}"))
    assert [len(line) for line in after] == [len(line) for line in before]
    assert [line for line in after if line[:1] in ">#"] == [line for line in before if line[:1] in ">#"]
    assert after != before


def test_text_and_arrays(tmp_path, denoise):
    draws = np.random.default_rng(0)
    clean = np.repeat(draws.integers(0, 3, 400), 10)
    noisy = Channel.symmetric(3, 0.1).corrupt(clean, draws)
    letters = "".join(np.array(list("xyz"))[noisy])
    (tmp_path / "in.txt").write_text(letters[:2000] + "\n\n" + letters[2000:] + "\n")
    arguments = ("--alphabet", "xyz", "--substitution-rate", 0.1)
    outcome = denoise("symbols", tmp_path / "in.txt", tmp_path / "out.txt", *arguments)
    assert outcome.exit_code == 0, outcome.output
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert [len(line) for line in lines] == [2000, 0, 2000]
    found = np.array(["xyz".index(letter) for letter in "".join(lines)])
    assert (found != clean).mean() < 0.5 * (noisy != clean).mean()
    for name, array in (("line", noisy.astype(np.int16)), ("plane", blobs(0).astype(np.uint64))):
        np.save(tmp_path / f"{name}.npy", array)
        outcome = denoise("symbols", tmp_path / f"{name}.npy", tmp_path / f"{name}-out.npy", "--substitution-rate", 0.1)
        assert outcome.exit_code == 0, outcome.output
        back = np.load(tmp_path / f"{name}-out.npy")
        assert (back.dtype, back.shape) == (array.dtype, array.shape)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, invoke):
    """A run that trained a model for images."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "pages").mkdir()
    for seed in range(10, 18):
        save(folder / "pages" / f"{seed}.png", blobs(seed))
    config = {
        "job": "denoise-train",
        "name": "pages",
        "data": {"images": ["pages"]},
        "noise": {"between": [0.05, 0.2]},
        "model": {"neighbours": 12, "hidden": 16, "layers": 2},
        "training": {"epochs": 3},
        "held_out": 0.2,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    out = folder / "run"
    outcome = invoke("run", folder / "job.yaml", "--out", out)
    assert outcome.exit_code == 0, outcome.output
    return folder, out, outcome


def test_a_model_is_trained_measured_and_used(trained, scan, denoise, invoke, result):
    _, run, outcome = trained
    found = result(run)
    assert found["kind"] == "denoise-train"
    assert [one["noise"] for one in found["measured"]] == ["0.05", "0.1", "0.2"]
    assert all(one["error"] < 0.6 * one["raw"] for one in found["measured"])
    assert "Has it learnt?" in outcome.output
    model = run / "model" / "denoiser.safetensors"
    denoiser, notes = load_denoiser(model)
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["loss"] < events[0]["loss"]
    assert notes["noise"] == {"between": [0.05, 0.2]}
    assert denoiser.pretrained
    folder, clean, noisy = scan
    for method, place in (("adaptive", folder / "a.png"), ("supervised", folder / "b.png")):
        done = denoise("image", folder / "noisy.png", place, "--flip-rate", 0.1, "--model", model, "--method", method)
        assert done.exit_code == 0, done.output
        assert (bits(place) != clean).mean() < 0.5 * (noisy != clean).mean()
    assert (bits(folder / "b.png") == denoiser.denoise(noisy, Channel.binary_symmetric(0.1))).all()
    assert invoke("report", run, run, "--out", folder / "both.html").exit_code == 0
    assert "2 runs" in (folder / "both.html").read_text()


@pytest.mark.processes
def test_a_killed_training_goes_on_to_the_same_end(trained, tmp_path, invoke, killed_at, result, settings):
    folder, _, _ = trained
    out, options = tmp_path / "killed", settings("training.epochs=8")
    killed_at(out / "checkpoints" / "train", "run", folder / "job.yaml", "--out", out, *options)
    assert not (out / "result.json").exists()
    assert invoke("run", folder / "job.yaml", "--out", out, "--resume", *options).exit_code == 0
    whole = invoke("run", folder / "job.yaml", "--out", tmp_path / "whole", *options)
    assert whole.exit_code == 0
    assert result(out)["lineage"]["model_out"] == result(tmp_path / "whole")["lineage"]["model_out"]


def test_a_resumed_training_checks_its_channel(tmp_path, invoke):
    """The file could change between sessions."""
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text("abba" * 20 + "\n")
    (tmp_path / "channel.txt").write_text("0.9 0.1\n0.1 0.9\n")
    job = {
        "job": "denoise-train",
        "name": "tiny",
        "data": {"text": ["0.txt", "1.txt"], "alphabet": "ab"},
        "noise": {"channel": "channel.txt"},
        "model": {"half_width": 1, "hidden": 4, "layers": 1},
        "training": {"epochs": 1},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    arguments = ("run", tmp_path / "job.yaml", "--out", tmp_path / "run")
    assert invoke(*arguments).exit_code == 0
    (tmp_path / "channel.txt").write_text("0.8 0.2\n0.1 0.9\n")
    outcome = invoke(*arguments, "--resume")
    assert outcome.exit_code == 2
    assert "was started with other input: clean changed since" in outcome.stderr


def test_equal_trainings_give_equal_models(trained, tmp_path, invoke, result):
    folder, run, _ = trained
    again = invoke("run", folder / "job.yaml", "--out", tmp_path / "again")
    assert again.exit_code == 0
    assert result(run)["lineage"]["model_out"] == result(tmp_path / "again")["lineage"]["model_out"]
    other = invoke("run", folder / "job.yaml", "--out", tmp_path / "other", "--set", "seed=1")
    assert other.exit_code == 0
    assert result(run)["lineage"]["model_out"] != result(tmp_path / "other")["lineage"]["model_out"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.images=[nothing]"], "nothing: no such file"),
        (["noise={rate: 0.5}"], "noise: a rate must be in [0, 0.5) for 2 symbols, got 0.5"),
        (["noise={rate: 0.1, between: [0, 0.1]}"], "give exactly one of"),
        (["model.half_width=3"], "'model.half_width' has no effect on images"),
        (["data={dna: [job.yaml]}", "model={}"], "cannot be read as FASTA or FASTQ"),
        (["data.alphabet=ab"], "'alphabet' goes with 'text'"),
        (["model.hiden=3"], "did you mean 'model.hidden'"),
        (["held_out=0.99"], "too few to hold any out"),
    ],
)
def test_faults_of_a_training(trained, tmp_path, options, message, invoke, settings):
    folder, _, _ = trained
    outcome = invoke("run", folder / "job.yaml", "--out", tmp_path / "out", *settings(*options))
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_of_a_single_sequence_the_end_is_held_out(trained, invoke, settings, result):
    folder, _, _ = trained
    page = sorted((folder / "pages").iterdir())[0]
    options = settings(f"data.images=[{page}]", "held_out=0.25", "training.epochs=1")
    outcome = invoke("run", folder / "job.yaml", "--out", folder / "single", *options)
    assert outcome.exit_code == 0, outcome.output
    assert "the last 25% of it held out" in outcome.stderr
    symbols = result(folder / "single")["symbols"]
    assert symbols["held_out"] == (symbols["train"] + symbols["held_out"]) // 4
    outcome = invoke("run", folder / "job.yaml", "--out", folder / "none", *options, *settings("held_out=0.999"))
    assert outcome.exit_code == 2
    assert "1 sequences are too few to hold any out" in outcome.stderr


def test_faults_of_an_image(trained, scan, denoise):
    folder, _, noisy = scan
    save(folder / "there.png", noisy)
    (folder / "broken.png").write_bytes((folder / "noisy.png").read_bytes()[:80])
    (folder / "empty.png").write_bytes(b"")
    save(folder / "small.png", noisy[:10])
    Image.fromarray(noisy * 255).save(folder / "photo.jpg")
    Image.fromarray(noisy * 255).save(folder / "photo.gif")
    Image.fromarray(noisy.astype(np.uint16) * 9000).save(folder / "deep.png")
    Image.fromarray(np.stack([0 * noisy, 255 * noisy], axis=2), "LA").save(folder / "ghost.png")
    (folder / "bad.txt").write_text("0.9 0.2\n0.1 0.9\n")
    (folder / "near.txt").write_text("0.5001 0.4999\n0.4999 0.5001\n")
    (folder / "four.txt").write_text(
        "\n".join(" ".join(map(str, row)) for row in Channel.symmetric(4, 0.1).matrix.tolist())
    )
    rate, model = ("--flip-rate", "0.1"), trained[1] / "model" / "denoiser.safetensors"
    for source, place, options, message in (
        ("noisy.png", "there.png", rate, "already exists; --overwrite replaces it"),
        ("noisy.png", "out.pbm", rate, "the result is PNG, so its name must end with .png"),
        ("none.png", "out.png", rate, "no such file"),
        ("broken.png", "out.png", rate, "is not a readable image"),
        ("empty.png", "out.png", rate, "is empty"),
        ("photo.jpg", "out.jpg", rate, "the result is PNG, so its name must end with .png"),
        ("photo.gif", "out.png", rate, "is a GIF file; expected PNG, PBM, TIFF or JPEG"),
        ("noisy.png", "none/out.png", rate, "no such directory"),
        ("noisy.png", "out.png", (), "the noise is not known"),
        ("noisy.png", "out.png", ("--flip-rate", "0.5"), "must be in [0, 0.5)"),
        ("noisy.png", "out.png", ("--channel", folder / "bad.txt"), "row 1 of the channel sums to 1.1"),
        ("noisy.png", "out.png", ("--channel", folder / "near.txt"), "condition number"),
        ("noisy.png", "out.png", ("--channel", folder / "four.txt"), "is a channel of 4 symbols, expected 2"),
        ("noisy.png", "out.png", (*rate, "--channel", folder / "bad.txt"), "give a rate, a channel file or --estimate"),
        ("noisy.png", "out.png", (*rate, "--method", "adaptive"), "needs a model"),
        ("noisy.png", "out.png", (*rate, "--method", "dude", "--model", model), "takes no model"),
        ("noisy.png", "out.png", (*rate, "--model", model, "--context", "4"), "the model has its own context"),
        ("noisy.png", "out.png", (*rate, "--model", folder / "bad.txt"), "is not a model of a denoiser"),
        ("noisy.png", "out.png", (*rate, "--reference", folder / "small.png"), "the reference has the shape (10, 64)"),
        ("noisy.png", "out.png", (*rate, "--report", folder / "r.pdf"), "a report is an .html file"),
        ("noisy.png", "out.png", (*rate, "--threshold", "9"), "is bilevel already; leave the threshold out"),
        ("noisy.png", "out.png", (*rate, "--method", "median", "--context", "4"), "'median' has no context"),
        ("noisy.png", "out.png", (*rate, "--epochs", "4"), "makes no passes over the symbols"),
        ("noisy.png", "out.png", (*rate, "--method", "dud", "--epochs", "4"), "unknown method 'dud'; did you mean"),
        ("deep.png", "out.png", rate, "has the image mode I;16"),
        ("ghost.png", "out.png", rate, "has transparent pixels"),
        ("noisy.png", "clean.png", (*rate, "--reference", folder / "clean.png", "--overwrite"), "is an input"),
    ):
        before = sorted(folder.iterdir())
        outcome = denoise("image", folder / source, folder / place, *options)
        assert outcome.exit_code == 2, (message, outcome.output)
        assert message in outcome.stderr
        assert len(outcome.stderr.strip().splitlines()) == 1
        assert sorted(folder.iterdir()) == before
    assert (bits(folder / "clean.png") == scan[1]).all()
    again = denoise("image", folder / "noisy.png", folder / "there.png", *rate, "--overwrite")
    assert again.exit_code == 0, again.output
    assert (bits(folder / "there.png") != noisy).any()


def test_faults_of_reads_and_text(trained, tmp_path, denoise):
    _, noisy = reads()
    text = fastq(noisy)
    whole = gzip.compress(text.encode())
    (tmp_path / "cut.fastq.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.fastq").write_text(text[:-30])
    (tmp_path / "wrong.fasta").write_text(">one\nACGT\n>two\nACXT\n")
    (tmp_path / "only-n.fasta").write_text(">one\nNNNN\n")
    (tmp_path / "short.fasta").write_text(">one\nACG\n>two\nAC\n")
    (tmp_path / "good.fastq").write_text(text)
    (tmp_path / "letters.txt").write_text("abab\nabcb\n")
    (tmp_path / "floats.npy").write_bytes(b"")
    np.save(tmp_path / "floats.npy", np.zeros(4))
    np.save(tmp_path / "large.npy", np.array([0, 1, 5]))
    np.save(tmp_path / "huge.npy", np.array([0, 1, 10**9]))
    model = trained[1] / "model" / "denoiser.safetensors"
    rate = ("--substitution-rate", "0.05")
    for verb, source, place, options, message in (
        ("dna", "cut.fastq.gz", "out.fastq.gz", rate, "is cut off"),
        ("dna", "cut.fastq", "out.fastq", rate, "cannot be read as FASTA or FASTQ, or is cut off"),
        ("dna", "wrong.fasta", "out.fasta", rate, "two has 'X' at position 3; expected A, C, G, T or N"),
        ("dna", "only-n.fasta", "out.fasta", rate, "holds no bases but N"),
        ("dna", "short.fasta", "out.fasta", (*rate, "--context", "5"), "the longest sequence has 3 symbols"),
        ("dna", "good.fastq", "out.fastq", ("--substitution-rate", "0.8"), "must be in [0, 0.75) for 4 symbols"),
        ("dna", "good.fastq", "out.fastq", (*rate, "--model", model), "was trained for the alphabet black white"),
        ("dna", "good.fastq", "out.fastq", (*rate, "--method", "median"), "a median needs bits"),
        ("dna", "good.fastq", "out.fasta", rate, "the result is FASTQ, as the input"),
        ("symbols", "huge.npy", "out.npy", rate, "alphabets have at most 126 of them"),
        (
            "dna",
            "good.fastq",
            "out.fastq",
            (*rate, "--reference", tmp_path / "short.fasta"),
            "differ in number or length",
        ),
        (
            "symbols",
            "letters.txt",
            "out.txt",
            (*rate, "--alphabet", "ab"),
            "line 2, position 3: 'c' is not in the alphabet",
        ),
        ("symbols", "letters.txt", "out.npy", rate, "has the format of"),
        ("symbols", "floats.npy", "out.npy", rate, "expected whole numbers"),
        ("symbols", "large.npy", "out.npy", (*rate, "--alphabet", "abc"), "symbol 5 at position (2,)"),
    ):
        outcome = denoise(verb, tmp_path / source, tmp_path / place, *options)
        assert outcome.exit_code == 2, (message, outcome.output)
        assert message in outcome.stderr, outcome.stderr
        assert len(outcome.stderr.strip().splitlines()) == 1
        assert not (tmp_path / place).exists()
        assert not list(tmp_path.glob(".*"))


def test_killed_while_writing_leaves_the_old_result(scan, environment, denoise):
    folder, _, noisy = scan
    save(folder / "out.png", noisy)
    before = (folder / "out.png").read_bytes()
    # Killed after the new file was begun and before it has its name.
    code = (
        "import os, signal, sys; from pathlib import Path; import myosotis.engine.files as files; "
        "files.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "from myosotis.cli import main; sys.argv = ['myosotis', *sys.argv[1:]]; main()"
    )
    arguments = ["denoise", "image", folder / "noisy.png", folder / "out.png", "--flip-rate", "0.1", "--overwrite"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (folder / "out.png").read_bytes() == before
    assert list(folder.glob(".out.png.partial-*.png"))
    again = denoise(*arguments[1:])
    assert again.exit_code == 0, again.output
    assert (folder / "out.png").read_bytes() != before
