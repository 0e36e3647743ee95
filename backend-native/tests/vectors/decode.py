#!/usr/bin/env python3
"""Reads the stored formats of the native store, independently of its Rust code.

All numbers are big-endian; `expand(key, info)` is HKDF-Expand (RFC 5869) for 32 bytes.

    slot key      32 bytes from a key file, Argon2id (RFC 9106) of a passphrase, or what the
                  shares of slip39.py recover
    root key      in schema 1 the slot key itself, in schema 2 what each slot opens:
    SRP\\1        magic 4, algorithm 1, slot 4 | commitment 32 | nonce 12, X25519 private key 32, tag 16
                  key: expand(slot key, "strongroom v2 slot key"); associated data: these 9 bytes |
                  store id | length of the kind in 4 bytes, kind | parameters
                  commitment: expand(slot key, "strongroom v2 slot commitment" | 9 bytes | store id)
    SRR\\1        magic 4, algorithm 1, slot 4 | public key 32 | nonce 12, root key 32, tag 16
                  key: expand(HMAC(zeros, agreed secret), "strongroom v2 agreed key" | public key |
                  public key of the slot | 9 bytes | store id); associated data: 9 bytes | store id
    SRU\\1        magic 4, algorithm 1, slot 4 | nonce 12, public key of the slot 32, tag 16
                  key: expand(root key, "strongroom v2 public key key" | store id)
    ring key      expand(root key, "strongroom v1 ring key" | store id)
    root check    expand(root key, "strongroom v1 root check" | store id)
    SRK\\1         magic 4, algorithm 1, purpose 1, key id 4 | nonce 12, ciphertext 32, tag 16
                  associated data: these 10 bytes | store id
    SRW\\1 (wrap)  magic 4, algorithm 1, key id 4 | nonce 12, ciphertext 32, tag 16
    SRB\\1 (body)  magic 4, algorithm 1, format 1 | commitment 32 | nonce 12, ciphertext, tag 16
                  associated data of both: the bytes before the first `|`, then
                  store id 16 | secret id 16 | version 8 | created at 8 | path
    body key      expand(data key, "strongroom v1 body key")
    commitment    expand(data key, "strongroom v1 body commitment")
    SRM\\1 (row)   HMAC-SHA-256 over magic 4, table 1, store id 16, then the columns: numbers in 8
                  bytes, bytes behind their length in 8 bytes, what can be NULL behind 0 or 1
    state key     expand(MAC key, "strongroom v2 state key" | store id); of one number:
                  expand(state key, number 8)
    element key   expand(MAC key, "strongroom v2 element key" | store id)
    anchor key    expand(MAC key, "strongroom v2 anchor key" | store id)
    SRS\\1 (state) magic 4, algorithm 1, MAC key id 4 | nonce 12, ciphertext 41, tag 16
                  associated data: these 9 bytes | store id 16 | number 8
                  content: count of secrets 8, flags 1, sum 32
    sum           sum modulo 2^256 of HMAC(element key, MAC of the row) over all secrets
    SRA\\1        magic 4, algorithm 1, MAC key id 4, store id 16, number 8, tag 32, then
    (anchor)      HMAC(anchor key, all before); tag: HMAC(anchor key, SRT\\1 | number | sum | count)

With the arguments `state STORE KEY_FILE ANCHOR` it checks the state of a closed store.
"""

import base64
import hashlib
import hmac
import itertools
import json
import sqlite3
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

import slip39

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
ALGORITHM = 1
KEY_ENCRYPTION, MAC = 1, 2
FORMATS = ["text", "binary", "fields"]


def check(condition, message):
    if not condition:
        raise SystemExit(f"{message} is not what it should be")


