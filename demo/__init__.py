"""`make demo`: a disaster from beginning to end, with a real `pulumi up`, and every claim about it measured."""
