# SPDX-License-Identifier: Apache-2.0
"""Keys on tokens and HSMs, through PKCS#11: ECDSA P-256, made on the token and never leaving it.

- A signer keeps its session and the handle of its key: logging in for each signature is many times slower.
- A token that went away is looked for once in each signature; if it is still gone, that is ``SignerUnavailableError``, and the next
  signature looks again. Pacing is the caller's affair.
- No PIN is in any message, nor anything else that a token or module says of its own accord but the kind of failure.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from surefoot.model.errors import Error, InvalidInput, SignerUnavailableError
from surefoot.trust.key_file import key_of
from surefoot.trust.pkcs11_module import Pkcs11Module, module_at, module_path
from surefoot.trust.pkcs11_uri import Pkcs11Uri, parse
from surefoot.trust.secret import Secrets

_P256 = bytes.fromhex("06082a8648ce3d030107")
"""``EC_PARAMS`` of the curve: its object identifier in DER."""

_POINT_BYTES = 65
_ID_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProtection:
    """What the token says about a private key.

    Attributes:
        is_sensitive: Its value cannot be read in the clear.
        is_extractable: It may leave the token in encrypted form.
        was_always_sensitive: It was sensitive from the beginning.
        was_never_extractable: It could never leave.
    """

    is_sensitive: bool
    is_extractable: bool
    was_always_sensitive: bool
    was_never_extractable: bool


class Pkcs11Signer(Signer):
    """A key on a token, with its session kept open; safe to use from several threads, and after a fork."""

    def __init__(self, uri: Pkcs11Uri, module_path: str, secrets: Secrets, public_key: SSlibKey | Key) -> None:
        """Use ``open_key``; nothing is sent to the token yet."""
        self._uri = uri
        self._module_path = module_path
        self._secrets = secrets
        self._public_key = public_key
        self._kept: _Handle | None = None

    def __repr__(self) -> str:
        """Name the key and its token."""
        return f"<Pkcs11Signer {self._public_key.keyid}: {self._uri.key_name} on {self._uri.token_name}>"

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None) -> Signer:  # noqa: ARG003  # the port's
        """Refuse with ``InvalidInput``; no scheme leads here, since ``surefoot.trust.signer.Door`` opens tokens."""
        raise InvalidInput("A key on a token is not opened this way.", hint="Use surefoot.trust.signer.open_signer.")

    @property
    def public_key(self) -> Key:
        """The key's public part."""
        return self._public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign with the token's key; opens the token again, once, when the kept session no longer serves.

        Raises:
            SignerUnavailableError: The token, the key or the right to use it is gone.
        """
        digest = hashlib.sha256(payload).digest()
        module = module_at(self._module_path)
        with module.lock:
            raw = self._sign_kept(module, digest) or self._sign_anew(module, digest)
        r, s = (int.from_bytes(half) for half in (raw[: len(raw) // 2], raw[len(raw) // 2 :]))
        return Signature(self._public_key.keyid, encode_dss_signature(r, s).hex())

    def protection(self) -> KeyProtection:
        """Ask the token how the key is protected.

        Raises:
            SignerUnavailableError: The token cannot be reached.
        """
        module = module_at(self._module_path)
        with module.lock, _as_unavailable(self._uri):
            handle = _connect(module, self._uri, self._secrets)
            try:
                return _protection(handle.private)
            finally:
                handle.session.close()

    def _sign_kept(self, module: Pkcs11Module, digest: bytes) -> bytes:
        kept = self._kept
        # After a restart of the module the numbers of sessions and keys begin anew: an old one may name another's key.
        if kept is None or kept.module is not module or kept.generation != module.generation:
            return b""
        try:
            return _sign(kept.private, digest)
        except PKCS11Error:
            with suppress(PKCS11Error):
                kept.session.close()
            return b""

    def _sign_anew(self, module: Pkcs11Module, digest: bytes) -> bytes:
        self._kept = None
        try:
            with _as_unavailable(self._uri):
                handle = _connect(module, self._uri, self._secrets)
                _require_same(handle, self._public_key, self._uri)
                raw = _sign(handle.private, digest)
        except InvalidInput as error:
            # It was well when it was opened: who asks for a signature now has done nothing wrong.
            raise SignerUnavailableError(error.message, hint=error.hint) from error
        self._kept = handle
        return raw


def open_key(uri: str, secrets: Secrets, public_key: Key | None = None) -> Pkcs11Signer:
    """Return the signer behind a ``pkcs11:`` URI; with its public key given, the token is left alone until the first signature.

    Raises:
        InvalidInput: The URI, the module, the key or the PIN is not right.
        SignerUnavailableError: The token is not there.
    """
    parsed = parse(uri)
    path = module_path(parsed)
    if public_key is not None:
        return Pkcs11Signer(parsed, path, secrets, public_key)
    module = module_at(path)
    with module.lock, _as_unavailable(parsed):
        handle = _connect(module, parsed, secrets)
        handle.session.close()
    if handle.public is None:
        raise InvalidInput(f"{parsed.token_name} holds no public part of {parsed.key_name}.", hint="Give the public key as NAME.pub.")
    return Pkcs11Signer(parsed, path, secrets, handle.public)


def generate_on_token(uri: str, secrets: Secrets) -> Pkcs11Signer:
    """Make an ECDSA P-256 key on a token: sensitive, never extractable; return its signer.

    The URI must name the key (``object``); without an ``id`` it gets one made from that name.

    Raises:
        InvalidInput: The URI names no key, or one that there is; or the PIN is not right.
        SignerUnavailableError: The token is not there, or makes no such key.
    """
    parsed = parse(uri)
    if not parsed.label:
        raise InvalidInput("A new key on a token needs a name.", hint="Add 'object=NAME' to the URI.")
    module = module_at(module_path(parsed))
    with module.lock, _as_unavailable(parsed):
        token = module.token(parsed)
        module.log_in(token, parsed, secrets)
        session = token.open(rw=True)
        try:
            _generate(session, parsed)
        finally:
            session.close()
    return open_key(uri, secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handle:
    """An open session and the key found in it; worthless once the module's generation has moved on."""

    module: Pkcs11Module
    generation: int
    session: pkcs11.Session
    private: pkcs11.SignMixin
    public: SSlibKey | None


