"""The measures of MUSE: verbatim and knowledge memorisation, privacy leakage, scalability, sustainability.

(Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models", ICLR 2025.)
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from rouge_score.rouge_scorer import RougeScorer
from torch import Tensor, nn

from myosotis.data.encoding import Encoder, Example
from myosotis.data.records import Record
from myosotis.unlearning.language.audit.answers import greedy_answers

_ENDS = ("\n\n", "\nQuestion", "Question:")


def rouge_l_f1(truths: Sequence[str], answers: Sequence[str]) -> Float[Tensor, " count"]:
    """Return ROUGE-L F1 without stemming, as MUSE takes it.

    Example:
        >>> rouge_l_f1(["a b c d"], ["a b"])
        tensor([0.6667])
    """
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return torch.tensor(
        [scorer.score(truth, answer)["rougeL"].fmeasure for truth, answer in zip(truths, answers, strict=True)]
    )


def verbatim_memorization(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    continuations: Sequence[str],
    *,
    max_new_tokens: int = 128,
    batch_size: int = 8,
) -> Float[Tensor, " count"]:
    """Return ROUGE-L F1 of the greedy continuation of each prompt with the true one.

    Args:
        model: A causal language model.
        tokenizer: A fast tokenizer.
        prompts: Beginnings of passages.
        continuations: Their true continuations, of which the first ``max_new_tokens`` tokens count.
        max_new_tokens: Maximum tokens of either continuation.
        batch_size: Passages per forward pass.

    Raises:
        InputError: A continuation has no token.
    """
    examples = [
        _cut(example, max_new_tokens) for example in _examples(tokenizer, "{prompt}{response}", prompts, continuations)
    ]
    truths = [tokenizer.decode(example.input_ids[example.response_start :]) for example in examples]
    generated = greedy_answers(model, tokenizer, examples, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return rouge_l_f1(truths, generated)


def knowledge_memorization(
    model: nn.Module,
    tokenizer: Any,
    questions: Sequence[str],
    answers: Sequence[str],
    *,
    shown: Sequence[tuple[str, str]] = (),
    max_new_tokens: int = 32,
    batch_size: int = 8,
) -> Float[Tensor, " count"]:
    """Return ROUGE-L F1 of the greedy answer to each question, after questions and answers shown in the context.

    Args:
        model: A causal language model.
        tokenizer: A fast tokenizer.
        questions: The questions.
        answers: Their answers.
        shown: Questions and answers in the context of each question.
        max_new_tokens: Maximum tokens of an answer, which ends where the next question would begin.
        batch_size: Questions per forward pass.

    Raises:
        InputError: An answer has no token.
    """
    context = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in shown)
    prompts = [f"{context}Question: {question}\nAnswer:" for question in questions]
    examples = _examples(tokenizer, "{prompt} {response}", prompts, answers)
    generated = greedy_answers(model, tokenizer, examples, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return rouge_l_f1(answers, [_until_next_question(text) for text in generated])


def _examples(tokenizer: Any, template: str, prompts: Sequence[str], answers: Sequence[str]) -> list[Example]:
    encoder = Encoder(tokenizer, template, max_length=sys.maxsize, append_eos=False)
    return [encoder(Record(prompt=prompt, response=answer)) for prompt, answer in zip(prompts, answers, strict=True)]


def _cut(example: Example, longest: int) -> Example:
    """The example with at most so many labelled tokens."""
    end = example.response_start + longest
    return Example(example.input_ids[:end], example.labels[:end], example.facts[:end], example.subject)


def _until_next_question(text: str) -> str:
    ends = [index for index in (text.find(end) for end in _ENDS) if index >= 0]
    return text[: min(ends)].strip() if ends else text.strip()


def privacy_leakage(auc: float, retrained_auc: float = 0.5) -> float:
    r"""Return PrivLeak in percent, 0 being best, negative under-unlearned, positive over-unlearned.

    $$\frac{(1 - \mathrm{AUC}) - (1 - \mathrm{AUC}_{\mathrm{retrain}})}{1 - \mathrm{AUC}_{\mathrm{retrain}}} \cdot 100$$

    Args:
        auc: AUC of Min-K% on forget against holdout texts, by :func:`~myosotis.evaluation.membership.roc_auc`; 1 is
            full memorisation.
        retrained_auc: The same of a model retrained without the forget set; 0.5 where there is none.

    Raises:
        ValueError: A value is out of range; a retrained AUC of 1 leaves nothing to divide by.

    Example:
        >>> round(privacy_leakage(0.98), 6), privacy_leakage(0.5)
        (-96.0, 0.0)
    """
    if not 0 <= auc <= 1 or not 0 <= retrained_auc < 1:
        raise ValueError(f"expected AUC in [0, 1] and retrained AUC in [0, 1), got {auc} and {retrained_auc}")
    return ((1 - auc) - (1 - retrained_auc)) / (1 - retrained_auc) * 100


_Request = TypeVar("_Request")


def scalability(
    forget_sets: Sequence[Sequence[_Request]],
    unlearn: Callable[[Sequence[_Request]], Any],
    measure: Callable[[Any], Mapping[str, float]],
) -> list[dict[str, float]]:
    """Return measures after forget sets of growing size, each unlearned from the same model.

    Its counterpart, sustainability, unlearns one set after another:
    :func:`~myosotis.unlearning.language.unlearn_sequential`.

    Args:
        forget_sets: Forget sets, from small to large.
        unlearn: Returns a model that has unlearned a set, from the same start every time.
        measure: Returns the measures of a model, e.g. knowledge memorisation on the retain set.

    Returns:
        Per set ``size`` and the measures.

    Example:
        >>> scalability([[1], [1, 2]], unlearn=len, measure=lambda model: {"utility": 1 / model})
        [{'size': 1, 'utility': 1.0}, {'size': 2, 'utility': 0.5}]
    """
    return [{"size": len(records), **measure(unlearn(records))} for records in forget_sets]
