"""An independent verifier: sections 1 to 5 of VERIFY.md, written from that text alone, without importing the package.

Where `myosotis ledger verify` and this disagree, one of three is wrong: the program, this, or VERIFY.md.
"""

import argparse
import base64
import hashlib
import hmac
import io
import json
import re
import stat
import sys
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace as Line
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from PIL import Image, ImageSequence

FAULTS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    RecursionError,
    OverflowError,
    InvalidSignature,
    UnsupportedAlgorithm,
)
FOLDER = (
    r"log\.intoto\.jsonl|head\.json|VERIFY\.md|checkpoint|keys/[^/]+\.pub|timestamps/[0-9]+\.(tsr|head\.json)"
    r"|\.log\.intoto\.jsonl\.lock|((keys|timestamps)/)?\.[^/]*\.partial-[^/]*"
)
LINE, HEAD = "application/vnd.in-toto+json", "application/vnd.myosotis.ledger-head+json"

# Shapes: a regular expression for text; [of entries]; {of keys}, where "*" is any key and those with ? may be missing;
# (alternatives); a whole number for whole numbers from it on; a type; None.
TEXT, HEX, TIME, SCHEME = "(?s:.*)", "[0-9a-f]{64}", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "myosotis/v[12]"
ENVELOPE = {"payload": TEXT, "payloadType": TEXT, "signatures": [{"keyid": HEX, "sig": TEXT}]}
PREDICATE = {
    "ledger": "[0-9a-f]{32}",
    "sequence": 0,
    "previous": (None, HEX),
    "branch": TEXT,
    "recordedOn": TIME,
    "parent": (None, {"sequence": 0, "sha256": HEX}),
    "weights": {"in": (None, TEXT), "out": [TEXT]},
    "files": {"*": HEX},
    "evidence": {"*": (None, HEX)},
    "tool?": {"name": TEXT, "version": TEXT},
    "run": {
        "name": TEXT,
        "kind": TEXT,
        "method": (None, TEXT),
        "seed?": object,
        "started?": object,
        "finished?": object,
        "operator?": object,
    },
    "config?": {"sha256": HEX},
    "verdict?": (None, dict),
    "cost?": {"seconds": (0, float)},
    "records?": (
        {"count": (None, 0)},
        {"count": 1, "scheme": SCHEME, "root": HEX, "commitments": 1, "learned?": [{"root": HEX, "count": 1}]},
    ),
    "models?": [0],
    "request?": object,
    "recipient?": object,
    "statistics?": object,
}
STATEMENT = {
    "_type": r"https://in-toto\.io/Statement/v1",
    "subject": [{"name": TEXT, "digest": {"sha256": HEX}}],
    "predicateType": r"urn:myosotis:ledger:(learn|forget|audit|destroy|release):v0\.[12]",
    "predicate": PREDICATE,
}
OLD_HEAD = {
    "version": r"v0\.1",
    "ledger": "[0-9a-f]{32}",
    "size": 0,
    "bytes": 0,
    "last": (None, HEX),
    "root": HEX,
    "frontier": [HEX],
    "guide": HEX,
    "issuedOn": TIME,
    "tips": {"*": {"sequence": 0, "subject": HEX, "weights": [TEXT], "result": HEX}},
}
ROLES = {"*": {"name": "[A-Za-z0-9][A-Za-z0-9._-]*", "role": "operator|auditor|witness"}}
PROOF = {"form": "file|text|pixels", "nonce": HEX, "index": 0, "size": 1, "path": [HEX]}
LEARNED = {"scheme": SCHEME, "root": HEX, "proofs": [PROOF]}


class RefusedError(Exception):
    """The first fault."""


def need(condition: object, fault: str) -> None:
    if not condition:
        raise RefusedError(fault)


def fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, str):
        return isinstance(value, str) and re.fullmatch(shape, value, re.ASCII) is not None
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(one, shape[0]) for one in value)
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and {key for key in shape if key[-1] not in "?*"} <= set(value)
            and all(fits(value[key], shape.get(key, shape.get(f"{key}?", shape.get("*", ())))) for key in value)
        )
    if isinstance(shape, int):
        return type(value) is int and value >= shape
    return value is None if shape is None else isinstance(value, shape)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(value: Any) -> str:
    """Canonical JSON; its numbers are as ECMAScript writes them."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{write(key)}:{write(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    if value is None or isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if 1e-6 <= abs(value) < 1e21:
        return f"{Decimal(repr(float(value))):f}".removesuffix(".0")
    return re.sub("e([+-])0", r"e\1", repr(float(value))) if value else "0"


def read(data: bytes, what: str, shape: Any = object, canonical: bool = False) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), f"{what}: a key twice")
        return dict(pairs)

    value = json.loads(data.decode(), object_pairs_hook=once, parse_constant=lambda name: need(False, f"{what}: NaN"))
    need(not canonical or write(value).encode() == data, f"{what}: not canonical JSON")
    need(fits(value, shape), f"{what}: keys or values that are not allowed")
    return value


def files_of(folder: Path) -> dict[str, Path]:
    """The files by path; what is neither file nor folder, and an empty folder, is refused."""
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        mode = entry.lstat().st_mode
        inner = {f"/{path}": file for path, file in files_of(entry).items()} if stat.S_ISDIR(mode) else {"": entry}
        need(stat.S_ISREG(mode) or stat.S_ISDIR(mode), f"{entry}: a link or a device")
        found |= {entry.name + path: file for path, file in inner.items()}
    return found


def load_key(file: Path) -> tuple[str, Any]:
    key: Any = load_pem_public_key(Path(file).read_bytes())
    public = key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    need(len(public) == 64 and hasattr(key, "verify"), f"{file}: not an Ed25519 key")
    return sha(write({"keytype": "ed25519", "keyval": {"public": public}, "scheme": "ed25519"}).encode()), key


def open_envelope(data: bytes, what: str, kind: str, shape: Any, keys: dict[str, Any]) -> tuple[Any, str]:
    """The payload, and the KEYID of who signed it."""
    envelope = read(data, what, ENVELOPE, canonical=True)
    need(envelope["payloadType"] == kind and len(envelope["signatures"]) == 1, f"{what}: type or signatures")
    texts = [envelope["payload"], envelope["signatures"][0]["sig"]]
    payload, signature = (base64.b64decode(text, validate=True) for text in texts)
    need([base64.b64encode(one).decode() for one in (payload, signature)] == texts, f"{what}: base64 is not canonical")
    keyid = envelope["signatures"][0]["keyid"]
    need(keyid in keys, f"{what}: signed by a key that is not trusted")
    keys[keyid].verify(signature, f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    return read(payload, what, shape, canonical=True), keyid


def model_digest(files: dict[str, str]) -> str:
    return sha(b"".join(bytes.fromhex(files[path]) for path in sorted(files, key=lambda path: path.split("/"))))


def tree(leaves: list[bytes]) -> str:
    if len(leaves) < 2:
        return sha(b"\0" + leaves[0] if leaves else b"")
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1" + bytes.fromhex(tree(leaves[:half]) + tree(leaves[half:])))


def frontier(leaves: list[bytes]) -> list[str]:
    size = 1 << len(leaves).bit_length() >> 1
    return [tree(leaves[:size]), *frontier(leaves[size:])] if leaves else []


def follows(lines: list[Line], number: int | None) -> Iterator[Line]:
    """A line and those that it follows from."""
    while number is not None:
        yield lines[number]
        number = lines[number].parent and lines[number].parent["sequence"]


def check_line(data: bytes, lines: list[Line], tips: dict[str, Line], operators: Any, auditors: Any) -> Line:
    number, at, last = len(lines), f"line {len(lines)}", lines[-1] if lines else None
    says, signer = open_envelope(data, at, LINE, STATEMENT, operators | auditors)
    kind, version = says["predicateType"].split(":")[3:]
    line = Line(
        **{"records": {}, "models": []} | says["predicate"],
        data=data,
        signer=signer,
        kind=kind,
        subject=None,
        old=version == "v0.1",
        is_run=kind in ("learn", "forget"),
    )
    subjects, records, when = says["subject"], line.records, datetime.fromisoformat(line.recordedOn)
    need(signer in (auditors if kind == "audit" else operators), f"{at}: signed by a key of another role")
    need(line.sequence == number and line.previous == (sha(last.data) if last else None), f"{at}: sequence or previous")
    if last:
        need(last.old or not line.old, f"{at}: v0.1 after v0.2")
        need(when >= datetime.fromisoformat(last.recordedOn) - timedelta(days=line.old), f"{at}: recordedOn")
    if line.old and kind == "destroy":
        need(subjects and "records" not in says["predicate"], f"{at}: subject or records")
    else:
        line.subject = subjects[0]["digest"]["sha256"]
        need([one["name"] for one in subjects] == ["commitments" if kind == "destroy" else "model"], f"{at}: subject")
        need(not line.files or model_digest(line.files) == line.subject, f"{at}: files do not make the subject")
        need(kind != "destroy" or records.get("root") == line.subject, f"{at}: records.root is not the subject")
    if line.parent:
        need(kind != "destroy" and line.parent["sequence"] < number, f"{at}: parent")
        parent = lines[line.parent["sequence"]]
        need(parent.is_run and parent.subject == line.parent["sha256"], f"{at}: parent is another model")
        need(line.weights["in"] in parent.weights["out"], f"{at}: weights.in")
        need(line.is_run or line.subject == parent.subject, f"{at}: subject is not that of the parent")
    need(line.parent or (kind != "release" and (kind != "audit" or line.old)), f"{at}: no parent")
    if line.is_run:
        tip = tips.get(line.branch)
        need(not tip or (line.parent and line.parent["sequence"] == tip.sequence), f"{at}: parent is not the tip")
        need(line.evidence.get("result.json"), f"{at}: no result.json")
        tips[line.branch] = line
    need("models" not in says["predicate"] or kind == "destroy", f"{at}: models")
    need(all(one < number and lines[one].is_run for one in line.models), f"{at}: models")
    need("root" not in records or records["commitments"] >= records["count"], f"{at}: fewer commitments than records")
    before = [one.records for one in follows(lines, line.parent and line.parent["sequence"]) if one.kind == "learn"]
    learned = records.get("learned", [])
    need(
        all(any(one["root"] == old.get("root") and one["count"] <= old["count"] for old in before) for one in learned)
        and sum(one["count"] for one in learned) <= (records["count"] if learned else 0),
        f"{at}: records.learned",
    )
    return line


def check_ledger(files: dict[str, Path], operators: Any, auditors: Any) -> tuple[list[Line], dict[str, Line]]:
    """The lines, and the tips."""
    head, signer = open_envelope(
        files["head.json"].read_bytes(),
        "head",
        HEAD,
        (OLD_HEAD, OLD_HEAD | {"version": r"v0\.2", "roles": ROLES}),
        operators | auditors,
    )
    log, lines, tips = files["log.intoto.jsonl"].read_bytes(), [], {}
    need(len(log) == head["bytes"] and log[-1:] in (b"", b"\n"), "the log has another length or end")
    data = log.split(b"\n")[:-1]
    for one in data:
        lines.append(check_line(one, lines, tips, operators, auditors))
    says = {
        branch: {
            "sequence": tip.sequence,
            "subject": tip.subject,
            "weights": tip.weights["out"],
            "result": tip.evidence["result.json"],
        }
        for branch, tip in tips.items()
    }
    need(all(line.ledger == head["ledger"] for line in lines), "a line is of another ledger than the head")
    need(head["size"] == len(lines) and head["last"] == (sha(data[-1]) if data else None), "head: size or last")
    need(head["root"] == tree(data) and head["frontier"] == frontier(data), "head: root or frontier")
    need(head["tips"] == says, "head: tips")
    need(head["guide"] == sha(files["VERIFY.md"].read_bytes()), "head: guide")
    times = [datetime.fromisoformat(time) for time in (head["issuedOn"], *(line.recordedOn for line in lines[-1:]))]
    need(times[0] >= times[-1] - timedelta(days=1), "head: issuedOn is before the last line")
    need(signer in operators or (lines and lines[-1].signer == signer), "head: signed by another auditor")
    loaded = {path: load_key(file) for path, file in files.items() if path.startswith("keys/") and path[5] != "."}
    need(
        all(
            files[path].read_bytes() == key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            for path, (_, key) in loaded.items()
        ),
        "keys/: not the plain PEM of a key",
    )
    if "roles" in head:
        roles = head["roles"]
        named = {f"keys/{role['name']}.pub": keyid for keyid, role in roles.items()}
        need({path: keyid for path, (keyid, _) in loaded.items()} == named, "keys/ are not the keys of roles")
        need(len(named) == len(roles), "head: two keys of one name")
        need({signer, *(line.signer for line in lines)} <= set(roles), "head: a key that signed is not in roles")
        for trusted, role in ((operators, "operator"), (auditors, "auditor")):
            need(all(roles[one]["role"] == role for one in trusted if one in roles), "head: role of a trusted key")
    need("roles" in head or all(line.old for line in lines), "head of v0.1 over lines of v0.2")
    return lines, tips


def fold(value: Any, keys: bool) -> Any:
    """A record as the form `text` wants it."""
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFC", value).split())
    if isinstance(value, list):
        return [fold(one, keys) for one in value]
    if isinstance(value, dict):
        folded = {fold(key, keys) if keys else key: fold(one, keys) for key, one in value.items()}
        need(len(folded) == len(value), "a key twice")
        return folded
    need(type(value) is not int or abs(value) <= 2**53, "a whole number beyond 2^53")
    need(type(value) is not float or abs(value) < float("inf"), "an infinite number")
    return value


def contents(record: bytes, form: str, old: bool) -> Iterator[bytes]:
    """What a record's file is in a form; of JSON lines, each line."""
    if form == "file":
        yield b"file " + record
    elif form == "text":
        text = record.removeprefix(b"\xef\xbb\xbf")
        for one in (text, *text.split(b"\n")):
            try:
                yield b"text " + write(fold(read(one, "record"), old)).encode()
            except (*FAULTS, RefusedError):
                continue
    elif old:
        page = Image.open(io.BytesIO(record)).convert("RGB")
        yield f"pixels {page.width}x{page.height} RGB ".encode() + page.tobytes()
    else:
        pages = []
        for frame in ImageSequence.Iterator(Image.open(io.BytesIO(record))):
            mode = {"1": "L", "P": "RGBA", "PA": "RGBA"}.get(frame.mode, re.sub("^I;16.*", "I", frame.mode))
            page = frame.convert(mode if mode in ("L", "LA", "RGB", "RGBA", "I", "F") else "RGB")
            if page.mode in ("LA", "RGBA") and page.getchannel("A").getextrema() == (255, 255):
                page = page.convert(page.mode[:-1])
            pages.append(f"page {page.width}x{page.height} {page.mode} ".encode() + page.tobytes())
        yield f"pixels {len(pages)} ".encode() + hashlib.sha256(b"".join(pages)).digest()


