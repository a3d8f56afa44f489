"""The model of a run, asked as its records were."""

from pathlib import Path

import torch
import transformers

from myosotis.data.encoding import Encoder
from myosotis.data.records import Record
from myosotis.engine.run import Run
from myosotis.models.causal_lm import open_language_model


class AnsweringPipeline(transformers.TextGenerationPipeline):
    """A text-generation pipeline whose prompts go into the template of a run first; a chat has one already.

    Attributes:
        encoder: How the records of the run were encoded.
    """

    encoder: Encoder

    def preprocess(self, prompt_text: object, *args: object, **options: object) -> dict[str, object]:
        """Return the tokens that stand before an answer."""
        if not isinstance(prompt_text, str):
            given: dict[str, object] = super().preprocess(prompt_text, *args, **options)
            return given
        example = self.encoder(Record(prompt=prompt_text, response="a"))
        ids = torch.tensor([example.input_ids[: example.response_start]])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "prompt_text": prompt_text}


def open_answering(path: Path) -> AnsweringPipeline:
    """Return the pipeline of a run of ``unlearn-language``.

    Raises:
        InputError: The run has no model, or it is damaged.
    """
    plain, data = open_language_model(path / "model"), Run.read(path).settings()["data"]
    pipeline = AnsweringPipeline(model=plain.model, tokenizer=plain.tokenizer)
    pipeline.encoder = Encoder(plain.tokenizer, data["template"], data["max_length"], data["append_eos"])
    return pipeline
