"""What operators and the HTTP tier can ask for: each function is one unit of work, load, decide, commit."""
