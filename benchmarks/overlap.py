"""Whether what `myosotis check` measures tells beforehand which retained records and images unlearning harms.

Language: SmolLM2-135M is taught 28 fictitious people. Two facts of four of them are forgotten by gradient ascent or the
inverted hinge loss, without anything that protects the rest. The retained records ask in three wordings, so that some
have the form of a record to forget, some that of its answer, and some neither; ten texts are not taught at all. Images:
a small network learns 1,000 handwritten digits, and forgets ten of them by methods that read these alone.

Prints the rank correlation of each measure with the increase of the loss, over retained records, with an interval by
the bootstrap over subjects, and over images with the standard error of the mean over seeds.

    python benchmarks/overlap.py language --seed 0
    python benchmarks/overlap.py images
"""

import argparse
import copy
import random
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from myosotis.data.encoding import Encoder, pad_examples, pad_token_id
from myosotis.data.forms import shared_forms
from myosotis.data.people import fictitious_people
from myosotis.data.records import read_jsonl
from myosotis.data.sources import SourceConfig, read_images
from myosotis.evaluation.cka import layer_features
from myosotis.evaluation.overlap import feature_overlap
from myosotis.models.causal_lm import load_causal_lm
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.unlearning.classifier import UnlearnSettings, unlearn_instances
from myosotis.unlearning.classifier.training import TrainSettings, train_classifier
from myosotis.unlearning.language import gradient_ascent_loss, inverted_hinge_loss
from myosotis.unlearning.language.job.config import FineTuneConfig
from myosotis.unlearning.language.job.fine_tuning import fine_tune
from myosotis.unlearning.language.job.overlap import response_states

GENERAL = Path(__file__).parents[1] / "examples" / "data" / "general.jsonl"
TEXTS = 10
RISE = 2.0  # of the loss on what is to be forgotten, at which unlearning stops
STEPS = 60
IMAGE_METHODS = (("neggrad", "misclassify", 1e-4), ("relabel", "relabel", 1e-3), ("adv_imp", "misclassify", 1e-3))
LANGUAGE_METHODS = {"gradient ascent": (gradient_ascent_loss, 1e-5), "inverted hinge": (inverted_hinge_loss, 2e-5)}


def language(seed):
    draw = random.Random(seed)
    people = fictitious_people(28, 1000 + seed)
    forget = [record for person in people[:4] for record in person.records()[:2]]
    retain = [
        replace(record, prompt=draw.choice([record.prompt, *record.paraphrases[:2]]))
        for person in people[4:]
        for record in person.records()
    ]
    taught = len(forget) + len(retain)
    texts = read_jsonl(GENERAL)[:TEXTS]
    retain += [replace(text, subject=f"text {number}") for number, text in enumerate(texts)]
    shared = shared_forms(forget, retain)
    level = np.array([2 * (i in shared.retain) + (i in shared.partly) for i in range(len(retain))])

    model, tokenizer = load_causal_lm("smollm2-135m")
    encoder = Encoder(tokenizer, "Question: {prompt}\nAnswer: {response}", 128)
    own, others = ([encoder(record) for record in records] for records in (forget, retain))
    block, pad_id = model.config.num_hidden_layers // 2, pad_token_id(tokenizer)
    subjects = [record.subject for record in retain]

    def activations():
        with torch.autocast("cpu", torch.bfloat16):
            states = [response_states(model, rows, block, pad_id=pad_id) for rows in (own, others)]
        nearest = feature_overlap(states[1], states[0]).forget
        return {"mean cosine": feature_overlap(*states).retained, "nearest cosine": nearest}

    measures = {"form: same 2, partly 1": level}
    measures |= {f"{name}, before teaching": value for name, value in activations().items()}
    settings = FineTuneConfig(epochs=6, batch_size=16, learning_rate=2e-4, precision="bf16")
    with tempfile.TemporaryDirectory() as folder:
        fine_tune(model, tokenizer, [*own, *others][:taught], settings, seed=seed, directory=Path(folder))
    measures |= {f"{name}, taught": value for name, value in activations().items()}
    before, first = losses(model, others, pad_id), losses(model, own, pad_id).mean()
    weights = copy.deepcopy(model.state_dict())
    batch = pad_examples(own, pad_id)
    for name, (loss_of, rate) in LANGUAGE_METHODS.items():
        model.load_state_dict(weights)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
        steps = 0
        while steps < STEPS and losses(model, own, pad_id).mean() < first + RISE:
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
            optimizer.zero_grad()
            loss_of(logits, batch["labels"]).backward()
            optimizer.step()
            steps += 1
        harm = losses(model, others, pad_id) - before
        rise = losses(model, own, pad_id).mean() - first
        print(f"\n{name}, seed {seed}: {steps} steps, loss on the forget set {rise:+.2f}")
        names = {2: "the same form", 1: "partly", 0: "neither"}
        for value, what in names.items():
            people_only = (level == value) & (np.arange(len(retain)) < len(retain) - TEXTS)
            print(f"  {what}: {people_only.sum()} records, loss {harm[people_only].mean():+.2f}")
        print(f"  texts: {harm[-TEXTS:].mean():+.2f}")
        for what, values in measures.items():
            rho, low, high = correlation(np.asarray(values, dtype=float), harm, subjects)
            print(f"  {what}: {rho:+.2f} ({low:+.2f} to {high:+.2f})")
            within = level == 0
            rho, low, high = correlation(np.asarray(values)[within], harm[within], np.array(subjects)[within].tolist())
            print(f"    where no form is shared: {rho:+.2f} ({low:+.2f} to {high:+.2f})")


