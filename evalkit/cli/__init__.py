"""The command line: settings composed and checked by Hydra, tasks run in fresh processes, exit codes."""
