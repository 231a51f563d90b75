"""All I/O on files and state. Imports the protocol core only."""
