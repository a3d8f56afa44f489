"""lm-eval on a tiny local task."""

import json

import pytest
import torch

from myosotis.engine.errors import InputError
from myosotis.unlearning.language.audit.harness import evaluate_with_harness


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [
        {"question": f"Where is number {place}?", "choices": ["Oslo", "Rome"], "answer": place % 2}
        for place in range(6)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "places.yaml").write_text(
        "task: places\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\n"
        "test_split: test\n"
        "output_type: multiple_choice\n"
        "doc_to_text: '{{question}} Answer:'\n"
        "doc_to_choice: choices\n"
        "doc_to_target: answer\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    return tmp_path


def choice(model, tokenizer, question, choices):
    scores = []
    for text in choices:
        head, whole = (
            tokenizer(f"{question} Answer:")["input_ids"],
            tokenizer(f"{question} Answer: {text}")["input_ids"],
        )
        with torch.no_grad():
            log_p = model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
        scores.append(sum(log_p[place - 1, whole[place]].item() for place in range(len(head), len(whole))))
    return max(range(len(choices)), key=lambda place: scores[place])


def test_a_local_task_gives_the_accuracy_that_likelihoods_say(tasks, tokenizer, tiny_llama):
    model = tiny_llama()
    model.train()
    found = evaluate_with_harness(model, tokenizer, ["places"], include_path=tasks, batch_size=2)
    rows = [json.loads(line) for line in (tasks / "rows.jsonl").read_text().splitlines()]
    model.eval()
    right = [choice(model, tokenizer, row["question"], row["choices"]) == row["answer"] for row in rows]
    assert found["places"]["acc"] == pytest.approx(sum(right) / len(right))


def test_unknown_tasks_are_refused(tasks, tokenizer, tiny_llama):
    with pytest.raises(InputError, match="unknown lm-eval task 'plazes'"):
        evaluate_with_harness(tiny_llama(), tokenizer, ["plazes"], include_path=tasks)
