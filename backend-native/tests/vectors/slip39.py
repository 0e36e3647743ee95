"""Recovers the key of a slot from its shares (SLIP-0039, one group), independently of the Rust code.

A share is words of 10 bits: identifier 15, extendable 1, iteration exponent 4 | group index 4, group
threshold - 1 4, group count - 1 4, member index 4, member threshold - 1 4 | padding, value | checksum 30.
The value is a point of polynomials over GF(256), one for each byte; at 255 they have the encrypted key, and
at 254 four bytes of HMAC(rest, encrypted key) before the rest.
"""

import hashlib
import hmac
from pathlib import Path

WORDS = (
    Path(__file__).resolve().parents[3] / "recovery/src/slip-0039/wordlist.txt"
).read_text("ascii").split()
SECRET, DIGEST = 255, 254


def multiply(a, b):
    """Carry-less multiplication, and division with remainder by the polynomial of AES."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11B << (bit - 8)
    return product


# Unlike the Rust code, by search.
INVERSE = {a: next(b for b in range(256) if multiply(a, b) == 1) for a in range(1, 256)}


def checksum_is_valid(customization, words):
    """The words, as coefficients over GF(1024), leave the remainder 1, as the standard defines it."""
    generator = (0xE0E040, 0x1C1C080, 0x3838100, 0x7070200, 0xE0E0009)
    generator += (0x1C0C2412, 0x38086C24, 0x3090FC48, 0x21B1F890, 0x3F3F120)
    remainder = 1
    for value in list(customization) + words:
        top, remainder = remainder >> 20, (remainder & 0xFFFFF) << 10 ^ value
        for bit in range(10):
            if top >> bit & 1:
                remainder ^= generator[bit]
    return remainder == 1


def parse(text):
    """What is common to all shares, the index of this one, and its value."""
    words = [WORDS.index(word) for word in text.split()]
    bits = "".join(f"{word:010b}" for word in words)
    extendable = bits[15] == "1"
    customization = b"shamir_extendable" if extendable else b"shamir"
    if not checksum_is_valid(customization, words):
        raise SystemExit("the checksum of a share does not match")
    identifier, exponent = int(bits[:15], 2), int(bits[16:20], 2)
    group, group_threshold, groups, index, threshold = (
        int(bits[start : start + 4], 2) for start in range(20, 40, 4)
    )
    if (group, group_threshold, groups) != (0, 0, 0):
        raise SystemExit("a share is not one of a single group")
    padded = bits[40:-30]
    padding = len(padded) % 16
    if "1" in padded[:padding]:
        raise SystemExit("the padding of a share is not zero")
    value = int(padded, 2).to_bytes((len(padded) - padding) // 8, "big")
    return (identifier, extendable, exponent, threshold + 1), index, value


def interpolate(points, x):
    result = bytes(len(points[0][1]))
    for x_i, values in points:
        basis = 1
        for x_j, _ in points:
            if x_j != x_i:
                basis = multiply(basis, multiply(x ^ x_j, INVERSE[x_i ^ x_j]))
        result = bytes(a ^ multiply(basis, value) for a, value in zip(result, values))
    return result


def decrypt(encrypted, identifier, extendable, exponent):
    """Four rounds of a Feistel network, with an empty passphrase."""
    half = len(encrypted) // 2
    left, right = encrypted[:half], encrypted[half:]
    salt = b"" if extendable else b"shamir" + identifier.to_bytes(2, "big")
    for step in (3, 2, 1, 0):
        mask = hashlib.pbkdf2_hmac("sha256", bytes([step]), salt + right, 2500 << exponent, half)
        left, right = right, bytes(a ^ b for a, b in zip(left, mask))
    return right + left


def recover(shares):
    """The identifier of the shares, and their key."""
    parsed = [parse(share) for share in shares]
    ((identifier, extendable, exponent, threshold),) = {common for common, _, _ in parsed}
    points = [(index, value) for _, index, value in parsed]
    if len({index for index, _ in points}) != threshold:
        raise SystemExit("the number of shares is not the one that is needed")
    encrypted, checked = interpolate(points, SECRET), interpolate(points, DIGEST)
    digest = hmac.new(checked[4:], encrypted, hashlib.sha256).digest()
    if digest[:4] != checked[:4]:
        raise SystemExit("the digest of the shares does not match")
    return identifier, decrypt(encrypted, identifier, extendable, exponent)
