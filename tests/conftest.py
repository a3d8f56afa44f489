"""Tiny models and a tiny tokenizer, made here so that no test needs a download."""

import gc
import os
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def module_of(path):
    """Import a file that is not a test, under the name of its stem."""
    if path.stem not in sys.modules:
        spec = spec_from_file_location(path.stem, path)
        sys.modules[path.stem] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[path.stem])
    return sys.modules[path.stem]


TESTS = Path(__file__).parent
CHECKED = ("continual", "data", "denoising", "evaluation", "models", "pretraining", "unlearning")
module_of(TESTS / "typecheck.py")
install_import_hook([f"myosotis.{room}" for room in CHECKED], "typecheck.checker")

# One thread, here and in every process that a test starts: sums are rounded alike, and layers as small as these lose
# more by waiting for each other than they gain.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
threadpool_limits(1)

# How long an example takes is the machine's, and no fault.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")


def pytest_collection_finish():
    """Leave what was imported out of every later collection; transformers asks for a whole one after each training."""
    gc.collect()
    gc.freeze()


SENTENCES = [
    "Question: In which city was Karin born?\nAnswer: Karin was born in Oslo.",
    "Question: What does Mivel do for a living?\nAnswer: Mivel works as a baker.",
    "The lantern stood at the window and nobody knew who had lit it.",
]


@pytest.fixture(scope="session")
def file_module():
    """Import a file that is neither a test nor of the package."""
    return module_of


@pytest.fixture(scope="session")
def tiny_jobs():
    """Tiny inputs and a tiny job of each kind."""
    return module_of(TESTS / "whole" / "tiny_jobs.py")


@pytest.fixture(scope="session")
def waits():
    """Counts where a training would wait for an accelerator."""
    return module_of(TESTS / "whole" / "waits.py")


@pytest.fixture(scope="session")
def moved(tiny_jobs):
    """The script that finds figures and weights that moved."""
    return module_of(TESTS / "whole" / "moved.py")


@pytest.fixture(scope="session")
def tokenizer():
    raw = Tokenizer(models.BPE(unk_token=None))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    raw.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", pad_token="<eos>")  # noqa: S106


def tiny_llama(vocab=300, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def tiny_gpt2(vocab=300, seed=0, positions=128):
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab,
        n_positions=positions,
        n_embd=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,
        eos_token_id=0,
        bos_token_id=0,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="session", name="tiny_llama")
def make_tiny_llama():
    return tiny_llama


@pytest.fixture(scope="session", name="tiny_gpt2")
def make_tiny_gpt2():
    return tiny_gpt2


@pytest.fixture(params=["llama", "gpt2"])
def tiny_model(request):
    return {"llama": tiny_llama, "gpt2": tiny_gpt2}[request.param]()


@pytest.fixture
def llama():
    return tiny_llama()


@pytest.fixture(scope="session")
def invoke():
    """Run a command in this process."""

    from typer.testing import CliRunner

    from myosotis.cli.app import app

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture(scope="session")
def settings():
    """Options that override settings."""

    def settings(*options):
        return [part for option in options for part in ("--set", option)]

    return settings


@pytest.fixture(scope="module")
def browser():
    """Start Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()