def _connect(module: Pkcs11Module, uri: Pkcs11Uri, secrets: Secrets) -> _Handle:
    token = module.token(uri)
    session = token.open()
    try:
        private = _find(session, ObjectClass.PRIVATE_KEY, uri)
        if private is None:
            # Private keys cannot be seen before somebody logs in.
            module.log_in(token, uri, secrets)
            private = _find(session, ObjectClass.PRIVATE_KEY, uri)
        if not isinstance(private, pkcs11.SignMixin):
            raise InvalidInput(f"{token.label} holds no private EC key {uri.key_name}.", hint="Correct 'object' or 'id' in the URI.")
        if private[Attribute.EC_PARAMS] != _P256:
            raise InvalidInput(f"{uri.key_name} on {token.label} is not an ECDSA P-256 key.")
        public = _find(session, ObjectClass.PUBLIC_KEY, Pkcs11Uri(label=uri.label, key_id=private[Attribute.ID]))
        return _Handle(
            module=module,
            generation=module.generation,
            session=session,
            private=private,
            public=None if public is None else _public_key(public),
        )
    except (Error, PKCS11Error):
        with suppress(PKCS11Error):
            session.close()
        raise


def _find(session: pkcs11.Session, kind: ObjectClass, uri: Pkcs11Uri) -> pkcs11.Object | None:
    wanted: dict[Attribute, object] = {Attribute.CLASS: kind, Attribute.KEY_TYPE: KeyType.EC}
    if uri.label:
        wanted[Attribute.LABEL] = uri.label
    if uri.key_id:
        wanted[Attribute.ID] = uri.key_id
    found = list(session.get_objects(wanted))
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} keys on {session.token.label} fit the PKCS#11 URI.", hint="Add 'object=' or 'id=' to it.")
    return found[0] if found else None


def _public_key(public: pkcs11.Object) -> SSlibKey:
    point = bytes(public[Attribute.EC_POINT])
    # The point is wrapped as a DER octet string; some modules hand it out bare.
    return key_of(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[-_POINT_BYTES:]))


def _require_same(handle: _Handle, public_key: Key, uri: Pkcs11Uri) -> None:
    if handle.public is not None and handle.public.keyval != public_key.keyval:
        raise InvalidInput(
            f"{uri.key_name} on {uri.token_name} is the key {handle.public.keyid}, and {public_key.keyid} is wanted.",
            hint="Connect the right token, or correct the URI.",
        )


def _sign(private: pkcs11.SignMixin, digest: bytes) -> bytes:
    # Hashed here: CKM_ECDSA is what every token knows, and only 32 bytes travel to it.
    return bytes(private.sign(digest, mechanism=Mechanism.ECDSA))


def _protection(private: pkcs11.SignMixin) -> KeyProtection:
    return KeyProtection(
        is_sensitive=bool(private[Attribute.SENSITIVE]),
        is_extractable=bool(private[Attribute.EXTRACTABLE]),
        was_always_sensitive=bool(private[Attribute.ALWAYS_SENSITIVE]),
        was_never_extractable=bool(private[Attribute.NEVER_EXTRACTABLE]),
    )


def _generate(session: pkcs11.Session, uri: Pkcs11Uri) -> None:
    key_id = uri.key_id or hashlib.sha256(uri.label.encode()).digest()[:_ID_BYTES]
    for taken in (Pkcs11Uri(label=uri.label), Pkcs11Uri(key_id=key_id)):
        if _find(session, ObjectClass.PRIVATE_KEY, taken) is not None:
            raise InvalidInput(
                f"{session.token.label} holds a key {taken.key_name} already.", hint="Name another; keys are never overwritten."
            )
    curve = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: _P256}, local=True)
    curve.generate_keypair(
        id=key_id,
        label=uri.label,
        store=True,
        private_template={Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


@contextmanager
def _as_unavailable(uri: Pkcs11Uri) -> Iterator[None]:
    """Turn what the module raises into one error; only the kind of failure is told."""
    try:
        yield
    except PKCS11Error as error:
        raise SignerUnavailableError(
            f"The token {uri.token_name} does not sign ({type(error).__name__}).", hint="Look whether it is connected and its module right."
        ) from error
