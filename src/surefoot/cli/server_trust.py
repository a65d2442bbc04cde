# SPDX-License-Identifier: Apache-2.0
"""What a server has of what people have signed, held against a keys folder."""

from dataclasses import dataclass

from surefoot.cli.keys_folder import KeysFolder
from surefoot.cli.operator import OperatorClient
from surefoot.trust.layout import product_of
from surefoot.trust.standing import Comparison, Edition, Standing, Standings, compare, editions


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTrust:
    """What a server has.

    Attributes:
        roles: All of it, as the server says it.
        comparison: That, against the folder.
        other: What it has in the same version with other content, as it is in the folder.
    """

    roles: list[Standing]
    comparison: Comparison
    other: list[Edition]

    def version_of_root(self, repository: str) -> int:
        """Return the version of a repository's root that the server has."""
        return next((role.version or 0 for role in self.roles if (role.repository, role.role) == (repository, "root")), 0)


def ask(keys: KeysFolder, calls: OperatorClient) -> ServerTrust:
    """Ask a server what it has; errors as for ``OperatorClient.get``."""
    roles = calls.get("trust", Standings).roles
    comparison = compare(editions(keys.all_metadata()), roles)
    # The bins of a product and their archives are vouched for by its role, and would be a call each.
    told = [edition for edition in comparison.same if product_of(edition.role) == edition.role or edition.role in {"root", "targets"}]
    other = [edition for edition in told if _file(calls, edition) != keys.metadata(edition.kept_as)]
    return ServerTrust(roles=roles, comparison=comparison, other=other)


def _file(calls: OperatorClient, edition: Edition) -> bytes:
    return calls.get_bytes(f"metadata/{edition.repository}/{edition.file}")
