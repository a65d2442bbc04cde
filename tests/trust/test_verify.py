# SPDX-License-Identifier: Apache-2.0
from surefoot.trust.verify import verify
from tests.trust.repositories import DEVICE, NOW, Repositories, manifest


def test_an_order_that_both_repositories_list_is_accepted() -> None:
    world = Repositories()
    wanted = manifest("1.1.0", b"image" * 1000)
    world.release(wanted)
    world.order(wanted)
    verdict = verify(
        director=world.trusted_director(),
        image=world.trusted_image(),
        fetched_director=world.director_answer(),
        fetched_image=world.image_answer(),
        device_id=DEVICE,
        now=NOW,
    )
    assert verdict.ordered is not None
    assert (verdict.ordered.hash, verdict.ordered.size) == (wanted.image.hash, wanted.image.size)
