"""The statements that the documentation shows are those that the script runs."""

import sys

from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import postgresql


def test_the_documentation_has_the_statements_of_the_script() -> None:
    page = (REPOSITORY / "docs" / "exports.md").read_text("utf-8")
    for statement in (postgresql.FULL_TEXT, postgresql.PGVECTOR):
        assert f"```sql\n{statement.strip()}\n```" in page
