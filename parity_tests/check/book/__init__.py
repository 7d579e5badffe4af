"""The check of a port of the book's network: what was seen of it, judged beside the oracle.

May import check, repairs, ladder and traps, the mistakes that explain.
"""
