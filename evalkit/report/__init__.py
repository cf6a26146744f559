"""Reports of trials, sweeps, comparisons and gates: terminal, Markdown, HTML, LaTeX, plots, JUnit and GitHub."""
