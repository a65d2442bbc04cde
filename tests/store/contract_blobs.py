# SPDX-License-Identifier: Apache-2.0
"""What every blob store must do; a test module of an implementation subclasses this and provides ``store``."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surefoot.model.digest import digest_of
from surefoot.model.errors import DigestError, UnknownError
from surefoot.store.blobs import BlobStore

_SAME_STORE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


class BlobStoreContract:
    @_SAME_STORE
    @given(pieces=st.lists(st.binary(max_size=300), max_size=5))
    def test_what_was_written_in_pieces_is_read_whole(self, store: BlobStore, pieces: list[bytes]) -> None:
        draft = store.draft(digest := digest_of(pieces))
        for piece in pieces:
            draft.append(piece)
        draft.commit()
        assert (store.read(digest), store.size(digest)) == (b"".join(pieces), sum(map(len, pieces)))

    @_SAME_STORE
    @given(data=st.binary(max_size=100), offset=st.integers(0, 120), size=st.integers(0, 120))
    def test_a_range_is_the_slice_of_the_whole(self, store: BlobStore, data: bytes, offset: int, size: int) -> None:
        draft = store.draft(digest := digest_of(data))
        draft.append(data)
        draft.commit()
        assert store.read_range(digest, offset, size) == data[offset : offset + size]

    def test_other_bytes_than_promised_are_refused_and_gone(self, store: BlobStore) -> None:
        digest = digest_of(b"promised")
        draft = store.draft(digest)
        draft.append(b"sent")
        with pytest.raises(DigestError, match="do not have the digest"):
            draft.commit()
        assert store.size(digest) is None

    def test_a_discarded_draft_is_no_blob(self, store: BlobStore) -> None:
        digest = digest_of(b"data")
        draft = store.draft(digest)
        draft.append(b"data")
        draft.discard()
        draft.discard()
        assert store.size(digest) is None

    def test_nothing_is_read_of_a_blob_that_is_not_there(self, store: BlobStore) -> None:
        absent = digest_of(b"absent")
        for read in (store.read, store.verify, lambda digest: store.read_range(digest, 0, 1)):
            with pytest.raises(UnknownError):
                read(absent)

    def test_the_same_blob_again_changes_nothing(self, store: BlobStore) -> None:
        digest = digest_of(b"twice")
        for _ in range(2):
            draft = store.draft(digest)
            draft.append(b"twice")
            draft.commit()
        store.verify(digest)
        assert store.read(digest) == b"twice"
