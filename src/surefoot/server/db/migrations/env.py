# SPDX-License-Identifier: Apache-2.0
"""What Alembic runs: apply the steps on the connection that ``surefoot.server.db.sqlite`` hands over."""

from alembic import context

from surefoot.server.db.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
