"""DuckDB over the parts of a store.

Views for everyone: `problems`, `samples`, `verdicts`, without duplicates (of two rows with one key the later written holds)
and without verdicts on a text that has since been sampled again. Views for the queries of this room: `problem_rows`,
`sample_rows`, `verdict_rows` also have `part` and `row`, where a row lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store import parts, schema

# Extensions are neither fetched nor loaded: parquet is built in, and reading results needs no network.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

_SAME_SAMPLE = "v.model = s.model AND v.problem_id = s.problem_id AND v.index = s.index AND v.seed = s.seed AND v.sampler = s.sampler"
# A verdict judges the sample that was on disk when it was written.
JUDGES = f"{_SAME_SAMPLE} AND v.part > s.part"

_PUBLIC_VIEWS = f"""
CREATE OR REPLACE TEMP VIEW problems AS SELECT * EXCLUDE (part, "row") FROM problem_rows;
CREATE OR REPLACE TEMP VIEW samples AS SELECT * EXCLUDE (part, "row") FROM sample_rows;
CREATE OR REPLACE TEMP VIEW verdicts AS
    SELECT v.* EXCLUDE (part, "row") FROM verdict_rows v SEMI JOIN sample_rows s ON {JUDGES};
"""


class Database:
    """A connection whose views follow the files of a store."""

    def __init__(self, shelves: Mapping[str, parts.Shelf], *, skip_bad: bool) -> None:
        self._shelves, self._skip_bad = shelves, skip_bad
        self._connection: Any = None
        self._files: dict[str, list[Path]] = {}

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The pyarrow table of a query.

        Raises:
            InputError: a part that cannot be read (named, with the mend), or a query that is wrong.
            KeyboardInterrupt: a SIGINT came meanwhile.
        """
        import duckdb

        try:
            relation = self._refreshed().sql(sql, params=dict(parameters or {}))
            if relation is None:
                raise InputError("query: it returns no rows; give a SELECT")
            return relation.to_arrow_table()
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            raise _wrong_query(error) from error
        except duckdb.Error as error:
            # A file whose footer is whole may still hold pages that cannot be decoded; only now is it worth reading them all.
            for shelf in self._shelves.values():
                for bad in shelf.bad(deep=True):
                    raise shelf.error(bad) from error
            raise _wrong_query(error) from error
        except RuntimeError as error:
            # DuckDB swallows the KeyboardInterrupt of a SIGINT and says this instead.
            if "interrupted" in str(error).lower():
                raise KeyboardInterrupt from error
            raise

    def _refreshed(self) -> Any:
        """The connection, its views over the files there are now."""
        import duckdb
        import pyarrow as pa

        if self._connection is None:
            # As many threads as Arrow uses: all cores, or OMP_NUM_THREADS, which DuckDB does not read by itself.
            self._connection = duckdb.connect(config={**_CONFIG, "threads": pa.cpu_count()})
        now = {name: shelf.whole(skip_bad=self._skip_bad) for name, shelf in self._shelves.items()}
        changed = [name for name in now if self._files.get(name) != now[name]]
        for name in changed:
            self._connection.execute(_rows_view(name, now[name]))
        if changed:
            self._connection.execute(_PUBLIC_VIEWS)
        self._files = now
        return self._connection


def _wrong_query(error: Exception) -> InputError:
    return InputError(f"query: {str(error).splitlines()[0]}; the views are problems, samples, verdicts")


def _rows_view(table: str, files: list[Path]) -> str:
    """SQL that makes `problem_rows`, `sample_rows` or `verdict_rows`: of the rows with one key, the last."""
    key = ", ".join(f'"{column}"' for column in schema.KEYS[table])
    return f"""
CREATE OR REPLACE TEMP VIEW {table.removesuffix("s")}_rows AS SELECT * FROM ({_source(table, files)})
QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY part DESC, "row" DESC) = 1
"""


def _source(table: str, files: list[Path]) -> str:
    if not files:
        columns = ", ".join(
            f'CAST(NULL AS {_sql_type(spec)}) AS "{name}"' for name, spec in schema.TABLES[table].items()
        )
        return f'SELECT {columns}, 0 AS part, 0 AS "row" LIMIT 0'
    listed = ", ".join(f"'{_literal(path)}'" for path in files)
    columns = ", ".join(f'"{name}"' for name in schema.TABLES[table])
    return (
        f"SELECT {columns}, coalesce(TRY_CAST(regexp_extract(filename, 'part-(\\d+)[^/]*$', 1) AS BIGINT), 0) AS part, "
        f'file_row_number AS "row" '
        f"FROM read_parquet([{listed}], filename = true, file_row_number = true, hive_partitioning = false)"
    )


def _sql_type(spec: str) -> str:
    kind = spec.removesuffix("?")
    names = {"string": "VARCHAR", "int32": "INTEGER", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN"}
    return {"list:int32": "INTEGER[]", "list:float32": "FLOAT[]", **names}[kind]


def _literal(path: Path) -> str:
    """A path inside an SQL string, its glob characters made plain."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path)).replace("'", "''")