def hmac_sha256(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def expand(key, purpose, context=b""):
    return hmac_sha256(key, purpose + context + b"\x01")


def open_sealed(key, header, place, rest):
    return AESGCM(key).decrypt(rest[:12], rest[12:], header + place)


class Store:
    """The keys of one store, opened with its root key."""

    def __init__(self, store_id, root_key, root_check, keyring):
        self.id = store_id
        check(expand(root_key, b"strongroom v1 root check", store_id) == root_check, "root check")
        ring_key = expand(root_key, b"strongroom v1 ring key", store_id)
        self.keys = {key["id"]: self.open_key(ring_key, key) for key in keyring}
        self.mac_key_id = next(key["id"] for key in keyring if key["purpose"] == MAC)
        self.mac_key = self.keys[self.mac_key_id]
        self.keks = {
            key["id"]: self.keys[key["id"]]
            for key in keyring
            if key["purpose"] == KEY_ENCRYPTION
        }
        for key in keyring:
            check(hmac_sha256(self.mac_key, self.key_input(key)) == key["mac"], "MAC of a key")

    def open_key(self, ring_key, key):
        header, rest = key["sealed"][:10], key["sealed"][10:]
        expected = struct.pack(">4sBBI", b"SRK\x01", ALGORITHM, key["purpose"], key["id"])
        check(header == expected, "header of a key")
        return open_sealed(ring_key, header, self.id, rest)

    def key_input(self, key):
        numbers = [key[name] for name in ("id", "purpose", "state", "uses", "created_at")]
        return b"SRM\x01k" + self.id + b"".join(map(number, numbers)) + blob(key["sealed"])

    def verify_slot(self, root_key, slot, public):
        """The slot has the MAC of the store, and its public key is sealed under the root key."""
        header, rest = slot["public_key"][:9], slot["public_key"][9:]
        check(header == slot_header(b"SRU\x01", slot), "header of a public key")
        key = expand(root_key, b"strongroom v2 public key key", self.id)
        check(open_sealed(key, header, self.id, rest) == public, "public key of a slot")
        message = b"".join(
            [b"SRM\x01l", self.id, number(slot["id"]), text(slot["kind"])]
            + [optional(text, slot["label"]), number(slot["created_at"])]
            + [optional(number, slot["opened_at"]), text(slot["parameters"])]
            + [blob(slot[name]) for name in ("private_key", "root_key", "public_key")]
        )
        check(hmac_sha256(self.mac_key, message) == slot["mac"], "MAC of a slot")

    def secret_input(self, row):
        numbers = ("active", "first", "latest", "created_at", "updated_at")
        optional_numbers = ("deleted_at", "expires_at", "rotation_ms")
        return b"".join(
            [b"SRM\x01s", self.id, blob(row["secret_id"])]
            + [number(row[name]) for name in numbers]
            + [optional(number, row[name]) for name in optional_numbers]
            + [text(row[name]) for name in ("kind", "tier")]
            + [optional(text, row[name]) for name in ("description", "tags")]
            + [text(row["path"])]
        )

    def verify_row(self, row):
        check(hmac_sha256(self.mac_key, self.secret_input(row)) == row["mac"], "MAC of a row")

    def open_state(self, number, sealed):
        """The count of secrets, the flags and the sum."""
        header, rest = sealed[:9], sealed[9:]
        check(header == struct.pack(">4sBI", b"SRS\x01", ALGORITHM, self.mac_key_id), "state")
        number = struct.pack(">Q", number)
        state_key = expand(self.mac_key, b"strongroom v2 state key", self.id)
        content = open_sealed(expand(state_key, number), header, self.id + number, rest)
        return struct.unpack(">QB32s", content)

    def sum_of(self, rows):
        element_key = expand(self.mac_key, b"strongroom v2 element key", self.id)
        elements = (hmac_sha256(element_key, row["mac"]) for row in rows)
        total = sum(int.from_bytes(element, "big") for element in elements)
        return (total % 2**256).to_bytes(32, "big")

    def check_anchor(self, anchor, number, count, total):
        anchor_key = expand(self.mac_key, b"strongroom v2 anchor key", self.id)
        tag = struct.pack(">4sQ32sQ", b"SRT\x01", number, total, count)
        expected = struct.pack(">4sBI", b"SRA\x01", ALGORITHM, self.mac_key_id)
        expected += self.id + struct.pack(">Q", number) + hmac_sha256(anchor_key, tag)
        check(anchor == expected + hmac_sha256(anchor_key, expected), "anchor")

    def open_record(self, record, path):
        """The data key, the format and the value of one version."""
        place = self.id + record["secret_id"]
        place += struct.pack(">Qq", record["version"], record["created_at"]) + path.encode()

        header, rest = record["wrap"][:9], record["wrap"][9:]
        magic, algorithm, kek_id = struct.unpack(">4sBI", header)
        check((magic, algorithm) == (b"SRW\x01", ALGORITHM), "header of a wrap")
        data_key = open_sealed(self.keks[kek_id], header, place, rest)

        body = record["body"]
        header, commitment, rest = body[:6], body[6:38], body[38:]
        magic, algorithm, value_format = struct.unpack(">4sBB", header)
        check((magic, algorithm) == (b"SRB\x01", ALGORITHM), "header of a body")
        check(commitment == expand(data_key, b"strongroom v1 body commitment"), "commitment")
        body_key = expand(data_key, b"strongroom v1 body key")
        return data_key, FORMATS[value_format], open_sealed(body_key, header, place, rest)


def slot_header(magic, slot):
    return struct.pack(">4sBI", magic, ALGORITHM, slot["id"])


def open_slot(store_id, slot, slot_key):
    """The root key, and the public key of the slot."""
    header, rest = slot["private_key"][:9], slot["private_key"][9:]
    check(header == slot_header(b"SRP\x01", slot), "header of a private key")
    commitment = expand(slot_key, b"strongroom v2 slot commitment", header + store_id)
    check(rest[:32] == commitment, "commitment of a slot")
    kind = slot["kind"].encode()
    place = store_id + struct.pack(">I", len(kind)) + kind + slot["parameters"].encode()
    key = expand(slot_key, b"strongroom v2 slot key")
    private = X25519PrivateKey.from_private_bytes(open_sealed(key, header, place, rest[32:]))
    public = private.public_key().public_bytes_raw()

    header, once, rest = slot["root_key"][:9], slot["root_key"][9:41], slot["root_key"][41:]
    check(header == slot_header(b"SRR\x01", slot), "header of a sealed root key")
    agreed = hmac_sha256(bytes(32), private.exchange(X25519PublicKey.from_public_bytes(once)))
    context = once + public + header + store_id
    key = expand(agreed, b"strongroom v2 agreed key", context)
    return open_sealed(key, header, store_id, rest), public


def number(value):
    return struct.pack(">q", value)


def blob(value):
    return number(len(value)) + value


def text(value):
    return blob(value.encode())


def optional(encode, value):
    return b"\x00" if value is None else b"\x01" + encode(value)


def argon2id(passphrase, salt, memory_kib, passes, lanes):
    derivation = Argon2id(
        salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory_kib
    )
    return derivation.derive(passphrase.encode())


def unhex(record, *names):
    return record | {name: bytes.fromhex(record[name]) for name in names}


def decode_vectors():
    vectors = json.loads((HERE / "records.json").read_text("utf-8"))
    vectors = unhex(vectors, "store_id", "root_key", "root_check")
    for entry in vectors["passphrases"]:
        entry = unhex(entry, "salt", "root_check")
        parameters = (entry[name] for name in ("salt", "memory_kib", "passes", "lanes"))
        root_key = argon2id(entry["passphrase"], *parameters)
        root_check = expand(root_key, b"strongroom v1 root check", vectors["store_id"])
        check(root_check == entry["root_check"], "root check of a passphrase")
    print(f"passphrases: {len(vectors['passphrases'])}")

    keyring = [unhex(key, "sealed", "mac", "mac_input", "key") for key in vectors["keyring"]]
    store = Store(vectors["store_id"], vectors["root_key"], vectors["root_check"], keyring)
    for key in keyring:
        check(store.keys[key["id"]] == key["key"], "key")
        check(store.key_input(key) == key["mac_input"], "MAC input of a key")
    for row in vectors["secrets"]:
        row = unhex(row, "secret_id", "mac", "mac_input")
        check(store.secret_input(row) == row["mac_input"], "MAC input of a row")
        store.verify_row(row)
    for record in vectors["records"]:
        record = unhex(record, "secret_id", "data_key", "wrap", "body", "value")
        opened = store.open_record(record, record["path"])
        check(opened == (record["data_key"], record["format"], record["value"]), record["name"])
    return len(keyring), len(vectors["secrets"]), len(vectors["records"])


def key_of(store, parameters):
    """The key in the store's key file, or that of its passphrase."""
    if "key_file" in store:
        return base64.b64decode((GOLDEN / store["key_file"]).read_bytes().strip(), validate=True)
    if "shares" in store:
        return key_of_shares(store["shares"], parameters)
    names = ("salt", "memory_kib", "passes", "lanes")
    return argon2id(store["passphrase"], *(parameters[name] for name in names))


def key_of_shares(shares, parameters):
    """The key that every subset of as many shares as are needed recovers."""
    check(len(shares) == parameters["shares"], "number of shares")
    keys = set()
    for subset in itertools.combinations(shares, parameters["threshold"]):
        identifier, key = slip39.recover(subset)
        check(identifier == parameters["identifier"], "identifier of the shares")
        keys.add(key)
    (key,) = keys
    return key


def root_key_of(store, row):
    """The root key of a store of schema 1."""
    return key_of(store, {name.removeprefix("argon2_"): row[name] for name in row.keys()})


def root_of_slots(store, row, slots):
    """The root key of a store of schema 2, which all of its slots open; and their public keys."""
    roots, publics = set(), []
    for slot, opener in zip(slots, store["slots"], strict=True):
        parameters = json.loads(slot["parameters"])
        if "salt" in parameters:
            parameters["salt"] = base64.b64decode(parameters["salt"], validate=True)
        root, public = open_slot(row["store_id"], slot, key_of(opener, parameters))
        roots.add(root)
        publics.append(public)
    (root,) = roots
    return root, publics


def open_database(path):
    # Immutable: nothing is created beside the file.
    database = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
    database.row_factory = sqlite3.Row
    return database


def decode_state(path, key_file, anchor):
    database = open_database(path)
    (row,) = database.execute("SELECT * FROM store")
    slot_key = base64.b64decode(key_file.read_bytes().strip(), validate=True)
    (slot,) = database.execute("SELECT * FROM slots")
    root_key, _ = open_slot(row["store_id"], slot, slot_key)
    keyring = [dict(key) for key in database.execute("SELECT * FROM keyring")]
    opened = Store(row["store_id"], root_key, row["root_check"], keyring)
    rows = [dict(secret) for secret in database.execute("SELECT * FROM secrets")]
    for secret in rows:
        opened.verify_row(secret)
    (state,) = database.execute("SELECT * FROM state")
    database.close()
    count, flags, total = opened.open_state(state["number"], state["sealed"])
    check(count == len(rows), "count of secrets")
    check(total == opened.sum_of(rows), "sum of the state")
    opened.check_anchor(anchor.read_bytes(), state["number"], count, total)
    return state["number"], count, flags


def decode_golden(store, secrets):
    database = open_database(GOLDEN / store["file"])
    (row,) = database.execute("SELECT * FROM store")
    keyring = [dict(key) for key in database.execute("SELECT * FROM keyring")]
    if "slots" in store:
        slots = [dict(slot) for slot in database.execute("SELECT * FROM slots ORDER BY id")]
        root_key, publics = root_of_slots(store, row, slots)
        opened = Store(row["store_id"], root_key, row["root_check"], keyring)
        for slot, public in zip(slots, publics):
            opened.verify_slot(root_key, slot, public)
        (state,) = database.execute("SELECT * FROM state")
        count, _, total = opened.open_state(state["number"], state["sealed"])
        rows = database.execute("SELECT mac FROM secrets").fetchall()
        check((count, total) == (len(rows), opened.sum_of(rows)), "state")
    else:
        opened = Store(row["store_id"], root_key_of(store, row), row["root_check"], keyring)

    rows = [dict(secret) for secret in database.execute("SELECT * FROM secrets ORDER BY path")]
    values = 0
    check(len(rows) == len(secrets), "number of secrets")
    for row, secret in zip(rows, secrets):
        opened.verify_row(row)
        for name in ("path", "active", "kind", "tier", "description", "expires_at", "rotation_ms"):
            check(row[name] == secret[name], f"{name} of {secret['path']}")
        check((row["deleted_at"] is not None) == secret["deleted"], "deletion")
        check(json.loads(row["tags"] or "{}") == secret["tags"], "tags")
        versions = database.execute(
            "SELECT * FROM versions WHERE secret_id = ? ORDER BY version", [row["secret_id"]]
        ).fetchall()
        check(len(versions) == len(secret["versions"]), "number of versions")
        for version, expected in zip(versions, secret["versions"]):
            _, value_format, value = opened.open_record(version, row["path"])
            found = {"format": value_format, "value": value.hex()}
            check(found == expected, f"a value of {row['path']}")
            values += 1
    database.close()
    return len(keyring), len(rows), values


def main():
    if sys.argv[1:2] == ["state"]:
        paths = (Path(argument).resolve() for argument in sys.argv[2:])
        print("state {}: {} secrets, flags {}".format(*decode_state(*paths)))
        return
    # The counts are part of the answer: nothing read would be nothing checked.
    print("records.json: {} keys, {} rows, {} values".format(*decode_vectors()))
    golden = json.loads((GOLDEN / "store-v1.json").read_text("utf-8"))
    later = json.loads((GOLDEN / "store-v2.json").read_text("utf-8"))
    for store in golden["stores"] + later["stores"]:
        counts = decode_golden(store, golden["secrets"])
        print("{}: {} keys, {} rows, {} values".format(store["file"], *counts))


if __name__ == "__main__":
    main()