def losses(model, examples, pad_id):
    """Mean loss of each example's labelled tokens."""
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids))
    values = np.zeros(len(examples))
    for begin in range(0, len(order), 16):
        rows = order[begin : begin + 16]
        batch = pad_examples([examples[row] for row in rows], pad_id)
        labels = batch.pop("labels")[:, 1:]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = model(**batch).logits[:, :-1].float()
        each = functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
        values[rows] = (each.sum(1) / (labels >= 0).sum(1)).numpy()
    return values


def correlation(values, harm, subjects, resamples=1000):
    """Spearman's correlation, and its 95 % interval by resampling subjects."""
    if np.ptp(values) == 0:
        return (np.nan,) * 3
    rows = defaultdict(list)
    for row, subject in enumerate(subjects):
        rows[subject].append(row)
    stream, groups = np.random.default_rng(0), list(rows.values())
    drawn = []
    for _ in range(resamples):
        chosen = np.concatenate([groups[index] for index in stream.integers(len(groups), size=len(groups))])
        if np.ptp(values[chosen]) > 0:
            drawn.append(spearmanr(values[chosen], harm[chosen]).statistic)
    return spearmanr(values, harm).statistic, *np.percentile(drawn, [2.5, 97.5])


def images(seeds, count=10):
    digits = read_images(SourceConfig(packaged="digits"))
    table = defaultdict(list)
    for seed in range(seeds):
        order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))[:1000].tolist()
        learned = digits.subset(order)
        spec = ClassifierSpec("small-resnet", 10, 1, (0.3,), (0.37,), {"widths": [16, 32], "blocks": [1, 1]})
        model = build_classifier(spec, seed=seed)
        settings = TrainSettings(epochs=12, batch_size=64)
        train_classifier(model, learned.images, learned.labels, settings, seed=seed)
        model.eval()
        pixels, labels = learned.pixels(), learned.labels
        own, own_labels, rest, rest_labels = pixels[:count], labels[:count], pixels[count:], labels[count:]
        layer = "classifier.stages.1"
        features = layer_features(model, pixels, [layer])[layer]
        with torch.no_grad():
            before = functional.cross_entropy(model(rest), rest_labels, reduction="none")
        measures = {
            "images of its class to forget": torch.bincount(own_labels, minlength=10)[rest_labels].float(),
            "nearest cosine": feature_overlap(features[count:], features[:count]).forget,
            "mean cosine": feature_overlap(features[:count], features[count:]).retained,
            "loss before": before,
        }
        for name, goal, rate in IMAGE_METHODS:
            chosen = UnlearnSettings(learning_rate=rate, epochs=60)
            result = unlearn_instances(model, (own, own_labels), goal, name, settings=chosen, seed=seed)
            with torch.no_grad():
                harm = functional.cross_entropy(result.model(rest), rest_labels, reduction="none") - before
            for what, values in measures.items():
                within = [
                    spearmanr(values[rest_labels == label], harm[rest_labels == label]).statistic
                    for label in range(10)
                    if values[rest_labels == label].std() > 0
                ]
                whole = spearmanr(values, harm).statistic
                table[name, what].append((whole, np.mean(within) if within else np.nan))
    print("| method | measure | over all images | within a class |\n| --- | --- | --- | --- |")
    for (name, what), rows in table.items():
        means, errors = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / len(rows) ** 0.5
        pairs = zip(means, errors, strict=True)
        cells = ["-" if np.isnan(mean) else f"{mean:+.2f} ± {error:.2f}" for mean, error in pairs]
        print(f"| {name} | {what} | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["language", "images"])
    parser.add_argument("--seed", type=int, default=0, help="seed of the people")
    parser.add_argument("--seeds", type=int, default=6, help="number of networks")
    arguments = parser.parse_args()
    language(arguments.seed) if arguments.kind == "language" else images(arguments.seeds)