def climb(node: str, index: int, size: int, path: list[str]) -> str:
    """The root to which a path leads from a leaf; nothing if it has another length than it should."""
    if size == 1 or not path or index >= size:
        return node if size == 1 and not path and not index else ""
    half = 1 << (size - 1).bit_length() - 1
    left = index < half
    below = climb(node, index, half, path[:-1]) if left else climb(node, index - half, size - half, path[:-1])
    return below and sha(b"\1" + bytes.fromhex(below + path[-1] if left else path[-1] + below))


def proved(part: dict[str, Any], kind: str, lines: list[Line], record: bytes) -> list[Line]:
    """The lines of that kind of which one of the proofs holds."""
    found = []
    for proof in part["proofs"]:
        for content in contents(record, proof["form"], part["scheme"] == "myosotis/v1"):
            message = b"myosotis/v1/record" + hashlib.sha256(content).digest()
            leaf = sha(b"\0" + hmac.digest(bytes.fromhex(proof["nonce"]), message, "sha256"))
            if climb(leaf, proof["index"], proof["size"], proof["path"]) == part["root"]:
                found += [
                    line
                    for line in lines
                    if line.kind == kind
                    and (kind != "destroy" or proof["form"] == "file")
                    and [line.records.get(key) for key in ("root", "scheme", "commitments")]
                    == [part["root"], part["scheme"], proof["size"]]
                ]
    return found


