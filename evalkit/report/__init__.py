"""What comes out of a trial: JSON, Markdown, TREC runs, a table per query, and a terminal table."""
