"""``VERIFY.md`` of a ledger: how to check it without this package. Whoever has it alone can write a verifier."""

GUIDE = """# How to check this ledger

You need SHA-256, HMAC, Ed25519 and JSON, for example `hashlib`, `hmac`, `json` and `cryptography` of Python; public
keys of the operator and of auditors, which you should have from them and not from this folder; and patience for 250
lines. This text is of version v0.2 of statements and heads. What it does not allow is refused.

## 1. Bytes

- JSON here is RFC 8785 (canonical): keys sorted by UTF-16 code units, no white space, shortest numbers, UTF-8, no key
  twice. A number that is no double is written as text. Parse, write again, compare: other bytes are refused. So are
  NaN, infinities and lone surrogates.
- In JSON a digest is 64 lower-case hexadecimal digits; inside a hash or an HMAC it is its 32 raw bytes. Base64 is
  that of RFC 4648, section 4, with padding, in its one canonical form.
- A time is RFC 3339 in UTC to the second, of a date that exists and seconds from 00 to 59: `2026-05-04T03:02:01Z`.
- The folder, which itself may be reached by a link, holds regular files and no links: `log.intoto.jsonl`,
  `head.json`, `VERIFY.md`, `keys/NAME.pub`, and where there are any `checkpoint`, `timestamps/N.tsr` and
  `timestamps/N.head.json`; nothing else, but for `.log.intoto.jsonl.lock` and files `.*.partial-*`, which a writer
  leaves for a moment.

## 2. Envelopes

A line of `log.intoto.jsonl` (they end with one line feed each) and the whole of `head.json` (without one) are DSSE
envelopes with exactly these keys and one signature:

    {"payload":BASE64,"payloadType":TYPE,"signatures":[{"keyid":KEYID,"sig":BASE64}]}

TYPE is `application/vnd.in-toto+json` of a line, `application/vnd.myosotis.ledger-head+json` of the head. The
signature is Ed25519 over the bytes `DSSEv1 LEN(TYPE) TYPE LEN(PAYLOAD) PAYLOAD`, with single spaces and lengths in
decimal bytes. KEYID must be that of a key that you trust. A key file in `keys/` is PEM of a SubjectPublicKeyInfo: the
three lines of RFC 7468 with line feeds and nothing else. KEYID is the SHA-256 of the bytes
`{"keytype":"ed25519","keyval":{"public":HEX},"scheme":"ed25519"}`, where HEX are the 32 bytes of the key.

## 3. Statements

A payload of a line is in-toto Statement v1 with exactly the keys `_type` (`https://in-toto.io/Statement/v1`),
`subject`, `predicateType` and `predicate`. `predicateType` is `urn:myosotis:ledger:KIND:v0.2`; KIND is `learn`,
`forget`, `audit`, `destroy` or `release`. `subject` has one entry, `{"name":NAME,"digest":{"sha256":HEX}}`; NAME is
`commitments` of `destroy` and `model` of all others. Keys of `predicate`, of which those with ? may be missing; at
every level no other key is allowed, except inside `verdict`, `request` and `statistics`:

| key | value |
| --- | --- |
| `ledger` | 32 hexadecimal digits, the same in all lines and in the head |
| `sequence` | number of lines before this one |
| `previous` | SHA-256 of the line before, without its line feed; null in the first |
| `branch` | text, not empty |
| `recordedOn` | time, not before that of the line before |
| `parent` | null, or `{"sequence":N,"sha256":HEX}`: the line whose model this one began with or is about |
| `weights` | `{"in":TEXT or null,"out":[TEXT...]}` |
| `files` | SHA-256 of each file of the model, by its path |
| `run` | `name`, `kind`; or null: `method`, `seed`? (number or text), `started`?, `finished`?, `operator`? |
| `evidence` | SHA-256 or null by name; of `learn` and `forget`, `result.json` is there and not null |
| `tool`? | `name`, `version` |
| `config`? | `{"sha256":HEX}` of the run's `config.yaml` |
| `verdict`? | object or null: what the run, or the audit, answered |
| `cost`? | `{"seconds":NUMBER}` |
| `records`? | `count` or null; if committed to, also `scheme` (`myosotis/v2`), `root`, `commitments`, `learned`? |
| `models`? | of `destroy` alone: sequences of lines whose models were destroyed |
| `request`?, `recipient`?, `statistics`? | what the request says, who was given the model, keyed digests of sums |

Rules, each of which a checker applies:

- `sequence` counts from 0, `previous` fits.
- The digest of a model, its subject, is the SHA-256 over the concatenated raw SHA-256 of its files, in the order of
  their paths, split at `/` and compared part by part by code points. If `files` is not empty it must make the
  subject. A model that you have is compared with the tip of the branch that you name, `main` unless you name another:
  its digest is the tip's subject, and if `files` is not empty its files are these and no other. It has no links and
  nothing but regular files in folders; empty folders do not count. Of a run (a folder with `config.yaml`), the model
  is the folder `model` in it.
- `parent.sequence` is smaller than `sequence`, that line is `learn` or `forget`, `parent.sha256` is its subject, and
  `weights.in` is in its `weights.out`. A `destroy` has no parent. An `audit` and a `release` have a parent, and their
  subject is `parent.sha256`.
- The newest line of each branch that is `learn` or `forget` is the branch's tip. The next such line of the branch has
  the tip as parent; the first of a branch has any line, or none. Audits, releases and destructions are tips of
  nothing.
- A line *follows from* another if that one is reached from it by zero or more steps to `parent`; a model follows from
  what the tip that it is compared with follows from.
- `commitments` is at least `count`, which is at least 1, wherever there is a `root`. `records.learned` is a list of
  `{"root":HEX,"count":N}`: each root is `records.root` of an earlier `learn` line that this line follows from, with N
  from 1 to its `count`; the sum of all N is at most the line's own `count`.
- Of `destroy`, `records.root` is the subject; each of `models` is an earlier `learn` or `forget` line.

Lines of v0.1 come before those of v0.2. They differ: `destroy` has one subject for each file, by name and SHA-256,
and no `records`; `audit` may have no parent; `recordedOn` may be up to a day before that of the line before.

## 4. Head

The payload of `head.json` has exactly: `version` (`v0.2`), `ledger`, `size` (number of lines), `bytes` (length of the
log), `last` (SHA-256 of the last line, or null), `root`, `frontier`, `tips`, `guide` (SHA-256 of this file),
`issuedOn` (a time, at most a day before the last `recordedOn`), and `roles`.

- `root` is the Merkle tree hash of RFC 9162, section 2.1.1, over the lines without their line feeds: SHA-256 of a
  zero byte and a line, and SHA-256 of a one byte and two hashes; of no lines, SHA-256 of nothing. `frontier` has the
  roots of the complete subtrees that it consists of, the largest first.
- `tips` has, by branch, `{"sequence":N,"subject":HEX,"weights":[...],"result":HEX}` of its tip: its subject,
  `weights.out`, and `evidence["result.json"]`.
- `roles` has, by KEYID, `{"name":NAME,"role":ROLE}`; ROLE is `operator`, `auditor` or `witness`. NAME has letters,
  digits, `.`, `_` and `-`, and no two keys have one. The files `keys/NAME.pub` are these keys and no other. A key
  that you trust need not be among them; one that has signed must.

**Who may sign.** You decide whose keys you trust as operators' and as auditors'; a head that gives one of them
another role is refused. Operators sign `learn`, `forget`, `destroy` and `release`; auditors sign `audit`. Operators
sign the head; an auditor may sign it only if the last line is the same auditor's. A signature by any other key is
refused. Trust no key in both roles.

A head of v0.1 has no `roles`, and covers no line of v0.2; the roles that you decided hold all the same.

## 5. Records and receipts

`records.root` is the Merkle tree hash over commitments, sorted by their bytes; `records.commitments` is their number.
A receipt is JSON in UTF-8 without a byte-order mark (not canonical, but no key twice) with exactly the keys `scheme`,
`root`, `proofs` (at least one), and where the record had been learned `learned`, with `root`, `proofs` and `scheme`
(that of the receipt if it is missing). Null is as if missing. `scheme` is that of the line with the root. A proof has
exactly `form`, `nonce` (64 hexadecimal digits), `index`, `size` and `path` (digests). Of a proof:

1. content = SHA-256 of the form, below;
2. commitment = HMAC-SHA256 with the nonce as key over `myosotis/v1/record` (in both schemes) and content, without
   anything between;
3. leaf = SHA-256 of a zero byte and commitment; the path leads from it to the root by RFC 9162, section 2.1.3.2;
4. `size` is `records.commitments` of the line with that root.

A receipt holds if one of its proofs does; `learned` likewise. Without `learned` a receipt says less and holds all the
same. The line must be of the kind that you ask for, `forget` unless you ask for another; with a model, the model must
follow from that line; with `learned`, the second line must be `learn`, and its root in `records.learned` of the
first. A line `destroy` commits to files by the form `file`, and no model follows from it.

Forms of scheme `myosotis/v2`:

- `file`: `file ` and the bytes of the file.
- `text`: `text ` and the record as canonical JSON, after every text value (not the keys) was brought to Unicode's
  form C and split at white space (as Python's `str.split()` does) and joined with single spaces. A byte-order mark at
  the start of the file is no part of it. A file `*.jsonl` has a record on each line that is not blank, split at line
  feeds; any other file is one record. What is not JSON, or has a whole number of 2^53 or more in magnitude, a key
  twice or NaN, is no record.
- `pixels`: `pixels N ` (N pages, in decimal) and the 32 bytes of one SHA-256 over all pages one after the other, each
  as `page WIDTHxHEIGHT MODE ` and its pixels, row by row, interleaved. Modes are those of Pillow 12: `L`, `LA`,
  `RGB`, `RGBA` in bytes, `I` as 32-bit and `F` as 32-bit floating numbers, little-endian; `1` is converted to `L`,
  palettes (`P`, `PA`) to `RGBA`, 16-bit grey (`I;16` of any order) to `I`, all others to `RGB`; if alpha is 255
  everywhere, it is left out then. MODE is the mode after that. Nothing is turned by EXIF. What a JPEG decodes to
  depends on the decoder; the form `file` does not.

Scheme `myosotis/v1` has other forms: of `text`, keys are folded too; `pixels` are `pixels WIDTHxHEIGHT RGB ` and the
bytes of the first page as RGB. `file` is the same.

## 6. Time stamps

`timestamps/N.tsr` is the response of an authority (RFC 3161) over the bytes of `timestamps/N.head.json`, the head of
the first N lines: `openssl ts -verify -data N.head.json -in N.tsr -CAfile tsa.pem`. No N is above the head's `size`.
The first N lines say that they were recorded at most 5 minutes after the stamp, the next one at most a day before it.

## 7. Witnesses

`checkpoint` is a C2SP checkpoint (c2sp.org/tlog-checkpoint): a signed note with the origin `myosotis/LEDGER`, the
number of lines, and their root in base64, signed by an operator under the origin as key name. Witnesses cosign it
(c2sp.org/tlog-cosignature, type 4). Its root is that of the first lines. Whoever asks for witnesses wants it to be of
all lines, cosigned by as many of the keys that they name as they decide; one key counts once.

## 8. Coming back

Keep `head.json`. When you come back, the first `size` lines must still have that `frontier`: lines are added, and
never changed.

`myosotis ledger verify FOLDER --key operator.pub --auditor auditor.pub` applies sections 1 to 4, section 5 with
`--record` and `--receipt`, 6 with `--roots`, 7 with `--witness`, 8 with `--since`, and compares a model with
`--model` and `--branch`. Without these options it still looks whether `checkpoint` is of the first lines and no time
stamp of more lines than there are.

A ledger proves what was claimed, by whom, about which bytes, in which order; not that a network forgot, nor that no
copy exists. An operator can cut or fork it before anybody else has a head, or a witness has cosigned it, and can lie
about training.
"""
