from __future__ import annotations

import pytest
from sqlalchemy import ForeignKeyConstraint, Table, UniqueConstraint

from sleepmem.store.schema import metadata


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)
def test_every_reference_has_an_index(table: Table) -> None:
    """Without one, deleting an agent scans a table for each of its rows."""
    unique = [c for c in table.constraints if isinstance(c, UniqueConstraint)]
    indexed = [index.columns.keys() for index in table.indexes]
    indexed += [key.columns.keys() for key in (table.primary_key, *unique)]
    for reference in table.constraints:
        if isinstance(reference, ForeignKeyConstraint):
            names = reference.column_keys
            assert any(columns[: len(names)] == names for columns in indexed), names
