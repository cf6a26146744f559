"""What crosses the border of the process: files, untrusted text, foreign code, the terminal, signals, memory."""
