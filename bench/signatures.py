# SPDX-License-Identifier: Apache-2.0
"""What a signature costs the server: with a key in a file, on a token whose session is kept, and with a login for each.

The token is SoftHSM's: the figures are of the way to a token, not of a hardware's own speed. Processor time, rounds in turns.
"""

import hashlib
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from bench.rounds import median_ms
from bench.rows import Row, compared
from surefoot.trust.director import DirectorSigners, sign_view
from surefoot.trust.hsm import generate_on_token
from surefoot.trust.signer import generate
from tests.trust.repositories import DEVICE, NOW
from tests.trust.tokens import PIN, Given, Token, module_path, new_token

VIEW_BUDGET_MS = 0.3
"""For one device's orders: three files, keys in the process."""

_PAYLOAD = bytes(700)
_LABEL = "login"
_ROUNDS = 15
_REPEATS = 40


def measure(run: str) -> list[Row]:
    """Return the processor time of one signature each way, and of one device's three files."""
    token, other = new_token(), new_token()
    kept = generate_on_token(token.uri("kept"), Given())
    _generate_with_login(other)
    in_process = generate()
    on_token = DirectorSigners(**{role: generate_on_token(token.uri(role), Given()) for role in ("targets", "snapshot", "timestamp")})
    in_file = DirectorSigners(targets=generate(), snapshot=generate(), timestamp=generate())
    found = median_ms(
        {
            "kept": lambda: kept.sign(_PAYLOAD),
            "login": lambda: _sign_with_login(other),
            "file": lambda: in_process.sign(_PAYLOAD),
            "view-file": lambda: sign_view(None, DEVICE, None, in_file, NOW),
            "view-token": lambda: sign_view(None, DEVICE, None, on_token, NOW),
        },
        rounds=_ROUNDS,
        repeats=_REPEATS,
    )
    held_to = [
        ("token, session kept", "kept", "a login for each", found["login"]),
        ("token, session kept, beside a file", "kept", "a key in a file", found["file"]),
        ("one device's three files", "view-file", "budget", VIEW_BUDGET_MS),
        ("one device's three files by a token", "view-token", "budget of a key in the process", VIEW_BUDGET_MS),
    ]
    rates = {name: 1_000 / found[name] for name in ("kept", "login", "file")}
    return [
        *(
            compared(f"signatures/{what}", found[name], "ms", against=against, figure=figure, run=run)
            for what, name, against, figure in held_to
        ),
        compared("signatures/a second, session kept", rates["kept"], "/s", against="a login for each", figure=rates["login"], run=run),
        compared("signatures/a second, a login for each", rates["login"], "/s", against="a key in a file", figure=rates["file"], run=run),
    ]


def _generate_with_login(token: Token) -> None:
    """Make a key and log out again: a login holds for the process, not for the session."""
    with pkcs11.lib(module_path()).get_token(token_label=token.label).open(user_pin=PIN, rw=True) as session:
        curve = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True)
        curve.generate_keypair(store=True, label=_LABEL)


def _sign_with_login(token: Token) -> bytes:
    with pkcs11.lib(module_path()).get_token(token_label=token.label).open(user_pin=PIN) as session:
        key: Any = session.get_key(object_class=ObjectClass.PRIVATE_KEY, key_type=KeyType.EC, label=_LABEL)
        return bytes(key.sign(hashlib.sha256(_PAYLOAD).digest(), mechanism=Mechanism.ECDSA))
