# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for the values of the model."""

from hypothesis import strategies as st

from surefoot.model.digest import Digest, from_hex
from surefoot.model.manifest import Component, Image, Manifest, ReleaseNotes, Requires
from surefoot.model.version import RevertTo

NAMES = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,12}\Z")
BUILD_IDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
COUNTERS = st.integers(1, 2**31 - 1)
RANGES = st.sampled_from([">=1.0.0", ">=1.0.0 <2.0.0", "==1.2.3", "!=1.0.0, <3.0.0", "1.0.0"])


def digests() -> st.SearchStrategy[Digest]:
    """Return any digest."""
    return st.binary(min_size=32, max_size=32).map(lambda raw: from_hex(raw.hex()))


@st.composite
def versions(draw: st.DrawFn, *, max_number: int = 999_999_999) -> str:
    """Return any semantic version, sometimes a pre-release, sometimes with build metadata."""
    numbers = [str(draw(st.integers(0, max_number))) for _ in range(3)]
    pre = draw(st.sampled_from(["", "", "-rc.1", "-alpha", "-0.3.7", "-x-y"]))
    return ".".join(numbers) + pre + draw(st.sampled_from(["", "", "+5", "+build.01"]))


def revert_rules() -> st.SearchStrategy[RevertTo]:
    """Return any rule for going back."""
    words: st.SearchStrategy[RevertTo] = st.sampled_from(["patch", "minor", "none"])
    return words | st.lists(versions(max_number=9), max_size=3)


def components() -> st.SearchStrategy[Component]:
    """Return any component of a manifest."""
    return st.builds(Component, name=NAMES, version=versions(), hash=digests(), updatable=st.booleans())


def images() -> st.SearchStrategy[Image]:
    """Return any image, as built or as published and signed."""
    size = st.integers(0, 2**53 - 1)
    return st.builds(
        Image, size=size, hash=digests(), url=st.sampled_from(["", "https://x/y"]), signature=st.sampled_from(["", "base64:AA=="])
    )


def manifests() -> st.SearchStrategy[Manifest]:
    """Return any manifest."""
    return st.builds(
        Manifest,
        product=NAMES,
        version=versions(),
        build_id=BUILD_IDS,
        variant=NAMES,
        release_counter=COUNTERS,
        target_hardware=st.lists(NAMES, min_size=1, max_size=3),
        min_bootloader_version=versions(),
        components=st.lists(components(), max_size=4),
        image=images(),
        metadata=st.builds(
            ReleaseNotes, release_notes=st.text(max_size=20), rollout_percentage=st.integers(0, 100), required=st.booleans()
        ),
        data_format=st.none() | COUNTERS,
        requires=st.none() | RANGES.map(lambda text: Requires(from_=text)),
        revert_to=revert_rules(),
    )
