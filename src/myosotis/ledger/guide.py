"""``VERIFY.md`` of a ledger: how to check it without this package."""

GUIDE = """# How to check this ledger

You need SHA-256 and Ed25519, for example `hashlib` and `cryptography` of Python, and the public key of the operator,
which you should have from the operator and not from this folder.

1. `log.intoto.jsonl` has one line for each thing that happened to the model. A line is a DSSE envelope: `payload` is
   base64 of a statement, `signatures` are Ed25519 signatures, in base64, of the bytes
   `DSSEv1 <length of type> <type> <length of payload> <payload>`, with the lengths in decimal, `payloadType` as the
   type, and single spaces.
2. A statement is in-toto Statement v1. Its `subject` is a model, by the SHA-256 over the SHA-256 of every file in the
   order of their paths, compared part by part; `predicate.files` has these. `predicate.sequence` counts from 0;
   `predicate.previous` is the SHA-256 of the line before without its end of line, null in the first;
   `predicate.ledger` is the same in every line.
3. `predicate.parent` names the line whose model this one began with; the digest there is that of its subject. Null:
   the model began outside this ledger.
4. `head.json` is an envelope too, written as canonical JSON (RFC 8785). `size`, `bytes` and `last` are the number of
   lines, the length of the log, and the SHA-256 of the last line. `root` is the Merkle tree hash of RFC 9162, section
   2.1.1, over the lines: SHA-256 of a zero byte and a line, and SHA-256 of a one byte and two hashes. `frontier` has
   the roots of its complete subtrees, the largest first. `tips` has the newest line of each branch. `guide` is the
   SHA-256 of this file.
5. If there is a folder `timestamps`: `N.tsr` is the response of an authority (RFC 3161) over the bytes of
   `N.head.json`, which was the head of the first N lines:
   `openssl ts -verify -data N.head.json -in N.tsr -CAfile tsa.pem`.
6. `predicate.records.root` is the Merkle tree hash over commitments to the records, in the order of their bytes;
   `commitments` is their number. A receipt has a nonce, an index, a size and a path for each form of its record. The
   commitment is HMAC-SHA256, under the nonce, of `myosotis/v1/record` followed by the SHA-256 of the form: of `file `
   and the bytes of the photo; of `pixels WIDTHxHEIGHT RGB ` and the bytes of its decoded pixels, row by row; or of
   `text ` and the record as JSON by RFC 8785, its texts in Unicode's form C and with single spaces. The path leads from
   it to the root by RFC 9162, section 2.1.3.2. `predicate.records.learned` names roots of earlier lines that had
   learned the records, and `learned` in a receipt is the same proof under one of them.
7. Keep `head.json`. When you come back, the first `size` lines must still have that `root`: lines are added, and
   never changed.

The command `myosotis ledger verify FOLDER --key operator.pub` does all this.

A ledger proves what was claimed, by whom, about which bytes, in which order; not that a network forgot, nor that no
copy exists. An operator can cut or fork it before anybody else has a head, and can lie about training.
"""
