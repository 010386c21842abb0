"""What is left of a move, drill or rehearsal for people: a document (JSON), its page (HTML), where they are kept, and the history over them.

The engine needs none of it: nothing here is read by `decide`, and whatever fails here costs a warning, never a run.
"""
