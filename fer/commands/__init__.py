"""One module a command: its help, its options, and what it prints. Imports nothing heavy until it runs."""
