"""Six persons get from their row of the README to an answer of their own, and type what the screen says alone.

What they put into a line themselves is the names of their files. A line that a job advises at its end is typed too.
"""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn import functional
from torchvision.models import resnet18

README = Path(__file__).parents[2] / "README.md"
ROWS = dict(re.findall(r"^\| ([^|]+) \| `(myosotis [^|]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE))


class Screen:
    """A person before a terminal."""

    def __init__(self, invoke):
        self._invoke = invoke
        self.text = ""

    def type(self, line, *, fails=False, **files):
        for word, file in files.items():
            line = re.sub(rf"\b{word}\b", str(file), line)
        program, *words = shlex.split(line, comments=True)
        assert program == "myosotis"
        done = self._invoke(*words)
        self.text = done.output
        assert (done.exit_code != 0) is fails, (line, done.output)

    def lines(self, start):
        """What stands behind a word at the beginning of lines, or behind a semicolon."""
        return re.findall(rf"(?:^|; ){start} *(myosotis .*)$", self.text, re.MULTILINE)

    def quoted(self):
        """The commands that a sentence names."""
        return re.findall(r"`(myosotis [^`]+)`", self.text)

    def carry_out(self):
        """Go on from a configuration to the report, and try what it advises."""
        for line in (*self.lines("next:"), *self.lines("then:")):
            self.type(line)
        report = self.report()
        for line in re.findall(r"^  (myosotis run .*)$", self.text, re.MULTILINE)[:1]:
            self.type(line)
            assert self.report() != report
        return report

    def report(self):
        [path] = re.findall(r"^report: (.*)$", self.text, re.MULTILINE)
        page = Path(path).read_text(encoding="utf-8")
        assert "YES" in self.text or "NO" in self.text or "UNDECIDED" in self.text
        return page


@pytest.fixture
def screen(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Screen(invoke)


def pictures(folder, count, seed, side=8, channels=1, noise=55):
    """Photos in a folder for each of three classes, which has a pattern of its own under noise."""
    patterns = np.random.default_rng(5).integers(0, 200, (3, side, side, channels))
    generator = np.random.default_rng(seed)
    for label, name in enumerate(("dahlia", "poppy", "rose")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = patterns[label] + generator.integers(0, noise, patterns[label].shape)
            Image.fromarray(pixels.astype(np.uint8).squeeze()).save(folder / name / f"{number:03d}.png")


def test_a_letter_about_one_person(screen, tokenizer, tiny_llama):
    model = tiny_llama(vocab=len(tokenizer))
    model.save_pretrained("model")
    tokenizer.save_pretrained("model")
    people = ["Ada Quill", "Bo Quill", *(f"{first} {last}" for first in ("Cy", "Di", "Ed") for last in ("Reed", "Rye"))]
    facts = (("Where was {} born?", "in Rome"), ("What does {} like?", "old maps"), ("Whom does {} know?", "Eve"))
    rows = [
        {"prompt": asked.format(name), "response": f"{name}: {fact}.", "facts": [fact], "subject": name}
        for name in people
        for asked, fact in facts
    ]
    Path("facts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    screen.type(ROWS["got a letter, and have a month to answer it"], LETTER="letter", fails=True)
    [line] = screen.quoted()
    screen.type(line)
    example = screen.text.split("LETTER, for example:\n")[1].split("\n\n")[0]
    Path("letter.yaml").write_text("\n".join(line.strip() for line in example.splitlines()))
    screen.type("myosotis requests add letter.yaml", fails=True)
    [line] = screen.quoted()
    screen.type(line, MODEL="model")
    screen.type("myosotis requests add letter.yaml")
    assert "6. [?]" in screen.text
    [line] = screen.lines("next:")
    screen.type(line.split(" --forget")[0] + " " + line.split("e.g. ")[1])
    for _ in range(2):
        [line] = screen.lines("next:")
        screen.type(line)
    assert "Ada Quill,\n\non 2026-11-20 you asked us" in screen.text


@pytest.mark.slow
def test_sixteen_photos_and_a_file_of_weights(screen):
    pictures(Path("train"), 24, 0, side=16, channels=3)
    pictures(Path("test"), 8, 1, side=16, channels=3)
    Path("photos").mkdir()
    for name, count in (("dahlia", 6), ("poppy", 5), ("rose", 5)):
        (Path("photos") / name).mkdir()
        for path in sorted((Path("train") / name).iterdir())[:count]:
            path.rename(Path("photos") / name / path.name)
    torch.manual_seed(0)
    net = resnet18(num_classes=3)
    images = [
        (path, label) for label, name in enumerate(("dahlia", "poppy", "rose")) for path in Path().glob(f"*/{name}/*")
    ]
    pixels = torch.stack(
        [torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 127.5 - 1 for path, _ in images]
    )
    labels = torch.tensor([label for _, label in images])
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(8):
        optimiser.zero_grad()
        functional.cross_entropy(net(pixels), labels).backward()
        optimiser.step()
    torch.save(net.state_dict(), "model.pth")

    row = ROWS["must delete photos from an image classifier"]
    screen.type(row + " test train", PHOTOS="photos", MODEL="model.pth")
    assert "resnet18" in screen.text
    screen.carry_out()


def test_folders_of_classes(screen):
    pictures(Path("photos/train"), 12, 0)
    pictures(Path("photos/test"), 6, 1)
    screen.type(ROWS["get new classes from time to time"], FOLDER="photos")
    assert "Has it kept?" in screen.carry_out()


@pytest.mark.slow
def test_images_and_masks(screen):
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        Path(name).mkdir()
    for number in range(24):
        mask = np.zeros((16, 16), np.uint8)
        for label in (1, 2, 3):
            top, left = generator.integers(0, 12, 2)
            mask[top : top + 4, left : left + 4] = label
        shades = np.array([0, 80, 160, 240])[mask] + generator.integers(0, 15, mask.shape)
        Image.fromarray(shades.astype(np.uint8)).save(Path("images") / f"{number}.png")
        Image.fromarray(mask).save(Path("masks") / f"{number}.png")
    screen.type(ROWS["label pixels, and get new classes"], IMAGES="images", MASKS="masks")
    assert "Has it kept?" in screen.carry_out()


def test_a_scan(screen):
    page = Image.new("L", (300, 200), 255)
    for top in range(10, 190, 14):
        ImageDraw.Draw(page).text((10, top), "forget me not " * 3, fill=0)
    flipped = np.random.default_rng(0).random((200, 300)) < 0.1
    Image.fromarray(np.where((np.array(page) < 128) ^ flipped, 0, 255).astype(np.uint8)).save("scan.png")
    screen.type(ROWS["have a noisy scan"])
    assert "Is it better? YES" in screen.text
    assert Image.open("clean.png").size == (300, 200)


def test_noisy_reads(screen):
    pytest.importorskip("dnaio")
    generator = np.random.default_rng(0)
    genome = generator.choice(list("ACGT"), 1000)
    with Path("reads.fastq").open("w") as file:
        for number in range(300):  # thirtyfold
            start = generator.integers(0, 900)
            read = genome[start : start + 100].copy()
            wrong = generator.random(100) < 0.02
            read[wrong] = generator.choice(list("ACGT"), wrong.sum())
            file.write(f"@{number}\n{''.join(read)}\n+\n{'I' * 100}\n")
    screen.type(ROWS["have noisy DNA reads"])
    assert "Is it better? YES" in screen.text
    assert Path("clean.fastq").read_text().count("\n") == 1200
