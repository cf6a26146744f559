"""The frame of an HTML report: the document, its style and script, and the way text gets into it."""
