"""A finished trial as data: result.json written and read, results compared."""
