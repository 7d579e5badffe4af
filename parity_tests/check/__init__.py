"""The check of anybody's port: processes, messages, comparisons and verdicts, which all share.

May import program, ladder, which judges, and guest, whose process it starts.
"""