def check(
    folder: Any,
    operators: Any,
    auditors: Any,
    model: Any = None,
    branch: str = "main",
    record: Any = None,
    receipt: Any = None,
    kind: str = "forget",
) -> None:
    """Raise RefusedError with the first fault; operators and auditors are lists of paths of PEM files."""
    try:
        files = files_of(Path(folder))
        need(all(fits(path, FOLDER) for path in files), "the folder holds a file that it should not")
        lines, tips = check_ledger(files, dict(map(load_key, operators)), dict(map(load_key, auditors)))
        before = lines
        if model:
            is_run = (Path(model) / "config.yaml").is_file()
            models = files_of(Path(model) / "model" if is_run else Path(model))
            digests = {path: sha(file.read_bytes()) for path, file in models.items()}
            need(branch in tips and model_digest(digests) == tips[branch].subject, "the model is not the branch's tip")
            need(tips[branch].files in ({}, digests), "the model has other files")
            before = list(follows(lines, tips[branch].sequence))
        if receipt:
            claim = read(Path(receipt).read_bytes(), "receipt", LEARNED | {"learned?": object})
            if claim.get("learned") is None:
                claim.pop("learned", None)
            else:
                claim["learned"] = {"scheme": claim["scheme"]} | claim["learned"]
                need(fits(claim["learned"], LEARNED), "receipt: learned")
            data = Path(record).read_bytes()
            found = proved(claim, kind, before, data)
            need(found, f"the receipt holds for no line `{kind}`, or for none from which the model follows")
            roots = {one["root"] for line in found for one in line.records.get("learned", [])}
            need(
                "learned" not in claim
                or any(line.records["root"] in roots for line in proved(claim["learned"], "learn", lines, data)),
                "the receipt does not prove that the record was learned",
            )
    except FAULTS as fault:
        raise RefusedError(f"{type(fault).__name__}: {fault}".replace("\n", " ")) from fault


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--key", dest="operators", action="append", required=True)
    parser.add_argument("--auditor", dest="auditors", action="append", default=[])
    for option in ("model", "record", "receipt"):
        parser.add_argument(f"--{option}")
    parser.add_argument("--branch", default="main")
    parser.add_argument("--kind", default="forget")
    try:
        check(**vars(parser.parse_args()))
    except RefusedError as fault:
        print(fault)
        return 1
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
