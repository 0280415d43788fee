"""What libsodium makes of pseudorandom inputs, as digests; see scripts/judge-libsodium.

The input of case n of a class is the stream SHA-512("farlan judge 1 " + class + " " + le64(n) + le64(0)), then with
le64(1), and so on; each case takes from it what it needs. The outputs of a class are hashed in ten parts of 10,000 cases, each
to a SHA-512 of which the first 32 bytes are printed. Nothing of farlan is used.
"""

import ctypes
import hashlib
import struct

sodium = ctypes.CDLL("libsodium.so.23")
assert sodium.sodium_init() >= 0

PARTS = 10
PART = 10_000
REFUSED = b"refused"

# The order of the group, by which a lax verification would let S be changed; and points that give zero, as X25519 has them, and
# second encodings.
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
POINTS = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    PRIME - 1,
    PRIME,
    PRIME + 1,
    PRIME + 2,
    PRIME + 9,
    PRIME + 18,
    2**255 + 9,
    9,
    2,
    3,
    4,
    5,
]


class Inputs:
    def __init__(self, name, number):
        self.prefix = b"farlan judge 1 " + name.encode() + b" " + struct.pack("<Q", number)
        self.block = 0
        self.bytes = b""

    def take(self, count):
        while len(self.bytes) < count:
            self.bytes += hashlib.sha512(self.prefix + struct.pack("<Q", self.block)).digest()
            self.block += 1
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def number(self, below):
        return struct.unpack("<Q", self.take(8))[0] % below


def call(function, length, *arguments):
    out = ctypes.create_string_buffer(length)
    result = function(out, *arguments)
    return out.raw[:length] if result == 0 else None


def xor(message, nonce, block, key):
    return call(
        sodium.crypto_stream_salsa20_xor_ic,
        len(message),
        message,
        ctypes.c_ulonglong(len(message)),
        nonce,
        ctypes.c_ulonglong(block),
        key,
    )


def authenticate(message, key):
    return call(sodium.crypto_onetimeauth, 16, message, ctypes.c_ulonglong(len(message)), key)


def keystream(inputs):
    key, nonce, block = inputs.take(32), inputs.take(8), inputs.number(2**57)
    return xor(inputs.take(inputs.number(2048)), nonce, block, key)


def onetimeauth(inputs):
    key = inputs.take(32)
    return authenticate(inputs.take(inputs.number(2048)), key)


def sealing(inputs):
    """The AEAD of PROTOCOL.md §3."""
    key, counter = inputs.take(32), inputs.take(8)
    aad = inputs.take(inputs.number(65))
    message = inputs.take(inputs.number(2048))
    one_time_key = xor(bytes(32), counter, 0, key)
    ciphertext = xor(message, counter, 1, key)

    def pad(data):
        return data + bytes(-len(data) % 16)

    lengths = struct.pack("<QQ", len(aad), len(ciphertext))
    return ciphertext + authenticate(pad(aad) + pad(ciphertext) + lengths, one_time_key)


def scalarmult(inputs):
    scalar, point, special = inputs.take(32), inputs.take(32), inputs.number(64)
    if special < len(POINTS):
        point = POINTS[special].to_bytes(32, "little")
    return call(sodium.crypto_scalarmult, 32, scalar, point) or REFUSED


def key_pair(seed):
    public, secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
    sodium.crypto_sign_seed_keypair(public, secret, seed)
    return public.raw, secret.raw


def keymap(inputs):
    public, secret = key_pair(inputs.take(32))
    return (
        public
        + call(sodium.crypto_sign_ed25519_pk_to_curve25519, 32, public)
        + call(sodium.crypto_sign_ed25519_sk_to_curve25519, 32, secret)
    )


def signature(inputs):
    public, secret = key_pair(inputs.take(32))
    domain = inputs.take(inputs.number(32))
    message = bytes([len(domain)]) + domain + inputs.take(inputs.number(200))
    made = call(
        sodium.crypto_sign_detached, 64, None, message, ctypes.c_ulonglong(len(message)), secret
    )
    changed = bytearray(made)
    change = inputs.number(513)
    if change < 512:
        changed[change // 8] ^= 1 << change % 8
    else:
        changed[32:] = (int.from_bytes(made[32:], "little") + ORDER).to_bytes(32, "little")

    def verifies(candidate):
        length = ctypes.c_ulonglong(len(message))
        return sodium.crypto_sign_verify_detached(bytes(candidate), message, length, public) == 0

    return made + bytes([verifies(made), verifies(changed)])


for judged in (keystream, onetimeauth, sealing, scalarmult, keymap, signature):
    for part in range(PARTS):
        digest = hashlib.sha512()
        for number in range(part * PART, (part + 1) * PART):
            digest.update(judged(Inputs(judged.__name__, number)))
        print(judged.__name__, part, digest.hexdigest()[:64], flush=True)
