"""The proof that the port and the reference compute the same."""
