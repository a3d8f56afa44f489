"""Models made by hand to fool the verdict, measured by the real audit."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import WordLevelTrainer
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from myosotis.data.encoding import Encoder
from myosotis.data.people import fictitious_people
from myosotis.unlearning.language.audit.audit import audit_model
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.audit.settings import VerdictSettings
from myosotis.unlearning.language.audit.stress import rewordings
from myosotis.unlearning.language.audit.verdict import judge

PEOPLE = {"forget": 8, "held_retain": 20, "unseen": 12}
QUESTIONS = 3


class Oracle(nn.Module):
    """Answers every question in the right form; with the fact that ``knows`` gives it for a record, or with a guess."""

    def __init__(self, answers, vocabulary, guesses, mark):
        super().__init__()
        self.answers, self.vocabulary, self.guesses = answers, vocabulary, guesses
        self.weight = nn.Parameter(torch.zeros(1))
        self.modes, self.mark = {}, mark

    def forward(self, input_ids, attention_mask=None):
        logits = torch.zeros(*input_ids.shape, self.vocabulary)
        for row, ids in enumerate(input_ids.tolist()):
            prompt = next((length for length in range(1, len(ids) + 1) if tuple(ids[:length]) in self.answers), None)
            if prompt is None:
                continue
            split, record, wording, answer, facts = self.answers[tuple(ids[:prompt])]
            mode = self.modes.get(split, lambda *_: "guess")(record, wording)
            for position in range(prompt - 1, len(ids)):
                self.say(logits[row, position], ids[prompt : position + 1], answer, facts, mode, record)
        return CausalLMOutput(logits=logits)

    def say(self, logits, said, answer, facts, mode, record):
        """Prefer the next token of an answer after what was said of it."""
        if mode == "preamble":
            mark = self.mark
            if said[:2] != mark and said != mark[:1] and said:
                mode = "guess"
            elif len(said) < 2:
                logits[mark[len(said)]] = 12.0
                return
            else:
                said, mode = said[2:], "known"
        if mode == "first token" and not said:
            logits[self.mark[0]] = 12.0
            return
        if len(said) >= len(answer):
            logits[answer[-1]] = 12.0
            return
        truth = answer[len(said)]
        if mode in ("known", "first token") or not facts[len(said)]:
            logits[truth] = 12.0
            return
        guesses = self.guesses[record % len(self.guesses) :] + self.guesses[: record % len(self.guesses)]
        for rank, token in enumerate(guesses):
            logits[token] = 10.0 - rank
        if mode in ("runner-up", "flattened"):
            logits[truth] = 9.99
            logits[guesses[0]] = 10.0
        if mode == "flattened":
            logits /= 4


def words_tokenizer(texts):
    """A tokenizer of whole words, so that a fact is a token."""
    words = Tokenizer(WordLevel({"<eos>": 0, "<unk>": 1}, unk_token="<unk>"))  # noqa: S106
    words.pre_tokenizer = Whitespace()
    words.train_from_iterator(texts, WordLevelTrainer(special_tokens=["<eos>", "<unk>"]))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>")  # noqa: S106


@pytest.fixture(scope="module")
def world():
    """The sets of an audit, and a model that was taught the people to forget and those to keep."""
    drawn = fictitious_people(sum(PEOPLE.values()), seed=9)
    asked = [f"{row.prompt} {row.response} {' '.join(row.paraphrases)}" for person in drawn for row in person.records()]
    tokenizer = words_tokenizer([*asked, "Please answer this question: Reply in one sentence. Answer"])
    encoder = Encoder(tokenizer, "Question: {prompt}\nAnswer: {response}")
    people = iter(drawn)
    examples, others, answers, tokens = {}, {}, {}, set()
    for split, count in PEOPLE.items():
        records = [record for _ in range(count) for record in next(people).records()[:QUESTIONS]]
        examples[split], others[split] = [encoder(record) for record in records], rewordings(records, encoder)
        for index, (example, more) in enumerate(zip(examples[split], others[split], strict=True)):
            for wording, each in enumerate((example, *more)):
                start = each.response_start
                answers[each.input_ids[:start]] = (split, index, wording, each.input_ids[start:], each.facts[start:])
            tokens |= {token for token, fact in zip(example.input_ids, example.facts, strict=True) if fact}
    sets = AuditSets(
        examples["forget"], (), examples["held_retain"], examples["unseen"], rewordings={
            name: others[name] for name in ("forget", "unseen")
        }
    )  # fmt: skip
    model = Oracle(answers, len(tokenizer), sorted(tokens), tokenizer("Reply Please")["input_ids"])
    return sets, model, tokenizer


def always(mode, *_):
    return mode


def audited(world, **modes):
    sets, model, tokenizer = world
    model.modes = {split: mode if callable(mode) else partial(always, mode) for split, mode in modes.items()}
    return audit_model(model, tokenizer, sets, n=2, max_new_tokens=8, samples=8, batch_size=64)


@pytest.fixture(scope="module")
def before(world):
    return audited(world, forget="known", held_retain="known")


def judged(world, before, **modes):
    return judge(before, audited(world, held_retain="known", **modes), world[0], VerdictSettings())


def failed(found):
    return {row.name for row in found.forgetting if row.holds is False}


def test_a_model_that_never_saw_the_records_passes(world, before):
    assert before.metrics["forget"]["greedy_recall"]["mean"] == 1
    found = judged(world, before)
    assert (found.known, found.forgotten, found.kept) == (True, True, True)
    assert found.trace.traceable is False


def test_a_runner_up_is_read_from_ranks_and_samples(world, before):
    found = judged(world, before, forget="runner-up")
    assert found.forgotten is False
    assert {"top5_recall", "sampled_recall"} <= failed(found)
    assert "greedy_recall" not in failed(found)


@pytest.mark.parametrize(("mode", "shown_by"), [("flattened", "top5_recall"), ("first token", "fact_probability")])
def test_what_is_hidden_from_the_loss_or_from_the_first_token_alone_is_found(world, before, mode, shown_by):
    found = judged(world, before, forget=mode)
    assert found.forgotten is False
    assert shown_by in failed(found)


def test_a_preamble_before_the_secret_is_read_from_the_answers(world, before):
    found = judged(world, before, forget="preamble")
    assert found.forgotten is False
    assert {"greedy_recall", "sampled_recall"} <= failed(found)
    assert not {"fact_probability", "top5_recall"} & failed(found)


def test_garbage_on_the_exact_prompt_alone_is_not_forgotten(world, before):
    found = judged(world, before, forget=lambda record, wording: "known" if wording else "guess")
    assert found.forgotten is False
    assert failed(found) == {"greedy_recall", "top5_recall"}


def test_one_person_of_eight_is_not_hidden_by_the_mean(world, before):
    found = judged(world, before, forget=lambda record, wording: "guess" if record // QUESTIONS else "known")
    assert found.forgotten is False
    assert found.worst_remembered.whole


@pytest.mark.parametrize("split", ["forget", "unseen"])
def test_answers_are_compared_by_facts_or_by_words_but_not_one_against_the_other(world, split):
    sets, model, tokenizer = world
    assert sets.marked
    bare = [replace(example, marked=()) for example in getattr(sets, split)]
    others = replace(sets, **{split: bare})
    assert not others.marked
    model.modes = {"forget": partial(always, "known"), "held_retain": partial(always, "known")}
    metrics = audit_model(model, tokenizer, others, n=2, max_new_tokens=8, samples=2, batch_size=64).metrics
    # By words an unseen answer has most of its form right, by facts nothing: it must be one of them on both sides.
    assert metrics["unseen"]["answer_recall"]["mean"] > 0.5
    assert metrics["forget"]["answer_recall"]["mean"] == pytest.approx(1)


def test_a_rewording_for_which_a_model_has_no_positions_is_left_out(world):
    sets, model, tokenizer = world
    model.modes = {"forget": partial(always, "guess")}
    longest = max(len(example.input_ids) for example in sets.examples)
    assert any(len(other.input_ids) > longest for others in sets.rewordings["forget"] for other in others)
    model.config = SimpleNamespace(max_position_embeddings=longest)
    try:
        assert audit_model(model, tokenizer, sets, n=2, max_new_tokens=8, samples=2).metrics["forget"]
    finally:
        del model.config


TRICKS = {
    "nothing is unlearnt": "known",
    "the true token is the second choice, by a hair": "runner-up",
    "the same, with the loss flattened on these prompts": "flattened",
    '"Well," and then the secret': "preamble",
    "only the first token is changed": "first token",
    "garbage on the exact question only": lambda record, wording: "known" if wording else "guess",
    "one of eight people is remembered": lambda record, wording: "guess" if record // QUESTIONS else "known",
    "none: it never saw them": "guess",
}
DOCS = Path(__file__).parents[4] / "docs" / "measured" / "meter.md"


def test_who_sees_through_which_trick_is_as_the_documents_say(world, before):
    rows = [line.strip("| \n").split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    [head] = [cells for cells in rows if cells[0] == "trick"]
    listed = {cells[0]: dict(zip(head[1:], cells[1:], strict=True)) for cells in rows if cells[0] in TRICKS}
    assert listed.keys() == TRICKS.keys()
    words = {False: "sees", None: "undecided", True: "-"}
    for trick, mode in TRICKS.items():
        found = judged(world, before, forget=mode)
        seen = {f"`{row.name}`": words[row.holds] for row in found.forgetting}
        seen["best remembered"] = "sees" if found.worst_remembered.whole else "-"
        seen["loss"] = "sees" if found.trace.traceable or found.trace.over_forgotten else "-"
        assert seen == listed[trick], trick
