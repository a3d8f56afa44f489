"""The further parts of an audit: membership inference, stress, TOFU, MUSE, lm-eval."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from myosotis.data.encoding import Encoder, Example
from myosotis.data.records import Record, parse_record
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.evaluation.intervals import mean_interval
from myosotis.evaluation.membership import membership_inference
from myosotis.unlearning.language.audit.answers import accuracy_of, answer_metrics, probability_of
from myosotis.unlearning.language.audit.audit import listed_values, read_values, shared_values
from myosotis.unlearning.language.audit.forgotten import Stressed
from myosotis.unlearning.language.audit.harness import evaluate_with_harness
from myosotis.unlearning.language.audit.membership import membership_scores
from myosotis.unlearning.language.audit.muse import knowledge_memorization, privacy_leakage, verbatim_memorization
from myosotis.unlearning.language.audit.over_subjects import units_to_forget
from myosotis.unlearning.language.audit.sets import subjects_of
from myosotis.unlearning.language.audit.stress import (
    quantized,
    relearning_curve,
    reworded_examples,
    split_for_relearning,
)
from myosotis.unlearning.language.audit.tofu import LOG_NAMES, TofuRecord, aggregate_tofu_log, parse_tofu, tofu_log
from myosotis.unlearning.language.job.config import AuditConfig
from myosotis.unlearning.language.job.sources import read_rows

StoredOr = Callable[[str, Callable[[], Any]], Any]
"""Returns the stored measurement of a name, measured first if there is none."""


@dataclass(frozen=True)
class SuiteInputs:
    """The rows of the suites, read and checked."""

    tofu: Mapping[str, Sequence[TofuRecord]] = field(default_factory=dict)
    muse: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)


_MUSE_KEYS = {"verbatim": ("prompt", "gt"), "knowledge": ("question", "answer"), "privacy": ("text",)}


def read_suite_inputs(settings: AuditConfig) -> SuiteInputs:
    """Read the rows that the suites ask for.

    Raises:
        InputError: A source is missing, or a row lacks a key.
    """
    rows = {key: read_rows(source) for key, source in settings.sources.items() if source is not None}
    tofu = {
        key.rpartition(".")[2]: [parse_tofu(row, where) for where, row in entries]
        for key, entries in rows.items()
        if key.startswith("audit.tofu.")
    }
    muse: dict[str, list[Mapping[str, str]]] = {}
    for key, entries in rows.items():
        if key.startswith("audit.muse."):
            part = key.rpartition(".")[2]
            keys = _MUSE_KEYS[part.partition("_")[0]]
            muse[part] = [_strings_of(row, keys, where) for where, row in entries]
    return SuiteInputs(tofu, muse)


def _strings_of(row: Mapping[str, Any], keys: Sequence[str], where: str) -> dict[str, str]:
    for key in keys:
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise InputError(f"{where}: '{key}' must be a non-empty string")
    return {key: row[key] for key in keys}


@dataclass(frozen=True)
class AuditSuites:
    """Measures models by every suite that a configuration asks for.

    Attributes:
        settings: Settings of the suites.
        tokenizer: Tokenizer of the models.
        encoder: Encoder of the records.
        records: The forget records.
        unseen_records: The unseen ones.
        forget: Examples of the forget records.
        retain: The retain records that were held out of the training; all of them if none were.
        unseen: Examples of the unseen records.
        inputs: The suites' own rows.
        seed: Seed of lm-eval.
    """

    settings: AuditConfig
    tokenizer: Any
    encoder: Encoder
    records: Sequence[Record]
    unseen_records: Sequence[Record]
    forget: Sequence[Example]
    retain: Sequence[Example]
    unseen: Sequence[Example]
    inputs: SuiteInputs
    seed: int

    def check(self) -> None:
        """Refuse suites that would fail later.

        Raises:
            InputError: The forget set is too small for a stress test, or its texts cannot be asked for otherwise.
        """
        stress = self.settings.stress
        if stress is not None:
            with settings_as_input("audit.stress"):
                if stress.relearn_steps:
                    split_for_relearning(self.forget, stress.relearn_share)
                if stress.rewording:
                    reworded_examples(self.records, self.encoder)

    def texts(self) -> list[str]:
        """Return every text in the suites' own rows."""
        texts = [text for rows in self.inputs.muse.values() for row in rows for text in row.values()]
        for rows in self.inputs.tofu.values():
            for row in rows:
                texts += [row.question, row.answer, *row.perturbed, row.paraphrased or ""]
        return texts

    def measure(
        self, model: Any, stored_or: StoredOr, *, reference_nll: Sequence[Sequence[float]] | None = None
    ) -> dict[str, Any]:
        """Return the measurements of a model by suite.

        Args:
            model: A causal language model without adapters.
            stored_or: Returns the stored measurement of a suite, or measures it; called once per suite.
            reference_nll: Mean negative log-likelihoods of the forget and the unseen records under a model that never
                saw the forget set, for the membership score that compares with it.
        """
        results: dict[str, Any] = {}
        if self.settings.membership is not None:
            results["membership"] = stored_or("membership", lambda: self._membership(model, reference_nll))
        if self.settings.stress is not None:
            results["stress"] = stored_or("stress", lambda: self._stress(model))
        if self.settings.tofu is not None:
            results["tofu"] = stored_or("tofu", lambda: self._tofu(model))
        if self.settings.muse is not None:
            results["muse"] = stored_or("muse", lambda: self._muse(model))
        if self.settings.harness is not None:
            results["harness"] = stored_or("harness", lambda: self._harness(model))
        return results

    def reference_nll(self, model: Any) -> list[list[float]]:
        """Return the likelihoods under a reference model that :meth:`measure` takes."""
        return [self._answers(model, examples)["nll"].tolist() for examples in (self.forget, self.unseen)]

    def _membership(self, model: Any, reference: Sequence[Sequence[float]] | None) -> dict[str, Any]:
        settings = self.settings.membership
        assert settings is not None  # noqa: S101 - the caller has looked

        def scores(examples: Sequence[Example], nll: Sequence[float] | None) -> dict[str, Tensor]:
            return shared_values(
                len(examples),
                lambda own: membership_scores(
                    model,
                    self.tokenizer,
                    [examples[index] for index in own],
                    scores=settings.scores,
                    reference_nll=None if nll is None else torch.tensor([nll[index] for index in own]),
                    k=settings.k,
                    batch_size=self.settings.batch_size,
                ),
            )

        forget_nll, unseen_nll = (None, None) if reference is None else reference
        sides = scores(self.forget, forget_nll), scores(self.unseen, unseen_nll)
        return {
            name: membership_inference(
                sides[0][name],
                sides[1][name],
                member_groups=subjects_of(self.forget),
                other_groups=subjects_of(self.unseen),
                level=self.settings.confidence,
            ).model_dump()
            for name in sides[0]
        }

    def _stress(self, model: Any) -> dict[str, Any]:
        settings = self.settings.stress
        assert settings is not None  # noqa: S101 - the caller has looked
        forget = self._answers(model, self.forget)
        results: dict[str, Any] = {"as it is": {"forget": self._accuracy(forget, self.forget)}}
        if self.retain:
            results["as it is"]["retain"] = self._accuracy(self._answers(model, self.retain), self.retain)
        results["quantized"] = {}
        # What the verdict compares, record by record.
        values: dict[str, dict[str, list[float | None]]] = {}
        for test, examples in self._reworded().items():
            answers = {split: self._answers(model, rows) for split, rows in examples.items()}
            results.setdefault("reworded", {})[test] = self._accuracy(answers["forget"], examples["forget"])
            values[_reworded_title(test)] = {split: _listed(rows) for split, rows in answers.items()}
        for bits in settings.bits:
            with quantized(model, bits):
                answers = {
                    split: self._answers(model, rows)
                    for split, rows in (("forget", self.forget), ("retain", self.retain), ("unseen", self.unseen))
                    if rows
                }
            results["quantized"][str(bits)] = {
                split: self._accuracy(answers[split], getattr(self, split))
                for split in ("forget", "retain")
                if split in answers
            }
            values[_quantized_title(bits)] = {
                split: _listed(answers[split]) for split in ("forget", "unseen") if split in answers
            }
        results["values"] = values
        if settings.relearn_steps:
            results["relearning"] = asdict(
                relearning_curve(
                    model,
                    self.tokenizer,
                    self.forget,
                    share=settings.relearn_share,
                    steps=settings.relearn_steps,
                    every=settings.relearn_every,
                    learning_rate=settings.relearn_learning_rate,
                )
            )
        return results

    def _reworded(self) -> dict[str, dict[str, list[Example]]]:
        """The forget and the unseen records as somebody asks who does not know how they were learnt, by the change."""
        if self.settings.stress is None or not self.settings.stress.rewording:
            return {}
        unseen = reworded_examples(self.unseen_records, self.encoder)
        return {
            name: {"forget": examples, **({"unseen": unseen[name]} if name in unseen else {})}
            for name, examples in reworded_examples(self.records, self.encoder).items()
        }

    def stressed(self, results: Mapping[str, Mapping[str, Any]]) -> Stressed:
        """Return what the stress tests give the verdict.

        Args:
            results: Measurements of :meth:`measure` by model: ``before``, ``after`` and maybe ``reference``.
        """
        settings = self.settings.stress
        if settings is None or "stress" not in results.get("after", {}):
            return Stressed()
        plain: Mapping[str, Sequence[Example]] = {"forget": self.forget, "unseen": self.unseen}
        asked = {_reworded_title(name): examples for name, examples in self._reworded().items()}
        groups = {
            test: {
                "forget": units_to_forget(examples["forget"], paired="reference" in results)[0],
                "unseen": subjects_of(examples.get("unseen", ())),
            }
            for test, examples in {**asked, **{_quantized_title(bits): plain for bits in settings.bits}}.items()
        }
        by_model = {
            model: {
                test: {split: read_values(row) for split, row in values.items()}
                for test, values in suites["stress"]["values"].items()
            }
            for model, suites in results.items()
        }
        return Stressed(groups, by_model["before"], by_model["after"], by_model.get("reference", {}))

    def _accuracy(self, answers: Mapping[str, Tensor], examples: Sequence[Example]) -> dict[str, Any]:
        """Mean and interval of the accuracy on facts, or on all labelled tokens where no record has facts."""
        return asdict(mean_interval(accuracy_of(answers), subjects_of(examples), level=self.settings.confidence))

    def _answers(self, model: Any, examples: Sequence[Example]) -> dict[str, Tensor]:
        """What a model answers to records, which the processes share."""
        return shared_values(
            len(examples),
            lambda own: answer_metrics(model, [examples[index] for index in own], batch_size=self.settings.batch_size),
        )

    def _tofu(self, model: Any) -> dict[str, Any]:
        settings = self.settings.tofu
        assert settings is not None  # noqa: S101 - the caller has looked
        return {
            LOG_NAMES[part]: tofu_log(
                model,
                self.tokenizer,
                self.encoder,
                records,
                max_new_tokens=settings.max_new_tokens,
                batch_size=self.settings.batch_size,
            )
            for part, records in self.inputs.tofu.items()
        }

    def _muse(self, model: Any) -> dict[str, float]:
        settings = self.settings.muse
        assert settings is not None  # noqa: S101 - the caller has looked
        rows, results = self.inputs.muse, {}
        if "verbatim" in rows:
            passages = rows["verbatim"]
            results["verbatim_memorization"] = verbatim_memorization(
                model, self.tokenizer, [row["prompt"] for row in passages], [row["gt"] for row in passages]
            )
        for part in ("knowledge_forget", "knowledge_retain"):
            if part in rows:
                shown = [(row["question"], row["answer"]) for row in rows.get(f"{part}_shown", ())]
                questions, answers = ([row[key] for row in rows[part]] for key in ("question", "answer"))
                results[part.replace("knowledge", "knowledge_memorization")] = knowledge_memorization(
                    model, self.tokenizer, questions, answers, shown=shown
                )
        means = {name: values.mean().item() for name, values in results.items()}
        if "privacy_forget" in rows:
            plain = replace(self.encoder, append_eos=False)
            scores = [
                membership_scores(
                    model,
                    self.tokenizer,
                    [plain(parse_record(row, part)) for row in rows[part]],
                    scores=("min_k",),
                    k=settings.k,
                    batch_size=self.settings.batch_size,
                )["min_k"]
                for part in ("privacy_forget", "privacy_holdout")
            ]
            means["min_k_auc"] = membership_inference(*scores).auc
        return means

    def _harness(self, model: Any) -> dict[str, dict[str, float]]:
        settings = self.settings.harness
        assert settings is not None  # noqa: S101 - the caller has looked
        return evaluate_with_harness(
            model,
            self.tokenizer,
            settings.tasks,
            include_path=None if settings.include_path is None else Path(settings.include_path),
            limit=settings.limit,
            shots=settings.shots,
            batch_size=settings.batch_size,
            seed=self.seed,
        )

    def summary(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the figures by suite and model; those that compare with the reference where there is one.

        Args:
            results: Measurements of :meth:`measure` by model: ``before``, ``after`` and maybe ``reference``.
        """
        by_suite = {
            suite: {name: suites[suite] for name, suites in results.items()}
            for suite in next(iter(results.values()), {})
        }
        if "tofu" in by_suite and self.settings.tofu is not None:
            logs, mean = by_suite["tofu"], self.settings.tofu.mean
            by_suite["tofu"] = {
                name: aggregate_tofu_log(log, logs.get("reference"), mean=mean) for name, log in logs.items()
            }
        if "stress" in by_suite:
            by_suite["stress"] = {
                name: {key: value for key, value in row.items() if key != "values"}
                for name, row in by_suite["stress"].items()
            }
        retrained = by_suite.get("muse", {}).get("reference", {}).get("min_k_auc", 0.5)
        for values in by_suite.get("muse", {}).values():
            if "min_k_auc" in values and retrained < 1:
                values["privacy_leakage"] = privacy_leakage(values["min_k_auc"], retrained)
        return by_suite


def _listed(answers: Mapping[str, Tensor]) -> list[float | None]:
    return listed_values(probability_of(answers))


def _reworded_title(name: str) -> str:
    return f"reworded ({name})"


def _quantized_title(bits: int) -> str:
    return f"in {bits} bits"
