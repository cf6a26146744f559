"""What crosses the border of the process: files, text and settings from outside, the terminal, signals, memory."""
